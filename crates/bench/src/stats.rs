//! Samples and their summaries.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A duration as milliseconds with microseconds behind the point.
pub(crate) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// For `serde(serialize_with)`.
pub(crate) fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(ms(*time))
}

/// A summary of samples, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub n: usize,
    pub min: f64,
    pub median: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Summary {
    /// `None` without samples.
    pub(super) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            n: sorted.len(),
            min: *sorted.first()?,
            median: percentile(&sorted, 50.0)?,
            p90: percentile(&sorted, 90.0)?,
            p99: percentile(&sorted, 99.0)?,
            max: *sorted.last()?,
        })
    }
}

/// A percentile of sorted samples, by nearest rank: always one that was measured. The median of an
/// even number is the mean of the two in the middle.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let n = sorted.len();
    if percent == 50.0 && n > 0 && n.is_multiple_of(2) {
        return Some(f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]));
    }
    let rank = (percent / 100.0 * n as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_the_median_of_two_is_their_mean() {
        let all = Summary::of((1..=100).rev().map(f64::from)).expect("samples");
        assert_eq!((all.n, all.min, all.max), (100, 1.0, 100.0));
        assert_eq!((all.median, all.p90, all.p99), (50.5, 90.0, 99.0));
        let one = Summary::of([7.0]).expect("a sample");
        assert_eq!(
            (one.median, one.p90, one.p99, one.max),
            (7.0, 7.0, 7.0, 7.0)
        );
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([1.0, 4.0]).expect("samples").median, 2.5);
    }

    #[test]
    fn times_are_told_to_the_microsecond() {
        assert_eq!(ms(Duration::from_nanos(1_234_567)), 1.235);
    }
}
