//! How a viewer's NACKs are answered: by RTX or on the original SSRC, and within what bounds.
//!
//! Some receivers cannot use RTX whose SSRC no SDP announced (Firefox). They repeat the request,
//! and the second answer is sent on the original SSRC, with exactly the bytes of the first
//! transmission.

use std::time::{Duration, Instant};

use super::budget::Budget;
use super::history::Index;

/// Most answers that are remembered, to distinguish repeated requests from first ones.
const REMEMBERED: usize = 256;
/// A request for the same packet within this time is a duplicate of the last one.
const MIN_REPEAT: Duration = Duration::from_millis(10);
/// A request for the same packet after this time counts as a first one.
const FORGET: Duration = Duration::from_secs(2);
/// How often one packet is sent again at most, until it is forgotten.
const MAX_ANSWERS: u8 = 8;
/// After this many RTX packets without effect, a viewer gets retransmissions on the original SSRC.
const DOUBTS: u8 = 3;
const MAX_DOUBTS: u8 = 6;
/// The burst of retransmitted bytes that a viewer may always have: two large keyframes.
const MIN_BURST: u64 = 256 * 1024;
/// The rate of retransmitted bytes a second that a viewer may always have.
const MIN_RATE: u64 = 64 * 1024;
/// Most sequence numbers of NACKs that are processed a second.
const MAX_LOOKED_AT: u64 = 4096;
/// For this time after a viewer came back from an earlier boot it gets answers on the original
/// SSRC: whether RTX works for it is no longer known, and finding out would cost a round trip at
/// the worst moment.
const PLAIN_AFTER_RESUME: Duration = Duration::from_secs(3);

/// The answer to a NACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// As an RTX packet.
    Rtx,
    /// On the original SSRC.
    Plain,
    /// Not now.
    Nothing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    ssrc: u32,
    /// Low bits of the index; an entry with 0 answers is empty.
    index: u32,
    at: u32,
    answers: u8,
    /// Whether the last answer was an RTX packet.
    rtx: bool,
}

/// The latest retransmissions to one viewer.
#[derive(Debug)]
pub(super) struct Resends {
    epoch: Instant,
    sent: Vec<Sent>,
    doubts: u8,
    plain_until: Option<Instant>,
    /// In bytes.
    bytes: Budget,
    /// In sequence numbers.
    looks: Budget,
}

impl Resends {
    pub(super) fn new(now: Instant) -> Self {
        // Memory is allocated with the first NACK: most viewers lose nothing.
        Self {
            epoch: now,
            sent: Vec::new(),
            doubts: 0,
            plain_until: None,
            bytes: Budget::new(now, MIN_BURST),
            looks: Budget::new(now, MAX_LOOKED_AT),
        }
    }

    /// The viewer is back from an earlier boot.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.plain_until = Some(now + PLAIN_AFTER_RESUME);
    }

    /// Whether one more sequence number may be processed.
    pub(super) fn may_look(&mut self, now: Instant) -> bool {
        self.looks.take(now, 1, MAX_LOOKED_AT, MAX_LOOKED_AT)
    }

    /// How to answer a request for a packet of `size` bytes, on a channel with `rate` bytes a
    /// second.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        ssrc: u32,
        index: Index,
        size: usize,
        rate: u64,
        has_rtx: bool,
    ) -> Answer {
        if self.sent.is_empty() {
            self.sent = vec![Sent::default(); REMEMBERED];
        }
        let at = now.saturating_duration_since(self.epoch).as_millis() as u32;
        let slot = (index as usize ^ ssrc as usize) % REMEMBERED;
        let before = self.sent[slot];
        let age = Duration::from_millis(at.wrapping_sub(before.at).into());
        let repeated = before.answers > 0
            && (before.ssrc, before.index) == (ssrc, index as u32)
            && age < FORGET;
        if repeated && (age < MIN_REPEAT || before.answers >= MAX_ANSWERS) {
            return Answer::Nothing;
        }
        // Half of the media rate, and a burst of a second's media.
        if !self.bytes.take(
            now,
            size as u64,
            (rate / 2).max(MIN_RATE),
            rate.max(MIN_BURST),
        ) {
            return Answer::Nothing;
        }
        if before.answers == 1 && before.rtx {
            // Either the RTX packet did not help, or it answered the last request for its packet.
            self.doubts = if repeated {
                (self.doubts + 1).min(MAX_DOUBTS)
            } else {
                self.doubts.saturating_sub(1)
            };
        }
        let resumed = self.plain_until.is_some_and(|until| now < until);
        let rtx = has_rtx && !repeated && !resumed && self.doubts < DOUBTS;
        let answers = if repeated { before.answers + 1 } else { 1 };
        self.sent[slot] = Sent {
            ssrc,
            index: index as u32,
            at,
            answers,
            rtx,
        };
        if rtx { Answer::Rtx } else { Answer::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RATE: u64 = 300_000;

    #[test]
    fn a_first_request_is_answered_by_rtx_and_a_second_one_on_the_original_ssrc() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        assert_eq!(resends.answer(t, 1, 70_000, 1200, RATE, true), Answer::Rtx);
        assert_eq!(
            resends.answer(t + MS, 1, 70_000, 1200, RATE, true),
            Answer::Nothing,
            "too soon"
        );
        assert_eq!(
            resends.answer(t + 20 * MS, 1, 70_000, 1200, RATE, true),
            Answer::Plain
        );
        assert_eq!(
            resends.answer(t + 20 * MS, 1, 70_001, 1200, RATE, true),
            Answer::Rtx
        );
        assert_eq!(
            resends.answer(t + 20 * MS, 1, 70_002, 1200, RATE, false),
            Answer::Plain,
            "no RTX agreed"
        );
    }

    #[test]
    fn a_viewer_that_rtx_does_not_help_gets_plain_answers_at_once() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        for index in 70_000..70_003 {
            assert_eq!(resends.answer(t, 1, index, 1200, RATE, true), Answer::Rtx);
            assert_eq!(
                resends.answer(t + 30 * MS, 1, index, 1200, RATE, true),
                Answer::Plain
            );
        }
        assert_eq!(
            resends.answer(t + 40 * MS, 1, 70_010, 1200, RATE, true),
            Answer::Plain
        );
    }

    #[test]
    fn a_viewer_back_from_an_earlier_boot_gets_plain_answers_for_a_while() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        resends.resumed(t);
        assert_eq!(
            resends.answer(t + 2999 * MS, 1, 70_000, 1200, RATE, true),
            Answer::Plain
        );
        assert_eq!(
            resends.answer(t + 3000 * MS, 1, 70_001, 1200, RATE, true),
            Answer::Rtx
        );
    }

    #[test]
    fn a_viewer_that_only_loses_an_rtx_packet_now_and_then_keeps_rtx() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        for i in 0..2000u64 {
            let now = t + i as u32 * 20 * MS;
            assert_eq!(
                resends.answer(now, 1, 70_000 + i, 100, RATE, true),
                Answer::Rtx,
                "{i}"
            );
            // Of the packets of the second round on, every tenth answer is lost.
            if i > 256 && i % 10 == 0 {
                assert_eq!(
                    resends.answer(now + 15 * MS, 1, 70_000 + i, 100, RATE, true),
                    Answer::Plain
                );
            }
        }
    }

    #[test]
    fn one_packet_is_sent_again_a_few_times_only() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        let sent = (0..50).filter(|i| {
            resends.answer(t + 20 * MS * *i, 1, 70_000, 10, RATE, true) != Answer::Nothing
        });
        assert_eq!(sent.count(), usize::from(MAX_ANSWERS));
    }

    #[test]
    fn a_nack_storm_is_held_to_a_share_of_the_media_rate() {
        let t = Instant::now();
        let mut resends = Resends::new(t);
        let mut bytes = 0;
        for i in 0..100_000u64 {
            let now = t + Duration::from_micros(100 * i);
            if resends.answer(now, 1, 70_000 + i % 4000, 1200, RATE, true) != Answer::Nothing {
                bytes += 1200;
            }
        }
        // 10 s: a burst and half the rate.
        assert!(bytes <= RATE + 5 * RATE + 1200, "{bytes}");
        assert!(bytes >= 4 * RATE, "{bytes}");
    }
}
