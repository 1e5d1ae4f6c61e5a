//! When what waits for viewers is sent. Where sending it takes long, waiting a little makes it
//! cheaper: what one viewer gets meanwhile goes out in one system call. Where it takes next to
//! nothing, it is sent at once. And where a frame is complete it is sent at once
//! ([`Forwarder::has_whole_frames`]): waiting longer would put nothing more together.
//!
//! [`Forwarder::has_whole_frames`]: crate::broadcast::Forwarder::has_whole_frames

use std::time::{Duration, Instant};

/// Nothing waits longer than that, however much there is to do.
const LONGEST: Duration = Duration::from_millis(4);
/// Sending that takes no longer than that is worth no waiting.
const LITTLE: Duration = Duration::from_micros(100);
/// So many times as long as sending takes is waited for. What waits meanwhile costs little more to
/// send than one packet would.
const TIMES: u32 = 4;

/// Told the times.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What sending has taken lately.
    cost: Duration,
}

impl Gather {
    /// When what waits since this time is to be sent.
    pub(super) fn due(&self, since: Instant) -> Instant {
        since + self.wait()
    }

    fn wait(&self) -> Duration {
        if self.cost <= LITTLE {
            return Duration::ZERO;
        }
        (self.cost * TIMES).min(LONGEST)
    }

    /// All was sent, from then until then.
    pub(super) fn sent(&mut self, from: Instant, until: Instant) {
        let cost = until.saturating_duration_since(from);
        // One that took long by chance is forgotten after a few.
        self.cost = (self.cost * 3 + cost) / 4;
    }
}

#[cfg(test)]
mod tests;
