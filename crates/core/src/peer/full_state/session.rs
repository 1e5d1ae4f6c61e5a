//! What a peer does in addition in full-state mode.

use std::net::{IpAddr, SocketAddr};
use std::sync::MutexGuard;
use std::time::Instant;

use rekindle_full_state::record::{Resumed, SessionCounters, SessionRecord};
use rekindle_ids::Ufrag;

use super::kept::{Kept, Unproven, Wanted};
use crate::peer::srtp::{Srtp, lock};
use crate::peer::{Peer, PeerEvent};

/// Keys of a handshake that has just completed, kept if sessions are to be kept.
pub(in super::super) fn kept(mut srtp: Srtp, wanted: Option<&Wanted>) -> Srtp {
    if let Some(wanted) = wanted {
        srtp.keep(wanted);
    }
    srtp
}

impl Peer {
    /// Keeps the keys of this peer's handshakes from now on; `wanted` is set when its counters
    /// should be written.
    pub(crate) fn keep_sessions(&mut self, wanted: Wanted) {
        self.keeps = Some(wanted);
    }

    /// Takes over the session of an earlier process. Returns whether keys and counters belonged
    /// together.
    pub(crate) fn resume(&mut self, now: Instant, resumed: &Resumed) -> bool {
        let Some(wanted) = &self.keeps else {
            return false;
        };
        if self.srtp.is_some() {
            // The browser was faster, and has run a handshake.
            return false;
        }
        self.srtp = Srtp::resumed(resumed, now, wanted);
        if self.srtp.is_some() {
            self.connected = Some(PeerEvent::Connected {
                renewed: false,
                took: std::time::Duration::ZERO,
                agreed: None,
            });
        }
        self.srtp.is_some()
    }

    /// Forgets the keys in use.
    pub(crate) fn forget_keys(&mut self) {
        self.srtp = None;
    }

    /// What is persisted of the keys in use, if they are kept.
    pub(crate) fn session(&self) -> Option<SessionRecord> {
        self.srtp.as_ref()?.session(&self.setup.ice.ufrag)
    }

    fn kept(&self) -> Option<MutexGuard<'_, Kept>> {
        Some(lock(self.srtp.as_ref()?.kept.as_ref()?))
    }

    /// See [`Kept::announce`].
    pub(crate) fn announce(&mut self, ssrc: u32, ahead: u16) {
        if let Some(mut kept) = self.kept() {
            kept.announce(ssrc, ahead);
        }
    }

    /// See [`Kept::reserve`].
    pub(crate) fn reserve(
        &mut self,
        now: Instant,
        local: impl Fn(SocketAddr) -> Option<IpAddr>,
    ) -> Option<SessionCounters> {
        let ufrag: Ufrag = self.setup.ice.ufrag.clone();
        let address = self.setup.address.and_then(|address| address.as_udp());
        let local = address.and_then(local);
        self.kept().map(|mut kept| kept.reserve(now, &ufrag, local))
    }

    /// See [`Kept::reserved`].
    pub(crate) fn reserved(&mut self, durable: bool) -> Vec<u32> {
        self.kept()
            .map_or_else(Vec::new, |mut kept| kept.reserved(durable))
    }

    /// See [`Kept::unproven`].
    pub(crate) fn unproven(&self) -> Option<Unproven> {
        self.kept()?.unproven()
    }

    /// See [`Kept::is_lost`].
    pub(crate) fn is_lost(&self) -> bool {
        self.kept().is_some_and(|kept| kept.is_lost())
    }

    /// See [`Kept::is_unreserved`].
    pub(crate) fn is_unreserved(&self) -> bool {
        self.kept().is_some_and(|kept| kept.is_unreserved())
    }
}
