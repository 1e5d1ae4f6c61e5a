//! When the publisher is asked for a keyframe (PLI, RFC 4585 §6.3.1): requests are merged, and
//! repeated until a keyframe came.

use std::time::{Duration, Instant};

/// PLIs are at least this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// A PLI that no keyframe followed is repeated after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Most repetitions; a further request starts again.
const MAX_TRIES: u8 = 5;

/// Keyframe requests for one stream.
#[derive(Debug, Default)]
pub(super) struct Keyframes {
    wanted: bool,
    tries: u8,
    last: Option<Instant>,
    next: Option<Instant>,
}

impl Keyframes {
    /// Requests a keyframe that starts from now on.
    pub(super) fn request(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| (last + MIN_INTERVAL).max(now));
        self.wanted = true;
        self.tries = 0;
        self.next = Some(self.next.map_or(soonest, |next| next.min(soonest)));
    }

    /// A keyframe starts.
    pub(super) fn came(&mut self) {
        self.wanted = false;
        self.next = None;
    }

    /// When [`Keyframes::due`] is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a PLI is to be sent now.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        if !self.wanted || self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.tries += 1;
        self.last = Some(now);
        self.next = (self.tries < MAX_TRIES).then(|| now + RETRY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sent(keyframes: &mut Keyframes, from: Instant, until: Duration) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(at) = keyframes.next().filter(|at| *at <= from + until) {
            if keyframes.due(at) {
                sent.push(at.duration_since(from).as_millis() as u64);
            }
        }
        sent
    }

    #[test]
    fn requests_close_together_make_one_pli() {
        let t = Instant::now();
        let mut keyframes = Keyframes::default();
        for _ in 0..20 {
            keyframes.request(t);
        }
        assert!(keyframes.due(t));
        keyframes.came();
        assert_eq!(sent(&mut keyframes, t, 10_000 * MS), [0u64; 0]);
    }

    #[test]
    fn a_request_soon_after_a_pli_waits_for_its_turn() {
        let t = Instant::now();
        let mut keyframes = Keyframes::default();
        keyframes.request(t);
        assert!(keyframes.due(t));
        keyframes.came();
        keyframes.request(t + 100 * MS);
        keyframes.request(t + 200 * MS);
        assert!(!keyframes.due(t + 499 * MS));
        assert!(keyframes.due(t + 500 * MS));
    }

    #[test]
    fn a_pli_without_an_answer_is_repeated_and_then_given_up() {
        let t = Instant::now();
        let mut keyframes = Keyframes::default();
        keyframes.request(t);
        assert_eq!(
            sent(&mut keyframes, t, 60_000 * MS),
            [0, 1000, 2000, 3000, 4000]
        );
        keyframes.request(t + 60_000 * MS);
        assert!(keyframes.due(t + 60_000 * MS));
    }

    #[test]
    fn a_keyframe_from_before_the_request_does_not_answer_it() {
        let t = Instant::now();
        let mut keyframes = Keyframes::default();
        keyframes.came();
        keyframes.request(t);
        assert!(keyframes.due(t));
    }
}
