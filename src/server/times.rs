//! A histogram of durations.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    /// Upper bounds of the buckets.
    bounds: &'static [Duration],
    /// How many fell into each bucket and into none before it.
    buckets: Vec<u64>,
    /// The number of all, including those beyond the last bound.
    pub count: u64,
    pub sum: Duration,
    /// The latest one.
    pub last: Duration,
}

impl Times {
    /// An empty histogram with these upper bounds, in ascending order.
    pub(super) fn new(bounds: &'static [Duration]) -> Self {
        Self {
            bounds,
            buckets: vec![0; bounds.len()],
            count: 0,
            sum: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, time: Duration) {
        if let Some(bucket) = self.bounds.iter().position(|bound| time <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += time;
        self.last = time;
    }

    /// For each bound, how many were not longer.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let sums = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_longer_than_its_bound() {
        const BOUNDS: [Duration; 3] = [
            Duration::from_millis(50),
            Duration::from_millis(2500),
            Duration::from_secs(60),
        ];
        let mut times = Times::new(&BOUNDS);
        for ms in [0, 50, 51, 2400, 200_000] {
            times.add(Duration::from_millis(ms));
        }
        let counts: Vec<u64> = times.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 4, 4]);
        assert_eq!((times.count, times.last), (5, Duration::from_secs(200)));
        assert_eq!(times.sum, Duration::from_millis(202_501));
    }
}
