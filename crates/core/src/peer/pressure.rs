//! How many ClientHellos of one address are answered, and which of them without a cookie.

use std::time::{Duration, Instant};

/// ClientHellos answered without a cookie: a page's attempt, and the next one.
const AT_ONCE: u8 = 2;
/// One more after this time, unless it is pressed.
const ANOTHER: Duration = Duration::from_secs(1);
/// It is pressed until no further ClientHello has arrived for this time.
const QUIET: Duration = Duration::from_secs(2);
/// Most new handshakes in a row, and per second after that. A page starts at most two a second.
const BURST: u32 = 8;
const REFILL: Duration = Duration::from_millis(250);

/// ClientHellos that are answered without a cookie.
#[derive(Default)]
pub(super) struct Direct {
    spent: u8,
    /// When one was last spent or returned.
    changed: Option<Instant>,
    /// When the last one arrived that was not answered without a cookie.
    refused: Option<Instant>,
}

impl Direct {
    /// Whether a ClientHello without a cookie is answered; never while a handshake of a client with
    /// a cookie is under way.
    pub(super) fn take(&mut self, now: Instant, verified: bool) -> bool {
        let since = |then: Option<Instant>| {
            then.map_or(Duration::MAX, |then| now.saturating_duration_since(then))
        };
        if since(self.refused) >= QUIET && since(self.changed) >= ANOTHER && self.spent > 0 {
            self.spent -= 1;
        }
        let may = !verified && self.spent < AT_ONCE && since(self.refused) >= QUIET;
        if may {
            self.spent += 1;
            self.changed = Some(now);
        } else {
            self.refused = Some(now);
        }
        may
    }

    /// More arrive elsewhere than are answered without a cookie.
    pub(super) fn press(&mut self, now: Instant) {
        self.refused = Some(now);
    }

    /// Whether more arrived than are answered without a cookie, since a handshake was last
    /// completed.
    pub(super) fn is_pressed(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether it is as after [`Direct::reset`].
    pub(super) fn is_new(&self) -> bool {
        let Self {
            spent,
            changed,
            refused,
        } = self;
        *spent == 0 && changed.is_none() && refused.is_none()
    }

    /// A handshake was completed: what was spent was a browser's.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A token bucket.
#[derive(Default)]
pub(super) struct Budget {
    /// How many were taken beyond what has been refilled, and since when this is counted.
    spent: u32,
    counted_at: Option<Instant>,
}

impl Budget {
    /// Whether nothing that was taken still counts.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.counted_at.is_none_or(|at| since(at) >= BURST * REFILL)
    }

    /// Whether one more handshake may start now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(*self.counted_at.get_or_insert(now));
        let refilled = u32::try_from(since.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if refilled > 0 {
            self.spent = self.spent.saturating_sub(refilled);
            self.counted_at = Some(now);
        }
        if self.spent >= BURST {
            return false;
        }
        self.spent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn two_attempts_are_answered_at_once_and_under_pressure_none() {
        let mut now = Instant::now();
        let mut direct = Direct::default();
        let answered = (0..1000).filter(|_| {
            now += 10 * MS;
            direct.take(now, false)
        });
        assert_eq!(answered.count(), 2);
        assert!(direct.is_pressed());
        now += QUIET;
        assert!(direct.take(now, false));
        assert!(!direct.take(now + MS, false));
    }

    #[test]
    fn a_page_that_starts_again_now_and_then_is_never_asked() {
        let mut now = Instant::now();
        let mut direct = Direct::default();
        for _ in 0..10 {
            assert!(direct.take(now, false));
            now += ANOTHER;
        }
        assert!(direct.take(now, false) && direct.take(now, false));
        direct.reset();
        assert!(direct.take(now, false) && direct.take(now, false));
        assert!(!direct.take(now, false));
        assert!(
            !direct.take(now + ANOTHER, false),
            "somebody sends more of them"
        );
    }

    #[test]
    fn while_somebody_is_verified_all_others_are_asked() {
        let now = Instant::now();
        assert!(!Direct::default().take(now, true));
    }

    #[test]
    fn verified_handshakes_are_limited_too() {
        let now = Instant::now();
        let mut budget = Budget::default();
        let taken = (0..10_000).filter(|ms| budget.take(now + *ms * MS)).count();
        assert!((40..=50).contains(&taken), "{taken}");
    }
}
