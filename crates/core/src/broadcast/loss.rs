//! What viewers report of lost packets, as a histogram: one entry for each report block.

/// Upper bounds of the buckets, in 1/256, which is what a report counts in (RFC 3550 §6.4.1): 0, 1,
/// 2, 5, 10, 20 and 50 percent.
const BOUNDS: [u8; 7] = [0, 3, 5, 13, 26, 51, 128];

/// Fractions of packets that did not come, as reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many fell into each bucket and into none before it.
    buckets: [u64; BOUNDS.len()],
    /// All reports.
    pub count: u64,
    /// The sum of all fractions, in 1/256.
    pub sum: u64,
}

impl Loss {
    /// A report of this fraction, in 1/256.
    pub(super) fn add(&mut self, fraction: u8) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| fraction <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += u64::from(fraction);
    }

    /// For each bound, as a fraction of 1, how many were not greater.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.map(|bound| f64::from(bound) / 256.0);
        let sums = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.into_iter().zip(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_greater_than_its_bound() {
        let mut loss = Loss::default();
        for fraction in [0, 0, 1, 26, 27, 255] {
            loss.add(fraction);
        }
        let counts: Vec<u64> = loss.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 4, 5, 5]);
        assert_eq!((loss.count, loss.sum), (6, 309));
        let bounds: Vec<f64> = loss.cumulative().map(|(bound, _)| bound).collect();
        assert_eq!((bounds[0], bounds[6]), (0.0, 0.5));
    }
}
