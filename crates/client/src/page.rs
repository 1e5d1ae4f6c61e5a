//! The page of a client: what `rekindle.js` does when its event stream ends and comes back. It
//! decides when keys are renewed and when a new session is made; timers are only deadlines.

use std::time::{Duration, Instant};

pub use crate::outage::{Hello, Link};
use crate::outage::{Outage, Present};

/// A client without an event stream that makes new sessions gives up the old one after this time
/// without a packet.
const SILENCE: Duration = Duration::from_secs(1);

/// How a page reacts to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Renews the keys of its connection.
    Renew,
    /// Waits: the server kept the keys.
    Wait,
    /// Makes a new session.
    Rejoin,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Apply the edited SDP.
    Renew,
    /// Leave, and join again.
    Rejoin,
}

/// See the module.
#[derive(Debug)]
pub struct Page {
    way: Way,
    stream_open: bool,
    has_stream: bool,
    refused: bool,
    server_has_keys: bool,
    process: Option<String>,
    outage: Option<Outage>,
    /// Whether a new session is being made.
    leaving: bool,
}

impl Page {
    /// A page in a new session. `has_stream`: the server announced an event stream.
    pub fn new(way: Way, has_stream: bool) -> Self {
        Self {
            way,
            stream_open: false,
            has_stream,
            refused: false,
            server_has_keys: false,
            process: None,
            outage: None,
            leaving: false,
        }
    }

    /// The event stream has ended, or its first retry failed.
    pub fn lost(&mut self, now: Instant, link: Link) {
        self.stream_open = false;
        self.begin(now, link);
    }

    /// An attempt to open the event stream failed; `refused`: at once.
    pub fn unreachable(&mut self, refused: bool) {
        self.refused = refused;
    }

    /// The first event of a stream.
    pub fn hello(&mut self, now: Instant, link: Link, greeting: Hello) {
        self.stream_open = true;
        self.server_has_keys = greeting.connected;
        let another = self
            .process
            .as_ref()
            .is_some_and(|known| *known != greeting.process);
        self.process = Some(greeting.process.clone());
        if another && self.outage.is_none() {
            self.begin(now, link);
        }
        // A false alarm: only the stream was lost.
        if !another && self.outage.as_ref().is_some_and(Outage::is_untouched) {
            self.outage = None;
        }
        if let Some(outage) = &mut self.outage {
            outage.greeted(now, &greeting);
        }
    }

    /// The server reports that a handshake has begun.
    pub fn seen(&mut self, now: Instant) {
        if let Some(outage) = &mut self.outage {
            outage.saw(now);
        }
    }

    /// The server reports that it has keys.
    pub fn keyed(&mut self) {
        self.server_has_keys = true;
    }

    /// The server does not know the session any more.
    pub fn gone(&mut self, now: Instant, link: Link) {
        self.way = Way::Rejoin;
        self.begin(now, link);
    }

    fn begin(&mut self, now: Instant, link: Link) {
        self.server_has_keys = false;
        self.outage = Some(Outage::new(now, link, self.outage.as_ref()));
    }

    /// Whether nothing is left to be done about a restart.
    pub fn is_at_rest(&self) -> bool {
        self.outage.is_none() && !self.leaving
    }

    fn present(&self, at: Instant) -> Present {
        Present {
            at,
            keeps: self.way == Way::Wait,
            stream_open: self.stream_open,
            refused: self.refused,
            server_has_keys: self.server_has_keys,
        }
    }

    /// Evaluates everything that is known, and returns what to do.
    pub fn assess(&mut self, now: Instant, link: Link) -> Option<Act> {
        if self.leaving {
            return None;
        }
        if self.silence_ends(link).is_some_and(|at| at <= now) {
            self.way = Way::Rejoin;
            self.begin(now, link);
        }
        let present = self.present(now);
        let outage = self.outage.as_mut()?;
        if self.way == Way::Rejoin {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        if outage.has_keys(link, present) && (!self.stream_open || self.server_has_keys) {
            if self.stream_open {
                self.outage = None;
            }
            return None;
        }
        if outage.is_hopeless(present) {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        if outage
            .renewal_at(link, present)
            .is_some_and(|due| due <= now)
        {
            outage.renews(now, link);
            return Some(Act::Renew);
        }
        None
    }

    /// When [`Page::assess`] is to be called next, apart from news. It has been called at `now`.
    pub fn next(&self, now: Instant, link: Link) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        let present = self.present(now);
        let outage = self.outage.as_ref();
        // Once there are keys, only the server's report that it has them ends it.
        let renewal = outage
            .and_then(|outage| outage.renewal_at(link, present))
            .filter(|due| *due > now);
        let look = outage
            .and_then(|outage| outage.look_again_at(present))
            .filter(|at| *at > now);
        [self.silence_ends(link), renewal, look]
            .into_iter()
            .flatten()
            .min()
    }

    fn silence_ends(&self, link: Link) -> Option<Instant> {
        let watches = self.way == Way::Rejoin && !self.has_stream && self.outage.is_none();
        link.heard.filter(|_| watches).map(|at| at + SILENCE)
    }
}

#[cfg(test)]
mod tests;
