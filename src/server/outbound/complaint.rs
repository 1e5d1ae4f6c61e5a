//! A log line for what may fail a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two lines about the same thing.
const PAUSE: Duration = Duration::from_secs(10);

/// Says when something may be said again.
#[derive(Debug, Default)]
pub(in crate::server) struct Complaint(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    failing: bool,
    unsaid: u64,
}

impl Complaint {
    /// It has failed. `Some` where it is to be said, with how often it has failed since the last
    /// line, unsaid.
    pub(in crate::server) fn failed(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failing = true;
        if state.last.is_some_and(|last| now < last + PAUSE) {
            state.unsaid += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }

    /// It works. Whether it did not before.
    pub(in crate::server) fn works(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_failures_are_a_line_every_ten_seconds() {
        let (complaint, start) = (Complaint::default(), Instant::now());
        assert!(!complaint.works());
        assert_eq!(complaint.failed(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(complaint.failed(start), None);
        }
        assert!(complaint.works());
        assert!(!complaint.works());
        assert_eq!(complaint.failed(start + PAUSE), Some(1000));
    }
}
