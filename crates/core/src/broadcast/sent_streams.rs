//! Which SSRCs and indices one viewer was sent.

use super::history::Index;

/// Longest step between two packets sent on one SSRC: half the sequence space, less the length of
/// the history, since the step is counted from a packet that was sent again.
const MAX_STEP: u64 = 0x8000 - 0x1000;

/// The streams that one viewer was sent; those of the present publisher are the last ones.
#[derive(Debug, Default)]
pub(super) struct SentStreams(Vec<SentStream>);

#[derive(Debug)]
struct SentStream {
    ssrc: u32,
    /// The highest index sent under the present keys.
    top: Option<Index>,
    rtx_sequence: u16,
}

impl SentStreams {
    /// Takes fresh keys: SRTP indices start again on both sides.
    pub(super) fn rekeyed(&mut self) {
        for stream in &mut self.0 {
            stream.top = None;
        }
    }

    fn stream(&mut self, ssrc: u32, first_rtx: impl FnOnce() -> u16) -> &mut SentStream {
        let at = match self.0.iter().rposition(|stream| stream.ssrc == ssrc) {
            Some(at) => at,
            None => {
                self.0.push(SentStream {
                    ssrc,
                    top: None,
                    rtx_sequence: first_rtx(),
                });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    /// Whether a packet may be sent on its own SSRC. After a gap near half the sequence space
    /// neither side's SRTP would extend the sequence number as the publisher meant it, and an index
    /// could be used twice (RFC 3711 §3.3.1). Such a stream ends for this viewer.
    pub(super) fn may_send(
        &mut self,
        ssrc: u32,
        index: Index,
        first_rtx: impl FnOnce() -> u16,
    ) -> bool {
        let top = &mut self.stream(ssrc, first_rtx).top;
        if top.is_some_and(|top| top.abs_diff(index) >= MAX_STEP) {
            return false;
        }
        *top = (*top).max(Some(index));
        true
    }

    /// The next sequence number of this stream's retransmissions.
    pub(super) fn next_rtx(&mut self, ssrc: u32, first_rtx: impl FnOnce() -> u16) -> u16 {
        let stream = self.stream(ssrc, first_rtx);
        let sequence = stream.rtx_sequence;
        stream.rtx_sequence = sequence.wrapping_add(1);
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_at_a_gap_that_srtp_cannot_follow_until_there_are_new_keys() {
        let mut streams = SentStreams::default();
        assert!(streams.may_send(1, 0x1_0000, || 0));
        assert!(streams.may_send(1, 0x1_6FFF, || 0));
        assert!(!streams.may_send(1, 0x1_DFFF, || 0));
        assert!(
            streams.may_send(1, 0x1_DFFE, || 0),
            "the gap is measured from the last packet sent"
        );
        assert!(streams.may_send(2, 0x1_FFFF, || 0), "another stream");
        streams.rekeyed();
        assert!(streams.may_send(1, 0x1_FFFF, || 0));
    }

    #[test]
    fn rtx_numbers_go_on_across_keys_and_wrap() {
        let mut streams = SentStreams::default();
        assert_eq!(streams.next_rtx(1, || 65_535), 65_535);
        streams.rekeyed();
        assert_eq!(streams.next_rtx(1, || 7), 0);
        assert_eq!(streams.next_rtx(2, || 7), 7);
    }
}
