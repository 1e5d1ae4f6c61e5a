//! Which SSRCs are accepted.
//!
//! `rtc-srtp` allocates state for every SSRC before it has authenticated a packet of it, so that
//! anybody who can send in the other node's name could claim memory. So their number is limited.

use std::collections::HashSet;

/// Most SSRCs under one set of keys: those of two kinds of media with their retransmissions, and
/// some more where a publisher has announced none or changes them.
const MOST: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Ssrcs {
    announced: Vec<u32>,
    seen: HashSet<u32>,
}

impl Ssrcs {
    /// Announced SSRCs are always accepted.
    pub(super) fn new(announced: Vec<u32>) -> Self {
        Self {
            announced,
            seen: HashSet::new(),
        }
    }

    /// New keys: earlier SSRCs are forgotten.
    pub(super) fn begin_anew(&mut self) {
        self.seen.clear();
    }

    /// Whether a datagram is accepted. Datagrams that are not SRTP always are (RFC 7983).
    pub(super) fn let_in(&mut self, datagram: &[u8]) -> bool {
        let (Some(128..=191), Some(second)) = (datagram.first(), datagram.get(1)) else {
            return true;
        };
        // RFC 5761 §4.
        let at = if matches!(second, 192..=223) { 4 } else { 8 };
        let Some(ssrc) = datagram.get(at..).and_then(|rest| rest.first_chunk()) else {
            return false;
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        if self.announced.contains(&ssrc) || self.seen.contains(&ssrc) {
            return true;
        }
        self.seen.len() < MOST && self.seen.insert(ssrc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(ssrc: u32) -> Vec<u8> {
        [&[0x80, 96, 0, 0, 0, 0, 0, 0], &ssrc.to_be_bytes()[..]].concat()
    }

    #[test]
    fn a_flood_of_streams_is_bounded_and_shuts_no_announced_one_out() {
        let mut ssrcs = Ssrcs::new(vec![7]);
        let taken = (1000..2000).filter(|ssrc| ssrcs.let_in(&rtp(*ssrc)));
        assert_eq!(taken.count(), MOST);
        assert!(ssrcs.let_in(&rtp(7)));
        let report = [&[0x80, 200, 0, 6], &7_u32.to_be_bytes()[..]].concat();
        assert!(ssrcs.let_in(&report));
        assert!(!ssrcs.let_in(&rtp(9)));
        assert!(!ssrcs.let_in(&[0x80, 96, 0]), "cut off");
        assert!(ssrcs.let_in(&[22, 254, 253]), "DTLS");
        ssrcs.begin_anew();
        assert!(ssrcs.let_in(&rtp(9)));
    }
}
