//! The order in which the records of earlier boots are read.

use std::collections::{HashSet, VecDeque};

use rekindle_ids::Ufrag;

/// Records of peers that were heard or asked for come first, then publishers', then the others.
pub struct ReadingOrder {
    demanded: VecDeque<Ufrag>,
    names: std::vec::IntoIter<Ufrag>,
    left: HashSet<Ufrag>,
}

impl ReadingOrder {
    /// The order for the records with these names.
    pub fn new(names: impl IntoIterator<Item = Ufrag>) -> Self {
        let mut names: Vec<Ufrag> = names.into_iter().collect();
        // A publisher's user name fragment sorts before a viewer's: the server makes them so.
        names.sort_unstable();
        Self {
            demanded: VecDeque::new(),
            left: names.iter().cloned().collect(),
            names: names.into_iter(),
        }
    }

    /// Moves this record forward, if it has not been read yet.
    pub fn demand(&mut self, ufrag: Ufrag) {
        if self.left.contains(&ufrag) {
            self.demanded.push_back(ufrag);
        }
    }

    /// How many records have not been read yet.
    pub fn left(&self) -> usize {
        self.left.len()
    }
}

/// Yields each record once.
impl Iterator for ReadingOrder {
    type Item = Ufrag;

    fn next(&mut self) -> Option<Ufrag> {
        loop {
            let next = self.demanded.pop_front().or_else(|| self.names.next())?;
            if self.left.remove(&next) {
                return Some(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ufrag(name: &str) -> Ufrag {
        Ufrag::new(name).expect("a fragment")
    }

    #[test]
    fn what_is_demanded_is_read_next_then_publishers_then_the_rest_and_each_once() {
        let names = ["Vaaaaaaa", "Pbbbbbbb", "Vccccccc", "Pddddddd", "Veeeeeee"];
        let mut order = ReadingOrder::new(names.map(ufrag));
        assert_eq!(order.next(), Some(ufrag("Pbbbbbbb")));
        for demanded in ["Veeeeeee", "Pbbbbbbb", "Vunknown", "Vccccccc", "Veeeeeee"] {
            order.demand(ufrag(demanded));
        }
        assert_eq!(order.left(), 4);
        let rest: Vec<Ufrag> = order.by_ref().collect();
        assert_eq!(
            rest,
            ["Veeeeeee", "Vccccccc", "Pddddddd", "Vaaaaaaa"].map(ufrag)
        );
        assert_eq!(order.left(), 0);
    }
}
