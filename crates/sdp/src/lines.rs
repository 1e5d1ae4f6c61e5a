//! Text to lines and sections (RFC 8866 §5). Everything borrows from the text.

use super::SdpError;

/// Most m-sections that are accepted; each one costs a section of the answer.
const MAX_SECTIONS: usize = 32;

/// A whole description: the session's attributes, then the m-sections.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub session: Attributes<'a>,
    pub media: Vec<Section<'a>>,
}

/// One m-section.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// `audio`, `video`, `application`, ...
    pub media: &'a str,
    pub port: u16,
    pub proto: &'a str,
    /// The rest of the m-line: payload types, or a name.
    pub formats: &'a str,
    pub attributes: Attributes<'a>,
}

/// The `a=` lines of a section or of the session, in order: name, and value (empty where there is
/// none).
#[derive(Debug, Default)]
pub(super) struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    /// All values of an attribute, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| *n == name)
            .map(|(_, v)| *v)
    }

    /// The first value of an attribute.
    pub(super) fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }
}

impl<'a> Description<'a> {
    /// Reads a description. Line ends are LF or CRLF; empty lines are skipped.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] for a line that is none, [`SdpError::TooManySections`].
    pub(super) fn parse(text: &'a str) -> Result<Self, SdpError> {
        let mut description = Self {
            session: Attributes::default(),
            media: Vec::new(),
        };
        let mut begun = false;
        // A byte order mark has no meaning in UTF-8, but some editors and libraries write one.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let malformed = SdpError::Malformed { line: index + 1 };
            let Some((kind, value)) = split_line(line) else {
                return Err(malformed);
            };
            if !begun {
                // RFC 8866 §5.1: the version comes first, and only once.
                if (kind, value) != (b'v', "0") {
                    return Err(malformed);
                }
                begun = true;
                continue;
            }
            match kind {
                b'm' => {
                    if description.media.len() == MAX_SECTIONS {
                        return Err(SdpError::TooManySections { max: MAX_SECTIONS });
                    }
                    description.media.push(media_line(value).ok_or(malformed)?);
                }
                b'a' => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    let attributes = description
                        .media
                        .last_mut()
                        .map_or(&mut description.session, |m| &mut m.attributes);
                    attributes.0.push((name, value.trim()));
                }
                _ => {}
            }
        }
        if begun {
            Ok(description)
        } else {
            Err(SdpError::Malformed { line: 1 })
        }
    }

    /// A section's attribute, or otherwise the session's, which is its default.
    pub(super) fn effective(&self, section: &Section<'a>, name: &str) -> Option<&'a str> {
        section
            .attributes
            .first(name)
            .or_else(|| self.session.first(name))
    }
}

/// `x=value`; control characters are refused because the answer and the record repeat parts of the
/// offer.
fn split_line(line: &str) -> Option<(u8, &str)> {
    let (kind, value) = line.split_once('=')?;
    let [kind @ b'a'..=b'z'] = kind.as_bytes() else {
        return None;
    };
    let clean = value.bytes().all(|b| b == b'\t' || !b.is_ascii_control());
    clean.then_some((*kind, value))
}

/// `<media> <port>[/<count>] <proto> <fmt> ...` (RFC 8866 §5.14).
fn media_line(value: &str) -> Option<Section<'_>> {
    let (media, rest) = value.trim().split_once(' ')?;
    let (port, rest) = rest.trim_start().split_once(' ')?;
    let (proto, formats) = rest.trim_start().split_once(' ')?;
    let port = port
        .split_once('/')
        .map_or(port, |(first, _)| first)
        .parse()
        .ok()?;
    let formats = formats.trim();
    let whole = !media.is_empty() && !proto.is_empty() && !formats.is_empty();
    whole.then(|| Section {
        media,
        port,
        proto,
        formats,
        attributes: Attributes::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lf_and_crlf_read_the_same() {
        let lf =
            "v=0\ns=-\na=group:BUNDLE 0\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\na=mid:0\na=rtcp-mux\n";
        let crlf = lf.replace('\n', "\r\n");
        for text in [lf, crlf.as_str()] {
            let read = Description::parse(text).unwrap();
            assert_eq!(read.session.first("group"), Some("BUNDLE 0"));
            assert_eq!(read.media.len(), 1);
            assert_eq!(read.media[0].formats, "111 0");
            assert_eq!(read.media[0].attributes.first("mid"), Some("0"));
            assert!(read.media[0].attributes.has("rtcp-mux"));
        }
    }

    #[test]
    fn what_is_no_line_is_refused_with_its_number() {
        for (text, line) in [
            ("", 1),
            ("hello", 1),
            ("v=1\n", 1),
            ("s=-\nv=0\n", 1),
            ("v=0\ns=-\nab=c\n", 3),
            ("v=0\n=x\n", 2),
            ("v=0\na=mid:0\0\n", 2),
            ("v=0\na=one\ra=two\n", 2),
            ("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF\n", 2),
            ("v=0\nm=audio 99999 UDP/TLS/RTP/SAVPF 0\n", 2),
        ] {
            assert_eq!(
                Description::parse(text).unwrap_err(),
                SdpError::Malformed { line },
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_flood_of_sections_is_refused() {
        let text = format!(
            "v=0\n{}",
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\n".repeat(MAX_SECTIONS + 1)
        );
        assert_eq!(
            Description::parse(&text).unwrap_err(),
            SdpError::TooManySections { max: MAX_SECTIONS }
        );
    }
}
