//! A session's record in memory. The session descriptions are most of it, and the offers of all
//! browsers of one version, as the answers to them, differ in a few lines only: credentials,
//! fingerprint, candidates, identifiers. What is equal is kept once for all of them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::ids::{IceCredentials, Role};
use crate::vault::PeerRecord;

/// Beginnings of the lines in which two offers, or two answers, of the same kind differ. What is kept
/// is exact whatever is in this list; a line that is missing from it costs memory.
const OWN: [&str; 9] = [
    "o=",
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=fingerprint:",
    "a=candidate:",
    "a=ssrc",
    "a=msid",
    "a=rtcp:",
    "c=",
];
/// Stands for a line of the session's own. No session description contains it
/// ([`PeerRecord::check`]).
const PLACE: char = '\0';

/// What all session descriptions that are kept have in common, each once.
#[derive(Default)]
pub(super) struct Shapes(HashSet<Arc<str>>);

/// See the module. The fields are those of [`PeerRecord`].
pub(super) struct KeptRecord {
    pub role: Role,
    pub channel: String,
    pub ice: IceCredentials,
    offer: KeptText,
    answer: KeptText,
    joined_at: u64,
}

/// A session description.
struct KeptText {
    /// Its lines, with a [`PLACE`] for each of its own.
    shape: Arc<str>,
    /// Its own lines.
    own: Box<str>,
}

impl KeptRecord {
    pub(super) fn new(record: &PeerRecord, shapes: &mut Shapes) -> Self {
        Self {
            role: record.role,
            channel: record.channel.clone(),
            ice: record.ice.clone(),
            offer: shapes.keep(&record.offer),
            answer: shapes.keep(&record.answer),
            joined_at: record.joined_at,
        }
    }

    /// The record itself.
    pub(super) fn whole(&self) -> PeerRecord {
        PeerRecord {
            role: self.role,
            channel: self.channel.clone(),
            ice: self.ice.clone(),
            offer: self.offer.whole(),
            answer: self.answer.whole(),
            joined_at: self.joined_at,
        }
    }

    /// Replaces the offer.
    pub(super) fn set_offer(&mut self, offer: &str, shapes: &mut Shapes) {
        let before = std::mem::replace(&mut self.offer, shapes.keep(offer));
        shapes.release(before);
    }

    /// Gives up what was kept.
    pub(super) fn release(self, shapes: &mut Shapes) {
        shapes.release(self.offer);
        shapes.release(self.answer);
    }
}

impl Shapes {
    fn keep(&mut self, text: &str) -> KeptText {
        let mut shape = String::with_capacity(text.len());
        let mut own = String::new();
        for line in text.split_inclusive('\n') {
            if is_own(line) {
                shape.push(PLACE);
                own.push_str(line);
            } else {
                shape.push_str(line);
            }
        }
        let known = self.0.get(shape.as_str()).cloned();
        let shape = known.unwrap_or_else(|| {
            let shape: Arc<str> = shape.into();
            self.0.insert(shape.clone());
            shape
        });
        KeptText {
            shape,
            own: own.into(),
        }
    }

    fn release(&mut self, text: KeptText) {
        // The set's own, and this one.
        if Arc::strong_count(&text.shape) == 2 {
            self.0.remove(&text.shape);
        }
    }
}

fn is_own(line: &str) -> bool {
    // The port is that of a candidate where a browser has found some before its offer. 9 stands for
    // none (RFC 8839 §4.2.1.2), and 0 for a section that is not used.
    let has_port = || {
        let media = line.strip_prefix("m=");
        let port = media.and_then(|media| media.split(' ').nth(1));
        port.is_some_and(|port| !matches!(port, "9" | "0"))
    };
    OWN.iter().any(|own| line.starts_with(own)) || has_port() || line.contains(PLACE)
}

impl KeptText {
    fn whole(&self) -> String {
        let mut text = String::with_capacity(self.shape.len() + self.own.len());
        let mut own = self.own.split_inclusive('\n');
        for (at, part) in self.shape.split(PLACE).enumerate() {
            if at > 0 {
                text.extend(own.next());
            }
            text.push_str(part);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: usize) -> String {
        format!(
            "v=0\r\no=- {n} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio {} UDP/TLS/RTP/SAVPF 111\r\n\
             c=IN IP4 192.0.2.{n}\r\na=ice-ufrag:{n}\r\na=ice-pwd:{n}{n}\r\na=rtpmap:111 opus/48000/2\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=candidate:1 1 udp 1 192.0.2.{n} 5 typ host",
            5000 + n
        )
    }

    #[test]
    fn a_text_comes_back_as_it_was() {
        let mut shapes = Shapes::default();
        let odd = [
            "",
            "\n",
            "a=ice-pwd:x",
            "\na=ice-pwd:x\n\n",
            "c=\nc=\n",
            "v=0\r\na=\0b\r\nc=d\0",
            "m=",
            "m=audio 9",
            "o=\u{fc}\r\r\n",
        ];
        let texts = (0..5).map(offer).chain(odd.map(str::to_owned));
        for text in texts {
            assert_eq!(shapes.keep(&text).whole(), text);
        }
    }

    #[test]
    fn what_texts_have_in_common_is_kept_once_and_for_as_long_as_one_of_them_is() {
        let mut shapes = Shapes::default();
        let mut kept: Vec<KeptText> = (0..50).map(|n| shapes.keep(&offer(n))).collect();
        assert_eq!(shapes.0.len(), 1);
        let own: usize = kept.iter().map(|text| text.own.len()).sum();
        let all: usize = (0..50).map(|n| offer(n).len()).sum();
        assert!(own * 4 < all * 3, "{own} of {all}");
        let last = kept.pop().expect("one is left");
        kept.into_iter().for_each(|text| shapes.release(text));
        assert_eq!(last.whole(), offer(49));
        assert_eq!(shapes.0.len(), 1);
        shapes.release(last);
        assert!(shapes.0.is_empty());
    }
}
