//! Which down times are tried, and in which order.

use std::str::FromStr;

use serde::Serialize;

use rekindle_client::random::Random;

/// Longest down time, in milliseconds: beyond it browsers give up on ICE.
const MOST_MS: u64 = 15_000;
/// Most down times of a run.
const MOST: u64 = 2000;

/// Down times from one to another in steps, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Grid {
    /// The shortest.
    #[serde(rename = "from_ms")]
    pub from: u64,
    /// The longest, where the steps reach it.
    #[serde(rename = "to_ms")]
    pub to: u64,
    /// Between two of them.
    #[serde(rename = "step_ms")]
    pub step: u64,
}

impl Grid {
    /// For native clients: 0 to 1,500 ms in steps of 25.
    pub(crate) const NATIVE: Self = Self {
        from: 0,
        to: 1500,
        step: 25,
    };
    /// For real browsers: the same in steps of 250.
    pub(crate) const BROWSERS: Self = Self {
        from: 0,
        to: 1500,
        step: 250,
    };

    /// All down times, the shortest first, in milliseconds.
    pub(crate) fn downs(&self) -> Vec<u64> {
        (self.from..=self.to)
            .step_by(usize::try_from(self.step).unwrap_or(usize::MAX))
            .collect()
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}:{}", self.from, self.to, self.step)
    }
}

impl FromStr for Grid {
    type Err = String;

    /// `FROM..TO:STEP`.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (range, step) = text.split_once(':')?;
            let (from, to) = range.split_once("..")?;
            let number = |text: &str| text.trim().parse::<u64>().ok();
            Some((number(from)?, number(to)?, number(step)?))
        };
        let (from, to, step) =
            read().ok_or("give FROM..TO:STEP in milliseconds, such as 0..1500:25")?;
        if step == 0 {
            return Err("the step must be at least 1 ms".to_owned());
        }
        if from > to {
            return Err(format!(
                "{from} is more than {to}; give the shorter down time first"
            ));
        }
        if to > MOST_MS {
            return Err(format!(
                "the longest down time that can be swept is {MOST_MS} ms"
            ));
        }
        if (to - from) / step >= MOST {
            return Err(format!("more than {MOST} down times; give a longer step"));
        }
        Ok(Self { from, to, step })
    }
}

/// Puts them in an order that the seed decides (Fisher and Yates).
pub(super) fn shuffle<T>(random: &mut Random, all: &mut [T]) {
    for last in (1..all.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        all.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_read_as_it_is_written() {
        let grid: Grid = "0..1500:25".parse().expect("a grid");
        assert_eq!(grid, Grid::NATIVE);
        assert_eq!(grid.to_string(), "0..1500:25");
        let downs = grid.downs();
        assert_eq!(
            (downs.len(), downs[0], downs[1], downs[60]),
            (61, 0, 25, 1500)
        );
        assert_eq!(
            "100..350:100".parse::<Grid>().map(|g| g.downs()),
            Ok(vec![100, 200, 300])
        );
        assert_eq!("7..7:1".parse::<Grid>().map(|g| g.downs()), Ok(vec![7]));
    }

    #[test]
    fn what_is_no_grid_is_refused_with_the_remedy() {
        let said = |text: &str| text.parse::<Grid>().expect_err("refused");
        for text in [
            "",
            "0-1500:25",
            "0..1500",
            "..1500:25",
            "0..x:25",
            "0..1500:-5",
        ] {
            assert!(said(text).contains("0..1500:25"), "{text}");
        }
        assert!(said("0..10:0").contains("step"));
        assert!(said("10..0:5").contains("first"));
        assert!(said("0..60000:100").contains("15000"));
        assert!(said("0..15000:1").contains("longer step"));
    }

    #[test]
    fn the_seed_decides_the_order() {
        let order = |seed| {
            let mut downs = Grid::NATIVE.downs();
            shuffle(&mut Random::new(seed), &mut downs);
            downs
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        assert_ne!(sorted, Grid::NATIVE.downs());
        sorted.sort_unstable();
        assert_eq!(sorted, Grid::NATIVE.downs());
    }
}
