//! The thread that reads records after a start, in the world's time.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rekindle::broadcast::ReadingOrder;
use rekindle::ids::Ufrag;

use super::Random;

/// How records are read after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All of them before the first datagram comes.
    AtOnce,
    /// Only those that a datagram demands, and there is no end of it.
    OnDemand,
    /// As the server's thread does it, and each takes so long.
    OneByOne(Duration),
    /// Each at a time of its own, within so long, whatever is demanded.
    AnyOrder(Duration),
}

/// What the thread has to say.
pub enum Read {
    /// It has looked at this record.
    Record(Ufrag),
    /// There are no more.
    All,
}

/// The thread.
pub struct Reader {
    reading: Reading,
    order: ReadingOrder,
    demanded: BTreeSet<Ufrag>,
    /// For [`Reading::AnyOrder`].
    times: VecDeque<(Instant, Ufrag)>,
    free_at: Instant,
    ended: bool,
}

impl Reader {
    pub fn new(reading: Reading, names: Vec<Ufrag>, random: &mut Random, now: Instant) -> Self {
        let mut times: Vec<(Instant, Ufrag)> = Vec::new();
        if let Reading::AnyOrder(within) = reading {
            let at = |random: &mut Random| now + within.mul_f64(random.below(1000) as f64 / 1000.0);
            times.extend(names.iter().map(|name| (at(random), name.clone())));
            times.sort();
        }
        Self {
            reading,
            order: ReadingOrder::new(names),
            demanded: BTreeSet::new(),
            times: times.into(),
            free_at: match reading {
                Reading::OneByOne(each) => now + each,
                _ => now,
            },
            ended: false,
        }
    }

    /// A datagram names this peer.
    pub fn demand(&mut self, ufrag: Ufrag) {
        self.demanded.insert(ufrag.clone());
        self.order.demand(ufrag);
    }

    /// When it has something to say next.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.reading {
            _ if self.ended => None,
            Reading::OnDemand => (!self.demanded.is_empty()).then_some(self.free_at),
            Reading::AtOnce | Reading::OneByOne(_) => Some(self.free_at),
            Reading::AnyOrder(_) => Some(self.times.front().map_or(self.free_at, |(at, _)| *at)),
        }
    }

    /// Whether it has read all.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What it has to say now.
    pub fn poll(&mut self, now: Instant) -> Option<Read> {
        if self.next_timeout().is_none_or(|at| at > now) {
            return None;
        }
        let next = match self.reading {
            Reading::OnDemand => return self.demanded.pop_first().map(Read::Record),
            Reading::AtOnce => self.order.next(),
            Reading::OneByOne(each) => {
                self.free_at = now + each;
                self.order.next()
            }
            Reading::AnyOrder(_) => self.times.pop_front().map(|(_, name)| name),
        };
        self.ended = next.is_none();
        Some(next.map_or(Read::All, Read::Record))
    }
}
