//! Timers. Entries are never removed: the owner recognises one that came too early, so that a
//! packet costs one comparison of times and no search.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Interval between checks of all peers.
pub(super) const LIVENESS: Duration = Duration::from_secs(1);

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The check of all peers.
    Liveness,
    /// The report of a peer's move.
    Move(usize),
    /// The DTLS handshakes at an address.
    Handshakes(usize),
    /// A channel's feedback to its publisher.
    Channel(usize),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Timer)>>);

impl Timers {
    /// Sets a timer, unless its owner's timer expires as early already.
    pub(super) fn arm(&mut self, timer: Timer, at: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(at) = at.filter(|at| armed.is_none_or(|armed| *at < armed)) else {
            return;
        };
        *armed = Some(at);
        self.0.push(Reverse((at, timer)));
    }

    /// The earliest time that something may be due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the timers that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Instant, Timer)> {
        let mut due = Vec::new();
        while let Some(Reverse(entry)) = self.0.peek() {
            if entry.0 > now {
                break;
            }
            due.push(*entry);
            self.0.pop();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_owner_is_armed_again_only_for_an_earlier_time() {
        let t = Instant::now();
        let at = |ms| Some(t + Duration::from_millis(ms));
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.arm(Timer::Move(1), at(20), &mut armed);
        timers.arm(Timer::Move(1), at(30), &mut armed);
        timers.arm(Timer::Move(1), None, &mut armed);
        assert_eq!((timers.next(), armed), (at(20), at(20)));
        timers.arm(Timer::Move(1), at(10), &mut armed);
        assert_eq!((timers.next(), armed), (at(10), at(10)));
        assert_eq!(timers.due(at(25).unwrap()).len(), 2);
        assert_eq!(timers.next(), None);
    }
}
