//! The first STUN answer and the first media to each viewer, for the log (`rekindle::resume`): they
//! show when a process that was started again serves its browsers. Addresses are not logged.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rekindle_core::Protocol;

use crate::peer::Transmit;

/// First media is looked for until so long after the last handshake; the addresses are forgotten
/// then.
const LOOKED_FOR: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(super) struct FirstSends {
    has_answered: bool,
    /// Addresses that media has gone to.
    served: HashSet<SocketAddr>,
    looks_until: Option<Instant>,
}

impl FirstSends {
    /// A handshake was completed: media follows.
    pub(super) fn expect_media(&mut self, now: Instant) {
        if tracing::enabled!(target: "rekindle::resume", tracing::Level::TRACE) {
            self.looks_until = Some(now + LOOKED_FOR);
        }
    }

    /// These datagrams are sent now.
    pub(super) fn send(&mut self, now: Instant, out: &[Transmit]) {
        if !self.has_answered
            && out
                .iter()
                .any(|t| Protocol::of(&t.data) == Some(Protocol::Stun))
        {
            self.has_answered = true;
            tracing::debug!(target: "rekindle::resume", step = "stun", "a check is answered");
        }
        let Some(until) = self.looks_until else {
            return;
        };
        if now > until {
            self.looks_until = None;
            self.served.clear();
            return;
        }
        for _ in out
            .iter()
            .filter(|t| Protocol::of(&t.data) == Some(Protocol::Rtp) && self.served.insert(t.to))
        {
            tracing::trace!(target: "rekindle::resume", step = "media", "media goes out");
        }
    }
}
