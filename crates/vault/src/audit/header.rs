//! What an age file shows without a key (<https://c2sp.org/age>): a strict parser of its own for
//! the header, and arithmetic for the payload.

use super::report::{AgeFacts, Stanza};

const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
/// Base64 digits on a full line of a stanza's body.
const FULL_LINE: usize = 64;
const NONCE: usize = 16;
const TAG: usize = 16;
const CHUNK: usize = 64 * 1024;

/// Where the file deviates from the age format, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAge {
    /// The start of the line or part, from the start of the file.
    pub offset: usize,
    pub why: &'static str,
}

/// Parses the header and measures the payload. Accepts only the canonical encoding.
pub(super) fn parse(file: &[u8]) -> Result<AgeFacts, NotAge> {
    let mut lines = Lines { file, at: 0 };
    if !file.starts_with(VERSION_LINE) {
        return Err(lines.fault("no version line age-encryption.org/v1"));
    }
    lines.at = VERSION_LINE.len();
    let mut stanzas = Vec::new();
    loop {
        let start = lines.at;
        let line = lines.next()?;
        if let Some(mac) = line.strip_prefix(b"--- ") {
            if decoded_length(mac) != Some(32) {
                return Err(NotAge {
                    offset: start,
                    why: "the header MAC is not 32 bytes of base64",
                });
            }
            break;
        }
        let Some(words) = line.strip_prefix(b"-> ") else {
            return Err(NotAge {
                offset: start,
                why: "neither a recipient stanza nor the end of the header",
            });
        };
        stanzas.push(lines.stanza(start, words)?);
    }
    let header_bytes = lines.at;
    let payload = file.len() - header_bytes;
    let Some(encrypted) = payload.checked_sub(NONCE).filter(|&n| n >= TAG) else {
        return Err(lines.fault("the payload is shorter than a nonce and a tag"));
    };
    let chunks = encrypted.div_ceil(CHUNK + TAG);
    let last = encrypted - (chunks - 1) * (CHUNK + TAG);
    if last < TAG || (last == TAG && chunks > 1) {
        return Err(lines.fault("the last chunk of the payload is empty or shorter than a tag"));
    }
    Ok(AgeFacts {
        version: "v1",
        stanzas,
        header_bytes,
        nonce_bytes: NONCE,
        plaintext_bytes: encrypted - chunks * TAG,
        tag_bytes: chunks * TAG,
    })
}

struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn fault(&self, why: &'static str) -> NotAge {
        NotAge {
            offset: self.at,
            why,
        }
    }

    /// The next line, without its end.
    fn next(&mut self) -> Result<&'a [u8], NotAge> {
        let rest = &self.file[self.at..];
        let Some(length) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.fault("the header has no end"));
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// The body of a stanza whose first line was just read.
    fn stanza(&mut self, start: usize, words: &[u8]) -> Result<Stanza, NotAge> {
        let words: Vec<&[u8]> = words.split(|&b| b == b' ').collect();
        if words
            .iter()
            .any(|w| w.is_empty() || !w.iter().all(|b| b.is_ascii_graphic()))
        {
            return Err(NotAge {
                offset: start,
                why: "a recipient stanza with an empty or unprintable word",
            });
        }
        let mut body_bytes = 0;
        loop {
            let offset = self.at;
            let line = self.next()?;
            let why = "the body of a recipient stanza is not base64 in lines of 64";
            let length = decoded_length(line)
                .filter(|_| line.len() <= FULL_LINE)
                .ok_or(NotAge { offset, why })?;
            body_bytes += length;
            if line.len() < FULL_LINE {
                break;
            }
        }
        let stanza = Stanza {
            kind: String::from_utf8_lossy(words[0]).into_owned(),
            arguments: words.len() - 1,
            body_bytes,
            bytes: self.at - start,
        };
        if words[0] == b"X25519" {
            let share = words.get(1).and_then(|w| decoded_length(w));
            if words.len() != 2 || share != Some(32) || body_bytes != 32 {
                return Err(NotAge {
                    offset: start,
                    why: "an X25519 stanza that is not 32 bytes and 32 bytes",
                });
            }
        }
        Ok(stanza)
    }
}

/// How many bytes this base64 encodes (RFC 4648 §4, without padding). `None` if it is invalid, or
/// if the bits after the last byte are not zero, so that two texts would encode the same bytes.
fn decoded_length(text: &[u8]) -> Option<usize> {
    let digit = |b: &u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.iter().all(|b| digit(b).is_some()) {
        return None;
    }
    let unused = match text.len() % 4 {
        0 => 0,
        2 => 0b1111,
        3 => 0b11,
        _ => return None,
    };
    match text.last().and_then(digit) {
        Some(last) if last & unused != 0 => None,
        _ => Some(text.len() * 3 / 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X25519: &str = "-> X25519 TEMlCCkWfV8ykMWOfs/L3iS42e2m6G1XjQ4DJc4mbSg\n\
                          ITp/EiKXF1wmygAqqUY+I4A77ab2UKJ2MsjtCN7jJLA\n";
    const MAC: &str = "--- ImFXNG4J+N/noUptatbxJkFaMtqsCSn0fxtUR/lct4Y\n";

    fn file(middle: &str, payload: usize) -> Vec<u8> {
        [
            b"age-encryption.org/v1\n",
            middle.as_bytes(),
            &vec![0xff; payload],
        ]
        .concat()
    }

    #[test]
    fn all_parts_add_up_to_the_size() {
        for payload in [
            32,
            33,
            16 + 16 + 65_536,
            16 + 32 + 65_536 + 1,
            16 + 48 + 2 * 65_536 + 9,
        ] {
            let filler = format!("-> ab-grease x y\n{}\n{}\n", "A".repeat(64), "AAAA");
            let bytes = file(&format!("{X25519}{filler}{MAC}"), payload);
            let facts = parse(&bytes).expect("age");
            let sum =
                facts.header_bytes + facts.nonce_bytes + facts.plaintext_bytes + facts.tag_bytes;
            assert_eq!(sum, bytes.len());
            let stanzas: usize = facts.stanzas.iter().map(|s| s.bytes).sum();
            assert_eq!(22 + stanzas + MAC.len(), facts.header_bytes);
            assert_eq!(facts.stanzas[1].body_bytes, 51);
            assert_eq!(facts.stanzas[1].arguments, 2);
        }
    }

    #[test]
    fn what_is_not_written_the_one_way_is_no_age_file() {
        let good = format!("{X25519}{MAC}");
        assert!(parse(&file(&good, 32)).is_ok());
        for (bad, why) in [
            (file(&good, 31), "shorter than a nonce"),
            (file(&good, 16 + 65_552 + 16), "the last chunk"),
            (file(&good, 16 + 65_552 + 15), "the last chunk"),
            (file(X25519, 0), "no end"),
            (
                file(&good.replace("--- I", "---I"), 32),
                "neither a recipient",
            ),
            (file(&good.replace("t4Y", "t4Z"), 32), "header MAC"),
            (file(&good.replace("t4Y", "t4Y="), 32), "header MAC"),
            (file(&good.replace("mbSg", "mbSh"), 32), "X25519 stanza"),
            (
                file(&good.replace("X25519 ", "X25519  "), 32),
                "empty or unprintable",
            ),
            (file(&good.replace("JLA\n", "JLA\r\n"), 32), "not base64"),
            (
                file(
                    &good.replace("JLA\n", &format!("JLA{}\n", "A".repeat(64))),
                    32,
                ),
                "not base64",
            ),
            (
                file(&format!("-> \u{7f}\n\n{MAC}"), 32),
                "empty or unprintable",
            ),
            ([b"x", &*file(&good, 32)].concat(), "version line"),
            (b"".to_vec(), "version line"),
            (
                b"-----BEGIN AGE ENCRYPTED FILE-----\n".to_vec(),
                "version line",
            ),
        ] {
            let fault = parse(&bad).expect_err("refused");
            assert!(fault.why.contains(why), "{fault:?}, not {why}");
        }
    }
}
