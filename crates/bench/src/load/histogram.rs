//! Many durations in little memory: counts in classes whose width is at most 1/32 of their value.

use std::time::Duration;

/// Classes in each power of two.
const CLASSES: u64 = 32;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    max: Duration,
}

/// The class of a number of nanoseconds. Those below [`CLASSES`] have one each.
fn class(value: u64) -> usize {
    let shift = value.max(1).ilog2().saturating_sub(CLASSES.ilog2());
    (u64::from(shift) * CLASSES + (value >> shift)) as usize
}

/// The highest number in a class.
fn highest(class: usize) -> u64 {
    let class = class as u64;
    let shift = (class / CLASSES).saturating_sub(1);
    let lowest = (class - shift * CLASSES) << shift;
    lowest + ((1 << shift) - 1)
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let class = class(nanoseconds);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.max = self.max.max(time);
    }

    /// Adds all counts of the other one.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.max = self.max.max(other.max);
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// A percentile by nearest rank, at most 1/32 too high.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let all: u64 = self.counts.iter().sum();
        let rank = ((percent / 100.0 * all as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (class, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_nanos(highest(class)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_a_class_that_is_hardly_higher() {
        for value in (0..5000).chain([1 << 20, (1 << 20) + 12345, 1 << 40, (1 << 40) - 1]) {
            let top = highest(class(value));
            assert!(top >= value && top <= value + value / 32, "{value}: {top}");
        }
    }

    #[test]
    fn percentiles_are_by_rank_and_the_longest_is_exact() {
        let mut histogram = Histogram::default();
        let mut other = Histogram::default();
        for us in 1..=99 {
            histogram.add(Duration::from_micros(us));
        }
        other.add(Duration::from_micros(12_345));
        histogram.merge(&other);
        let median = histogram.percentile(50.0);
        assert!(median >= Duration::from_micros(50) && median < Duration::from_micros(52));
        assert!(histogram.percentile(99.0) < Duration::from_micros(103));
        assert_eq!(histogram.percentile(100.0), Duration::from_micros(12_345));
        assert_eq!(histogram.max(), Duration::from_micros(12_345));
        assert_eq!(Histogram::default().percentile(50.0), Duration::ZERO);
    }
}
