//! When a client begins a new handshake: the other node was restarted, or is another one.

use std::time::{Duration, Instant};

/// After this silence the other node may have lost the keys. Sound arrives every 20 ms; where
/// packets are fewer, a multiple of the usual interval counts.
const SILENCE: Duration = Duration::from_millis(300);
const UNUSUAL: u32 = 4;
/// If nothing arrives after that either, its publisher is silent: then the interval is this.
const AGAIN: Duration = Duration::from_secs(5);
/// An address where no check is answered for this time is not the right one, if there are others.
const ADDRESS: Duration = Duration::from_millis(250);
/// A handshake takes less than this, even at a node to which a crowd returns.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// After this time without keys, it is reported.
const STUCK: Duration = Duration::from_secs(8);

/// The state of a client's connection to the other node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// Whether it has keys.
    pub connected: bool,
    /// Whether checks have been answered since it began.
    pub answered: bool,
    /// Whether its handshake has failed.
    pub failed: bool,
    /// Whether the other node does not know it.
    pub refused: bool,
    /// How many addresses that node has.
    pub addresses: usize,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Begin again with a check and a handshake, at the same address.
    Anew,
    /// The same at the next address.
    Next,
    /// Report that no connection is possible.
    Stuck,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// When the last packet arrived, or otherwise when the keys did.
    heard: Instant,
    /// The longest recent interval between two packets, halved every second.
    usual: Duration,
    /// When it began anew last.
    began: Instant,
    /// Whether a silence has lasted through a new beginning.
    silent: bool,
    /// Since when there are no keys, or when that was last reported.
    keyless: Instant,
}

impl Upkeep {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            usual: Duration::ZERO,
            began: now,
            silent: false,
            keyless: now,
        }
    }

    /// An authentic packet has come.
    pub(super) fn heard(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.heard);
        let left = self.usual.mul_f64(0.5_f64.powf(gap.as_secs_f64()));
        self.usual = left.max(gap);
        self.heard = now;
        self.silent = false;
    }

    /// There are keys.
    pub(super) fn connected(&mut self, now: Instant) {
        self.heard = now;
    }

    /// It begins anew.
    pub(super) fn begins(&mut self, now: Instant, was_connected: bool) {
        self.began = now;
        if was_connected {
            self.silent = true;
            self.keyless = now;
        }
    }

    /// When [`Upkeep::act`] has something to do, as things are now, and what.
    fn next(&self, way: Way) -> (Instant, Act) {
        if way.connected {
            let patience = match self.silent {
                true => AGAIN,
                false => (UNUSUAL * self.usual).clamp(SILENCE, AGAIN),
            };
            return (self.heard + patience, Act::Anew);
        }
        let stuck = match way.refused {
            true => self.began + ADDRESS,
            false => self.keyless + STUCK,
        };
        let next = match (way.answered, way.failed) {
            (false, _) if way.addresses > 1 => (self.began + ADDRESS, Act::Next),
            (_, true) => (self.began + ADDRESS, Act::Anew),
            (true, _) => (self.began + HANDSHAKE, Act::Anew),
            // Checks go on.
            (false, _) => return (stuck, Act::Stuck),
        };
        if stuck < next.0 {
            (stuck, Act::Stuck)
        } else {
            next
        }
    }

    /// When [`Upkeep::act`] wants to be called.
    pub(super) fn due(&self, way: Way) -> Instant {
        self.next(way).0
    }

    /// What is to be done now.
    pub(super) fn act(&mut self, now: Instant, way: Way) -> Option<Act> {
        let (at, act) = self.next(way);
        if at > now {
            return None;
        }
        if act == Act::Stuck {
            (self.keyless, self.began) = (now, now);
        }
        Some(act)
    }
}

#[cfg(test)]
mod tests;
