//! Which packets of one kind came, by the number that the camera gave them.

use std::collections::BTreeSet;
use std::ops::Range;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    next: Option<u64>,
    absent: BTreeSet<u64>,
    /// Packets that came twice.
    pub repeated: u64,
}

impl Tally {
    /// A packet has come; whether it is new.
    pub(crate) fn take(&mut self, index: u64) -> bool {
        let next = *self.next.get_or_insert(index);
        if index >= next {
            self.absent.extend(next..index);
            self.next = Some(index + 1);
            return true;
        }
        let new = self.absent.remove(&index);
        self.repeated += u64::from(!new);
        new
    }

    /// How many packets of these numbers have not come.
    pub(crate) fn missing(&self, range: Range<u64>) -> u64 {
        let Some(next) = self.next else {
            return range.end.saturating_sub(range.start);
        };
        let never = range.end.saturating_sub(next.max(range.start));
        never
            + self
                .absent
                .range(range.start..range.end.max(range.start))
                .count() as u64
    }
}

#[cfg(test)]
mod tests;
