//! One media stream of a publisher, by its SSRC: which packets came, which are missing, and what
//! its viewers need.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_sdp::{Kind, Media};

use super::history::{History, Index, Insert};
use super::keyframe;
use super::nack::{Asks, Why};
use super::pli::Keyframes;
use super::reception::Reception;
use super::rtcp::SenderInfo;
use super::rtp::Packet;
use super::track_info::{Report, TrackInfo};

/// Most packets and bytes of a video stream in the history: 3 s at 20 Mbit/s.
const VIDEO_HISTORY: (usize, usize) = (4096, 8 << 20);
/// The same of an audio stream.
const AUDIO_HISTORY: (usize, usize) = (1024, 1 << 20);
/// How many packets before the first one after a restart are requested at once: as many as four
/// entries of a NACK name. They were lost while the server was away, and asking before the viewers
/// do saves a round trip.
const ASK_BACK: u16 = 68;
/// A keyframe is the repair for a longer gap.
pub(super) const MAX_GAP: u64 = 512;
/// If viewers have waited this long after a resume for packets that the publisher does not send
/// again, a keyframe is requested.
const CHECK_BACK: Duration = Duration::from_millis(500);
const WAITED: Duration = Duration::from_millis(250);

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is new: it is to be forwarded.
    Forward(Index),
    /// It is a duplicate, or may be one.
    Duplicate,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Track {
    pub info: Arc<TrackInfo>,
    pub history: History,
    pub reception: Reception,
    /// The latest sender report.
    pub report: Option<SenderInfo>,
    cname: Option<Arc<[u8]>>,
    /// When its first packet came.
    pub started: Option<Instant>,
    asks: Asks,
    keyframes: Keyframes,
    resumed: bool,
    /// How many packets before the first one are requested, where the publisher is from an earlier
    /// boot; and whether they are known to be missing.
    pub ask_back: (u16, Why),
    check_back: Option<Instant>,
    /// What full-state mode has added to the publisher's sequence numbers.
    pub shift: u16,
}

/// What to request from the publisher now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Sequence numbers to NACK.
    pub nack: Vec<u16>,
    /// A PLI is due.
    pub pli: bool,
}

impl Deref for Track {
    type Target = TrackInfo;

    fn deref(&self) -> &TrackInfo {
        &self.info
    }
}

impl Track {
    /// A stream that has not started. `resumed`: its publisher is from an earlier boot. `after`: a
    /// stream with this SSRC ended at that index before, and its indices must not be used twice.
    pub(super) fn new(
        ssrc: u32,
        rtx_ssrc: u32,
        section: Arc<Media>,
        resumed: bool,
        after: Option<Index>,
    ) -> Self {
        let (packets, bytes) = match section.kind {
            Kind::Audio => AUDIO_HISTORY,
            Kind::Video => VIDEO_HISTORY,
        };
        // A publisher sends one codec in each section.
        let clock_rate = section
            .payloads
            .first()
            .map_or(90_000, |payload| payload.codec.clock_rate());
        let history = match after {
            Some(highest) => History::after(highest, packets, bytes),
            None => History::new(packets, bytes),
        };
        Self {
            info: Arc::new(TrackInfo {
                ssrc,
                rtx_ssrc,
                section,
            }),
            history,
            reception: Reception::new(ssrc, clock_rate),
            report: None,
            cname: None,
            started: None,
            asks: Asks::new(),
            keyframes: Keyframes::default(),
            resumed,
            ask_back: (ASK_BACK, Why::Guess),
            check_back: None,
            shift: 0,
        }
    }

    /// The publisher announced its canonical name.
    pub(super) fn set_cname(&mut self, name: &[u8]) {
        if self.cname.as_deref() != Some(name) {
            self.cname = Some(name.into());
        }
    }

    /// The latest sender report, as viewers get it.
    pub(super) fn sender_report(&self) -> Option<Report> {
        Some(Report {
            ssrc: self.ssrc,
            info: *self.report.as_ref()?,
            cname: self.cname.clone(),
        })
    }

    pub(super) fn has_nack(&self) -> bool {
        self.section.payloads.iter().any(|payload| payload.nack)
    }

    fn has_pli(&self) -> bool {
        self.section.kind == Kind::Video && self.section.payloads.iter().any(|payload| payload.pli)
    }

    /// Takes a packet; `mended` if it arrived as RTX.
    pub(super) fn take(&mut self, now: Instant, packet: &Packet, mended: bool) -> Taken {
        let header = &packet.header;
        let (index, missing) = match self.history.insert(packet.clone()) {
            Insert::New { index, missing } => (index, missing),
            // It fills a gap that has been requested already: nothing new is missing.
            Insert::Late { index } => (index, index..index),
            Insert::Duplicate | Insert::TooOld => return Taken::Duplicate,
        };
        // Statistics are of the stream itself: a retransmission says nothing of its loss or jitter
        // (RFC 4588 §6.3).
        if !mended {
            // Requests to the publisher use its own numbers.
            let index = match self.shift {
                0 => index,
                shift => index + 0x1_0000 - u64::from(shift),
            };
            self.reception.packet(now, index, header.timestamp);
        }
        self.asks.got(now, header.sequence);
        if self.started.is_none() {
            self.started = Some(now);
            // Viewers of the last boot have the packets before; those lost during the restart are
            // in between.
            if self.resumed && self.has_nack() {
                let (packets, why) = self.ask_back;
                for back in 1..=packets {
                    self.asks.want(now, header.sequence.wrapping_sub(back), why);
                }
                self.check_back = Some(now + CHECK_BACK);
            }
        }
        if !missing.is_empty() {
            // Beyond it, repairing packet by packet takes longer than a new keyframe.
            if self.has_nack() && missing.end - missing.start <= MAX_GAP {
                for index in missing {
                    self.asks.want(now, index as u16, Why::Gap);
                }
            } else {
                self.request_keyframe(now);
            }
        }
        if super::mapping::codec(&self.section, header.payload_type)
            .is_some_and(|codec| keyframe::starts(codec, packet.payload()))
        {
            self.keyframes.came();
            self.asks.keyframe(header.sequence);
        }
        Taken::Forward(index)
    }

    /// A viewer misses a packet that the server does not have.
    pub(super) fn viewer_misses(&mut self, now: Instant, sequence: u16) {
        if self.has_nack() {
            self.asks.want(now, sequence, Why::Viewer);
        }
    }

    /// A viewer misses a packet older than all that the publisher is asked for. If it has missed it
    /// since a restart, only a keyframe helps.
    pub(super) fn viewer_is_behind(&mut self, now: Instant) {
        // This replaces the first check after a resume, if that is still to come.
        if self.check_back.take().is_some() {
            self.request_keyframe(now);
        }
    }

    /// Somebody needs a keyframe.
    pub(super) fn request_keyframe(&mut self, now: Instant) {
        if self.has_pli() {
            self.keyframes.request(now);
        }
    }

    /// When [`Track::due`] is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.asks.next(), self.keyframes.next(), self.check_back]
            .into_iter()
            .flatten()
            .min()
    }

    /// What to request from the publisher now.
    pub(super) fn due(&mut self, now: Instant) -> Requests {
        let due = self.asks.due(now);
        let check = self.check_back.is_some_and(|at| at <= now);
        if check {
            self.check_back = None;
        }
        if due.gave_up || (check && self.asks.viewer_waits(now, WAITED)) {
            self.request_keyframe(now);
        }
        Requests {
            nack: due.ask,
            pli: self.keyframes.due(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::mapping::tests::video;
    use crate::broadcast::rtp::packet;
    use rekindle_sdp::Extensions;

    const MS: Duration = Duration::from_millis(1);
    const DELTA: &[u8] = &[0x10, 0x01];
    const KEY: &[u8] = &[0x10, 0x00];

    fn track(resumed: bool) -> Track {
        Track::new(
            7,
            8,
            Arc::new(video("1", 96, Extensions::default(), vec![])),
            resumed,
            None,
        )
    }

    fn take(track: &mut Track, now: Instant, sequence: u16, payload: &[u8]) -> Taken {
        track.take(now, &packet(7, 96, sequence, &[], payload), false)
    }

    /// Runs until a time; NACKed sequence numbers and the times of PLIs, in ms.
    fn run(track: &mut Track, from: Instant, until: Duration) -> (Vec<u16>, Vec<u64>) {
        let (mut nacked, mut plis) = (Vec::new(), Vec::new());
        while let Some(at) = track.next().filter(|at| *at <= from + until) {
            let requests = track.due(at);
            nacked.extend(requests.nack);
            if requests.pli {
                plis.push(at.duration_since(from).as_millis() as u64);
            }
        }
        (nacked, plis)
    }

    #[test]
    fn the_first_packet_of_a_resumed_publisher_asks_back_at_once() {
        let t = Instant::now();
        let mut track = track(true);
        assert!(matches!(take(&mut track, t, 10, DELTA), Taken::Forward(_)));
        let asked = track.due(t).nack;
        assert_eq!(asked.len(), 68);
        assert!(asked.contains(&9) && asked.contains(&65_478));
        assert!(matches!(
            take(&mut track, t + 5 * MS, 9, DELTA),
            Taken::Forward(_)
        ));
        assert_eq!(take(&mut track, t + 6 * MS, 9, DELTA), Taken::Duplicate);
        let (again, plis) = run(&mut track, t, 5000 * MS);
        assert!(!again.contains(&9) && again.contains(&8));
        assert_eq!(
            plis, [0u64; 0],
            "what the publisher does not have and nobody misses costs no keyframe"
        );
    }

    #[test]
    fn a_new_publisher_is_not_asked_for_what_lies_before_its_first_packet() {
        let t = Instant::now();
        let mut track = track(false);
        take(&mut track, t, 10, DELTA);
        assert_eq!(run(&mut track, t, 5000 * MS), (vec![], vec![]));
    }

    #[test]
    fn what_viewers_still_miss_after_a_resume_costs_one_keyframe() {
        let t = Instant::now();
        let mut track = track(true);
        take(&mut track, t, 1000, DELTA);
        for viewer in 0..10u32 {
            track.viewer_misses(t + viewer * MS, 990);
        }
        let (nacked, plis) = run(&mut track, t, 700 * MS);
        assert!(nacked.iter().filter(|s| **s == 990).count() >= 5);
        assert_eq!(plis, [500]);
        take(&mut track, t + 700 * MS, 1001, KEY);
        assert_eq!(run(&mut track, t, 5000 * MS).1, [0u64; 0]);
    }

    #[test]
    fn viewers_who_miss_more_than_can_be_asked_for_after_a_resume_get_a_keyframe_at_once() {
        let t = Instant::now();
        let mut track = track(true);
        take(&mut track, t, 1000, DELTA);
        track.viewer_is_behind(t + 10 * MS);
        track.viewer_is_behind(t + 700 * MS);
        assert_eq!(run(&mut track, t, 700 * MS).1, [10]);
    }

    #[test]
    fn a_gap_is_asked_for_and_ends_in_one_keyframe_request() {
        let t = Instant::now();
        let mut track = track(false);
        take(&mut track, t, 65_534, DELTA);
        take(&mut track, t, 1, DELTA);
        assert_eq!(track.due(t).nack, [0, 65_535]);
        take(&mut track, t + 10 * MS, 0, DELTA);
        let (nacked, plis) = run(&mut track, t, 1200 * MS);
        assert!(nacked.iter().all(|sequence| *sequence == 65_535));
        assert_eq!(plis.len(), 1);
    }

    #[test]
    fn a_gap_too_long_for_nack_asks_for_a_keyframe() {
        let t = Instant::now();
        let mut track = track(false);
        take(&mut track, t, 0, DELTA);
        take(&mut track, t, 2000, DELTA);
        assert_eq!(run(&mut track, t, 10 * MS), (vec![], vec![0]));
    }

    #[test]
    fn a_keyframe_ends_the_requests_for_one() {
        let t = Instant::now();
        let mut track = track(false);
        take(&mut track, t, 0, DELTA);
        track.request_keyframe(t);
        assert_eq!(run(&mut track, t, 100 * MS).1, [0]);
        take(&mut track, t + 200 * MS, 1, KEY);
        assert_eq!(run(&mut track, t, 9000 * MS).1, [0u64; 0]);
    }
}
