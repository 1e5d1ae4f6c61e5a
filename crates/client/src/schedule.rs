//! Items with due times; items of the same time come in the order in which they were added.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Schedule<T> {
    queue: BinaryHeap<Reverse<Entry<T>>>,
    numbered: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    thing: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self {
            queue: BinaryHeap::new(),
            numbered: 0,
        }
    }
}

impl<T> Schedule<T> {
    /// Puts in a thing that is due at a time.
    pub fn put(&mut self, at: Instant, thing: T) {
        self.numbered += 1;
        let number = self.numbered;
        self.queue.push(Reverse(Entry { at, number, thing }));
    }

    /// When the next thing is due.
    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next thing that is due by `now`.
    pub fn take(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse(entry)| entry.thing)
    }
}
