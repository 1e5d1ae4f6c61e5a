//! How the peers of the last boot came back: how many, and how long after the start of the process.

/// Most points of [`Comeback::curve`].
const POINTS: usize = 100;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Comeback {
    /// When each came back, in ms since the start of the process, in ascending order.
    times: Vec<u32>,
    /// Peers that did not come back.
    pub lost: u64,
}

impl Comeback {
    pub(super) fn new(mut times: Vec<u32>, lost: u64) -> Self {
        times.sort_unstable();
        Self { times, lost }
    }

    /// How many came back.
    pub(in crate::server) fn back(&self) -> u64 {
        self.times.len() as u64
    }

    /// The time in ms after which this percentage of those who came back was back (the nearest
    /// rank). `None` while nobody is.
    pub(in crate::server) fn percentile(&self, percent: usize) -> Option<u32> {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied()
    }

    /// Times in ms, and how many were back by then: all of them where there are few, and else every
    /// hundredth part of them.
    pub(in crate::server) fn curve(&self) -> Vec<(u32, usize)> {
        let count = self.times.len();
        let points = count.min(POINTS);
        let ranks = (1..=points).map(|point| (count * point).div_ceil(points));
        ranks.map(|rank| (self.times[rank - 1], rank)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let all = Comeback::new((1..=10).rev().map(|n| n * 10).collect(), 0);
        assert_eq!(
            [50, 90, 100].map(|percent| all.percentile(percent)),
            [Some(50), Some(90), Some(100)]
        );
        let one = Comeback::new(vec![7], 2);
        assert_eq!(
            [0, 50, 100].map(|percent| one.percentile(percent)),
            [Some(7); 3]
        );
        assert_eq!(Comeback::new(Vec::new(), 3).percentile(50), None);
    }

    #[test]
    fn the_curve_ends_with_all_of_them_however_many_they_are() {
        for count in [0, 1, 99, 100, 101, 12_345_u32] {
            let curve = Comeback::new((0..count).collect(), 0).curve();
            assert_eq!(curve.len(), POINTS.min(count as usize));
            assert_eq!(curve.last().map_or(0, |(_, back)| *back), count as usize);
            assert!(
                curve
                    .windows(2)
                    .all(|two| two[0].1 < two[1].1 && two[0].0 < two[1].0)
            );
        }
    }
}
