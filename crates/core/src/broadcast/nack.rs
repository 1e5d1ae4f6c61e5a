//! What the publisher is asked to send again (RFC 4585 §6.2.1): the gaps that the server sees and
//! the packets that viewers miss, merged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most packets requested at a time. A keyframe is the better repair for a longer gap.
pub(super) const MAX_OPEN: usize = 1024;
/// Most requests for one packet.
const MAX_TRIES: u8 = 10;
/// Most requests for a packet that is only assumed to be lost: the publisher may never have sent
/// it, or the viewers may have it.
const MAX_GUESSES: u8 = 2;
/// A packet that has not arrived after this time is given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a packet that was given up is not requested again.
const MEMORY: Duration = Duration::from_secs(4);
/// Requests for one packet are at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// The round-trip time to a publisher until one was measured.
const DEFAULT_RTT: Duration = Duration::from_millis(50);
/// A longer round-trip time is taken for the loss of an answer.
const MAX_RTT: Duration = Duration::from_millis(500);

/// Why a packet is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It may have been lost while the server was away.
    Guess,
    /// A later packet arrived first.
    Gap,
    /// A viewer requested it.
    Viewer,
}

#[derive(Debug)]
struct Ask {
    why: Why,
    since: Instant,
    /// When it was first requested, and when it is requested next.
    first: Option<Instant>,
    next: Instant,
    tries: u8,
    /// No keyframe has arrived since that would replace it.
    needed: bool,
    given_up: bool,
}

/// What [`Asks::due`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Sequence numbers to ask for now.
    pub ask: Vec<u16>,
    /// A packet that is needed was given up: only a keyframe helps.
    pub gave_up: bool,
}

/// The packets of one stream that the publisher is to send again.
#[derive(Debug)]
pub(super) struct Asks {
    open: BTreeMap<u16, Ask>,
    rtt: Option<Duration>,
    next: Option<Instant>,
}

impl Asks {
    pub(super) fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            rtt: None,
            next: None,
        }
    }

    /// The round-trip time to the publisher, as far as it is known.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(DEFAULT_RTT)
    }

    fn interval(&self) -> Duration {
        self.rtt().max(MIN_INTERVAL)
    }

    /// Requests a packet, unless it was requested or given up already. Returns whether it is
    /// requested from now on.
    pub(super) fn want(&mut self, now: Instant, sequence: u16, why: Why) -> bool {
        if let Some(ask) = self.open.get_mut(&sequence) {
            // A viewer that needs it turns a guess into a request.
            ask.why = ask.why.max(why);
            return false;
        }
        if self.open.len() >= MAX_OPEN {
            return false;
        }
        self.open.insert(
            sequence,
            Ask {
                why,
                since: now,
                first: None,
                next: now,
                tries: 0,
                needed: true,
                given_up: false,
            },
        );
        self.next = Some(now);
        true
    }

    /// A packet has arrived, in whatever way.
    pub(super) fn got(&mut self, now: Instant, sequence: u16) {
        let Some(ask) = self.open.remove(&sequence) else {
            return;
        };
        // The answers to a burst of guesses arrive at the publisher's pace and would measure that.
        let Some(first) = ask.first.filter(|_| ask.why != Why::Guess) else {
            return;
        };
        // Which request was answered is not known. Counting from the first overestimates, so that a
        // round-trip time that has grown is noticed.
        let sample = now.saturating_duration_since(first).min(MAX_RTT);
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }

    /// A keyframe starts at this packet: earlier packets are welcome but no longer needed.
    pub(super) fn keyframe(&mut self, sequence: u16) {
        for (missing, ask) in &mut self.open {
            ask.needed &= sequence.wrapping_sub(*missing) as i16 <= 0;
        }
    }

    /// Whether a viewer has been waiting for a packet for `long`, and the packet was not given up
    /// yet.
    pub(super) fn viewer_waits(&self, now: Instant, long: Duration) -> bool {
        let waits =
            |ask: &Ask| ask.why == Why::Viewer && now.saturating_duration_since(ask.since) >= long;
        self.open
            .values()
            .any(|ask| waits(ask) && ask.needed && !ask.given_up)
    }

    /// When [`Asks::due`] is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// What is to be requested now.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.next.is_none_or(|next| next > now) {
            return due;
        }
        let interval = self.interval();
        let mut next: Option<Instant> = None;
        self.open.retain(|&sequence, ask| {
            let age = now.saturating_duration_since(ask.since);
            // Remembered for a while, so that viewers who ask again do not start it anew.
            if ask.given_up {
                return age < MEMORY;
            }
            if ask.next <= now {
                let tries = if ask.why == Why::Guess {
                    MAX_GUESSES
                } else {
                    MAX_TRIES
                };
                if ask.tries >= tries || age >= PATIENCE {
                    ask.given_up = true;
                    due.gave_up |= ask.needed && ask.why != Why::Guess;
                    return true;
                }
                due.ask.push(sequence);
                ask.tries += 1;
                ask.first.get_or_insert(now);
                // Each interval is longer than the one before by half, in case the round-trip time
                // is.
                ask.next = now + interval * (u32::from(ask.tries) + 1) / 2;
            }
            next = Some(next.map_or(ask.next, |next| next.min(ask.next)));
            true
        });
        self.next = next;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn run(asks: &mut Asks, from: Instant, until: Instant) -> (Vec<(u64, u16)>, Option<u64>) {
        let (mut asked, mut gave_up) = (Vec::new(), None);
        while let Some(at) = asks.next().filter(|at| *at <= until) {
            let due = asks.due(at);
            let ms = at.duration_since(from).as_millis() as u64;
            asked.extend(due.ask.into_iter().map(|sequence| (ms, sequence)));
            if due.gave_up {
                gave_up.get_or_insert(ms);
            }
        }
        (asked, gave_up)
    }

    #[test]
    fn a_gap_is_asked_for_at_once_and_again_ever_more_slowly_until_it_is_given_up() {
        let t = Instant::now();
        let mut asks = Asks::new();
        assert!(asks.want(t, 7, Why::Gap));
        let (asked, gave_up) = run(&mut asks, t, t + 5000 * MS);
        assert_eq!(
            asked,
            [0, 50, 125, 225, 350, 500, 675, 875].map(|ms| (ms, 7))
        );
        assert_eq!(gave_up, Some(1100));
        assert_eq!(asks.next(), None);
    }

    #[test]
    fn many_viewers_who_miss_the_same_packet_make_one_request() {
        let t = Instant::now();
        let mut asks = Asks::new();
        for i in 0..100 {
            assert_eq!(asks.want(t + i * MS / 10, 9, Why::Viewer), i == 0);
        }
        assert_eq!(asks.due(t).ask, [9]);
        assert_eq!(asks.due(t + 10 * MS).ask, [0u16; 0]);
        assert_eq!(asks.due(t + 50 * MS).ask, [9]);
    }

    #[test]
    fn an_answer_ends_the_asking_and_measures_the_round_trip() {
        let t = Instant::now();
        let mut asks = Asks::new();
        asks.want(t, 1, Why::Gap);
        asks.due(t);
        asks.got(t + 30 * MS, 1);
        assert_eq!(asks.rtt(), 30 * MS);
        assert_eq!(asks.due(t + 1000 * MS), Due::default());
        asks.want(t + 1000 * MS, 2, Why::Gap);
        assert_eq!(run(&mut asks, t, t + 1065 * MS).0, [(1000, 2), (1030, 2)]);
    }

    #[test]
    fn a_guess_is_asked_for_twice_and_ends_in_silence_unless_a_viewer_needs_it() {
        let t = Instant::now();
        let mut asks = Asks::new();
        asks.want(t, 1, Why::Guess);
        asks.want(t, 2, Why::Guess);
        asks.due(t);
        assert!(!asks.viewer_waits(t, Duration::ZERO));
        assert!(!asks.want(t, 2, Why::Viewer));
        assert!(asks.viewer_waits(t, Duration::ZERO));
        assert!(!asks.viewer_waits(t, MS));
        let (asked, gave_up) = run(&mut asks, t, t + 5000 * MS);
        assert_eq!(asked.iter().filter(|(_, s)| *s == 1).count(), 1);
        assert_eq!(asked.iter().filter(|(_, s)| *s == 2).count(), 7);
        assert_eq!(gave_up, Some(1100));
    }

    #[test]
    fn a_round_trip_that_grows_is_noticed() {
        let t = Instant::now();
        let mut asks = Asks::new();
        asks.want(t, 0, Why::Gap);
        asks.due(t);
        asks.got(t + 5 * MS, 0);
        assert_eq!(asks.rtt(), 5 * MS);
        for sequence in 1..40u16 {
            let now = t + u32::from(sequence) * 1000 * MS;
            asks.want(now, sequence, Why::Gap);
            let (_, gave_up) = run(&mut asks, t, now + 200 * MS);
            assert_eq!(gave_up, None);
            asks.got(now + 200 * MS, sequence);
        }
        assert!(asks.rtt() > 190 * MS, "{:?}", asks.rtt());
    }

    #[test]
    fn what_lies_before_a_keyframe_is_given_up_in_silence() {
        let t = Instant::now();
        let mut asks = Asks::new();
        asks.want(t, 65_535, Why::Viewer);
        asks.keyframe(3);
        assert!(!asks.viewer_waits(t, Duration::ZERO));
        assert_eq!(run(&mut asks, t, t + 5000 * MS).1, None);
        asks.want(t + 9000 * MS, 4, Why::Gap);
        asks.keyframe(3);
        assert!(run(&mut asks, t, t + 15_000 * MS).1.is_some());
    }

    #[test]
    fn what_was_given_up_is_not_asked_for_again_soon() {
        let t = Instant::now();
        let mut asks = Asks::new();
        asks.want(t, 1, Why::Gap);
        run(&mut asks, t, t + 2000 * MS);
        assert!(!asks.want(t + 2000 * MS, 1, Why::Viewer));
        asks.want(t + 5000 * MS, 2, Why::Gap);
        asks.due(t + 5000 * MS);
        assert!(asks.want(t + 5000 * MS, 1, Why::Viewer));
    }

    #[test]
    fn a_storm_of_requests_is_bounded() {
        let t = Instant::now();
        let mut asks = Asks::new();
        for sequence in 0..=u16::MAX {
            asks.want(t, sequence, Why::Viewer);
        }
        assert_eq!(asks.due(t).ask.len(), MAX_OPEN);
    }
}
