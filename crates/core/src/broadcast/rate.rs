//! The rate of incoming media.

use std::time::Instant;

/// Media bytes a second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: Option<Instant>,
    bytes: u64,
    /// The rate in the last full second.
    rate: u64,
}

impl Rate {
    /// The rate in the last full second.
    pub(super) fn get(&self) -> u64 {
        self.rate
    }

    pub(super) fn add(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes as u64;
        let elapsed = now.saturating_duration_since(since).as_millis() as u64;
        if elapsed >= 1000 {
            self.rate = self.bytes * 1000 / elapsed;
            (self.bytes, self.since) = (0, Some(now));
        }
    }
}
