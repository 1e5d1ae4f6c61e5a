//! The core's side of forwarding: which forwarder has a viewer, and the orders to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Forwarder, Order, Orders};
use crate::broadcast::key_derivation::KeyDerivation;
use crate::peer::Transmit;

/// Counters of one forwarder. Only the forwarder writes them; others may read.
#[derive(Debug, Default)]
pub(super) struct SentCounts {
    sent: AtomicU64,
    bytes: AtomicU64,
    resent: AtomicU64,
    unmapped: AtomicU64,
    overrun: AtomicU64,
}

impl SentCounts {
    /// Counts a sent packet of this size.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many packets and bytes it has sent so far.
    pub(super) fn so_far(&self) -> Media {
        Media {
            packets: self.sent.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Counts that the packet just sent had been requested.
    pub(super) fn resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts packets that were dropped for viewers, since sending fell behind.
    pub(super) fn overrun(&self, packets: u64) {
        self.overrun.fetch_add(packets, Ordering::Relaxed);
    }

    /// Counts a packet that a viewer could not be sent.
    pub(super) fn unmapped(&self) {
        self.unmapped.fetch_add(1, Ordering::Relaxed);
    }
}

/// RTP packets, and their bytes: header and payload, without SRTP's additions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Media {
    /// How many.
    pub packets: u64,
    /// Of how many bytes.
    pub bytes: u64,
}

/// What all viewers of a channel were sent. Each forwarder adds what it has sent at a time, not each
/// packet: the counters are those of all of them.
#[derive(Debug, Default)]
pub(in crate::broadcast) struct ChannelSent {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl ChannelSent {
    /// Adds what a forwarder has sent since then.
    pub(super) fn add(&self, counts: &SentCounts, since: Media) {
        let now = counts.so_far();
        let (packets, bytes) = (now.packets - since.packets, now.bytes - since.bytes);
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::broadcast) fn get(&self) -> Media {
        Media {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The counters of all forwarders together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::broadcast) struct Totals {
    pub sent: u64,
    pub bytes: u64,
    pub resent: u64,
    pub unmapped: u64,
    pub overrun: u64,
}

/// See the module.
pub(in crate::broadcast) struct Forwarding {
    queues: Vec<Queue>,
    /// The only forwarder, until forwarders are given out.
    own: Option<Box<Forwarder>>,
    derivation: Arc<KeyDerivation>,
}

struct Queue {
    orders: Orders,
    /// How many viewers this forwarder has.
    viewers: usize,
    counts: Arc<SentCounts>,
}

impl Queue {
    fn new() -> Self {
        Self {
            orders: Orders::default(),
            viewers: 0,
            counts: Arc::default(),
        }
    }
}

impl Forwarding {
    /// Starts with one forwarder, which [`Forwarding::run`] drives.
    pub(in crate::broadcast) fn new(derivation: Arc<KeyDerivation>) -> Self {
        let queue = Queue::new();
        let own = Forwarder::new(derivation.clone(), queue.counts.clone());
        Self {
            queues: vec![queue],
            own: Some(Box::new(own)),
            derivation,
        }
    }

    /// Gives forwarders out: from now on their owners drive them.
    pub(in crate::broadcast) fn give_out(&mut self, count: usize) -> Vec<Forwarder> {
        assert!(
            self.queues.iter().all(|queue| queue.viewers == 0),
            "forwarders are given out before anybody joins"
        );
        self.own = None;
        self.queues = (0..count.max(1)).map(|_| Queue::new()).collect();
        let counts = self.queues.iter().map(|queue| queue.counts.clone());
        counts
            .map(|counts| Forwarder::new(self.derivation.clone(), counts))
            .collect()
    }

    /// Takes the orders for a forwarder; `orders` is the emptied list of the last ones, for reuse.
    pub(in crate::broadcast) fn poll(&mut self, forwarder: usize, orders: &mut Orders) {
        if let Some(queue) = self.queues.get_mut(forwarder) {
            std::mem::swap(&mut queue.orders, orders);
        }
    }

    /// Carries out waiting orders, where the forwarder was not given out.
    pub(in crate::broadcast) fn run(&mut self, out: &mut Vec<Transmit>) {
        if let Some(own) = &mut self.own {
            own.follow(&mut self.queues[0].orders, out);
            own.flush(out);
        }
    }

    /// Chooses the forwarder for one more viewer: the one with the fewest.
    pub(in crate::broadcast) fn assign(&mut self) -> usize {
        let fewest = (0..self.queues.len()).min_by_key(|at| self.queues[*at].viewers);
        let forwarder = fewest.unwrap_or(0);
        self.queues[forwarder].viewers += 1;
        forwarder
    }

    /// A viewer has left its forwarder.
    pub(in crate::broadcast) fn release(&mut self, forwarder: usize, viewer: usize) {
        self.queues[forwarder].viewers -= 1;
        self.order(forwarder, Order::Leave { viewer });
    }

    /// Appends an order for a forwarder.
    pub(in crate::broadcast) fn order(&mut self, forwarder: usize, order: Order) {
        self.queues[forwarder].orders.0.push(order);
    }

    pub(in crate::broadcast) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for queue in &self.queues {
            totals.sent += queue.counts.sent.load(Ordering::Relaxed);
            totals.bytes += queue.counts.bytes.load(Ordering::Relaxed);
            totals.resent += queue.counts.resent.load(Ordering::Relaxed);
            totals.unmapped += queue.counts.unmapped.load(Ordering::Relaxed);
            totals.overrun += queue.counts.overrun.load(Ordering::Relaxed);
        }
        totals
    }
}
