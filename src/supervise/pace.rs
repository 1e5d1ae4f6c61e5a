//! How soon a server that has ended is started again: at once, unless it keeps ending.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many ends in a row before readiness are answered by a start at once.
const UNREADY: u32 = 3;
/// How many ends within [`WINDOW`] are answered by a start at once, where each server was ready.
const READY: usize = 30;
/// See [`READY`].
const WINDOW: Duration = Duration::from_secs(60);
/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Counts ends. The caller supplies the time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Ends in a row before the server was ready.
    unready: u32,
    /// Ends of the last minute.
    recent: VecDeque<Instant>,
}

impl Pace {
    /// A server has ended without being asked to. Returns the pause before the next start.
    pub(super) fn ended(&mut self, now: Instant, was_ready: bool) -> Duration {
        while self
            .recent
            .front()
            .is_some_and(|&at| now.saturating_duration_since(at) > WINDOW)
        {
            self.recent.pop_front();
        }
        // Counting beyond the longest pause would change nothing.
        if self.recent.len() < READY + 16 {
            self.recent.push_back(now);
        }
        self.unready = if was_ready {
            0
        } else {
            self.unready.saturating_add(1)
        };
        let beyond = |count: usize, most: usize| count.checked_sub(most + 1);
        let steps = [
            beyond(self.unready as usize, UNREADY as usize),
            beyond(self.recent.len(), READY),
        ];
        let Some(step) = steps.into_iter().flatten().max() else {
            return Duration::ZERO;
        };
        FIRST.saturating_mul(1 << step.min(16)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(ready: bool, count: usize, apart: Duration) -> Vec<u64> {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..count {
            let pause = pace.ended(now, ready);
            pauses.push(u64::try_from(pause.as_millis()).expect("short"));
            now += pause + apart;
        }
        pauses
    }

    #[test]
    fn a_server_that_never_gets_up_is_tried_at_once_three_times_and_then_ever_more_slowly() {
        assert_eq!(
            pauses(false, 12, Duration::from_millis(10)),
            [
                0, 0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000
            ]
        );
    }

    #[test]
    fn a_server_that_is_killed_now_and_then_is_always_started_at_once() {
        assert!(
            pauses(true, 200, Duration::from_secs(3))
                .iter()
                .all(|&pause| pause == 0)
        );
    }

    #[test]
    fn a_server_that_gets_up_and_falls_again_and_again_is_slowed_down() {
        let pauses = pauses(true, 40, Duration::from_millis(50));
        assert!(pauses[..30].iter().all(|&pause| pause == 0), "{pauses:?}");
        assert_eq!(pauses[30..34], [100, 200, 400, 800]);
        assert!(pauses.iter().all(|&pause| pause <= 10_000), "{pauses:?}");
    }

    #[test]
    fn one_that_was_up_makes_good_for_those_that_were_not() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(pace.ended(now, false), Duration::ZERO);
        }
        assert_eq!(pace.ended(now, true), Duration::ZERO);
        assert_eq!(pace.ended(now, false), Duration::ZERO);
    }
}
