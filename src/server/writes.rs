//! How long writes to the vault take, and how often they fail: for `/metrics`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::times::Times;

/// From a file on a fast disk to a disk that hangs.
const BOUNDS: [Duration; 10] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// See the module.
pub(super) struct Writes(Mutex<WriteCounts>);

/// Records that were written or removed, with the time until this was durable.
#[derive(Clone)]
pub(super) struct WriteCounts {
    pub times: Times,
    /// How many of these failed.
    pub failures: u64,
}

impl Default for Writes {
    fn default() -> Self {
        Self(Mutex::new(WriteCounts {
            times: Times::new(&BOUNDS),
            failures: 0,
        }))
    }
}

impl Writes {
    /// Does one write and counts it.
    pub(super) fn count<T, E>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let result = write();
        self.add(&result, start);
        result
    }

    /// Does several writes at once and counts each.
    pub(super) fn count_each<T, E>(
        &self,
        write: impl FnOnce() -> Vec<Result<T, E>>,
    ) -> Vec<Result<T, E>> {
        let start = Instant::now();
        let results = write();
        for result in &results {
            self.add(result, start);
        }
        results
    }

    fn add<T, E>(&self, result: &Result<T, E>, start: Instant) {
        let took = start.elapsed();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.times.add(took);
        counts.failures += u64::from(result.is_err());
    }

    pub(super) fn counts(&self) -> WriteCounts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_go_wrong_are_counted_twice() {
        let writes = Writes::default();
        assert_eq!(writes.count(|| Ok::<_, ()>(1)), Ok(1));
        assert_eq!(writes.count(|| Err::<(), _>(2)), Err(2));
        assert_eq!(writes.count_each(|| vec![Ok(3), Err(())]).len(), 2);
        let counts = writes.counts();
        assert_eq!((counts.times.count, counts.failures), (4, 2));
    }
}
