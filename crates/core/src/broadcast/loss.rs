//! The packet loss that viewers report, as a histogram: one entry for each report block.

/// Upper bounds of the buckets, and the greatest fraction below each in 1/256, the unit of a report
/// block (RFC 3550 §6.4.1).
const BOUNDS: [(f64, u8); 7] = [
    (0.0, 0),
    (0.01, 2),
    (0.02, 5),
    (0.05, 12),
    (0.1, 25),
    (0.2, 51),
    (0.5, 128),
];

/// Reported fractions of lost packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many reports fell into each bucket and into none before it.
    buckets: [u64; BOUNDS.len()],
    /// All reports.
    pub count: u64,
    /// The sum of all fractions, in 1/256.
    pub sum: u64,
}

impl Loss {
    /// Adds a report of this fraction, in 1/256.
    pub(super) fn add(&mut self, fraction: u8) {
        if let Some(bucket) = BOUNDS.iter().position(|(_, most)| fraction <= *most) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += u64::from(fraction);
    }

    /// The sum of all fractions, as fractions of 1.
    pub fn ratios(&self) -> f64 {
        // Exact up to 2^53.
        self.sum as f64 / 256.0
    }

    /// For each bound, as a fraction of 1, how many reports were not greater.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.map(|(bound, _)| bound).into_iter().zip(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_greater_than_its_bound() {
        let mut loss = Loss::default();
        for (bound, most) in BOUNDS {
            let ratio = |fraction| f64::from(fraction) / 256.0;
            assert!(ratio(most) <= bound && ratio(most + 1) > bound, "{bound}");
        }
        for fraction in [0, 0, 1, 25, 26, 255] {
            loss.add(fraction);
        }
        let counts: Vec<u64> = loss.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 4, 5, 5]);
        assert_eq!((loss.count, loss.sum), (6, 307));
        let bounds: Vec<f64> = loss.cumulative().map(|(bound, _)| bound).collect();
        assert_eq!((bounds[0], bounds[6]), (0.0, 0.5));
    }
}
