//! A network in memory: what a path does to datagrams is decided by a seed; the caller supplies the
//! time.

use std::time::{Duration, Instant};

use crate::random::Random;
use crate::schedule::Schedule;

/// What a path through the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Delay from one end to the other.
    pub delay: Duration,
    /// Additional delay up to this, drawn for each datagram: it reorders them.
    pub jitter: Duration,
    /// Probability of loss.
    pub loss: f64,
    /// Probability of duplication.
    pub duplicate: f64,
    /// Probability of a second copy, and how much later it arrives at most.
    pub late_copy: (f64, Duration),
}

impl Conditions {
    /// Nothing is lost or reordered.
    pub fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            late_copy: (0.0, Duration::ZERO),
        }
    }
}

/// A short path.
impl Default for Conditions {
    fn default() -> Self {
        Self::delayed(Duration::from_millis(5))
    }
}

/// Datagrams on their way.
#[derive(Debug)]
pub struct Network<T> {
    random: Random,
    under_way: Schedule<T>,
    /// Datagrams that were lost.
    pub lost: u64,
    /// Copies that were made.
    pub duplicated: u64,
}

impl<T: Clone> Network<T> {
    /// A network without datagrams in it.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            under_way: Schedule::default(),
            lost: 0,
            duplicated: 0,
        }
    }

    /// Takes a datagram at one end of a path.
    pub fn send(&mut self, now: Instant, way: &Conditions, datagram: T) {
        if self.random.chance(way.loss) {
            self.lost += 1;
            return;
        }
        if self.random.chance(way.duplicate) {
            self.duplicated += 1;
            let at = now + way.delay + self.up_to(way.jitter);
            self.under_way.put(at, datagram.clone());
        }
        let (probability, up_to) = way.late_copy;
        if self.random.chance(probability) {
            self.duplicated += 1;
            let at = now + way.delay + self.up_to(up_to);
            self.under_way.put(at, datagram.clone());
        }
        let at = now + way.delay + self.up_to(way.jitter);
        self.under_way.put(at, datagram);
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.below(1000) as f64 / 1000.0)
    }

    /// When the next datagram arrives.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.next()
    }

    /// The next datagram that arrives by `now`.
    pub fn arrive(&mut self, now: Instant) -> Option<T> {
        self.under_way.take(now)
    }
}

#[cfg(test)]
mod tests;
