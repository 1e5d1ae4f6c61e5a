//! A peer as the core keeps it.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use rekindle_ids::{Role, TransportAddress, Ufrag};
use slab::Slab;

use super::budget::Budget;
use super::ingress::Ingress;
use super::mapping::Mapping;
use super::resend::Resends;
use super::translation::{Shared, Translation};
use crate::peer::{Dtls, Peer};

/// After this time a plain client that was heard after a restart is removed: it does not know that
/// it should run DTLS again. A page has opened its event stream by then, or has begun.
pub(super) const PLAIN: Duration = Duration::from_millis(900);

/// All peers. A key is used again after its peer has left, so nothing may keep the key of a peer
/// that has left.
pub(super) type Members = Slab<Member>;

/// A peer and its place.
pub(super) struct Member {
    pub ufrag: Ufrag,
    pub peer: Peer,
    /// Key of its channel.
    pub channel: usize,
    pub resumed: bool,
    /// Whether it can renew its keys, as far as is known.
    pub renews: bool,
    pub joined: Instant,
    /// When it was first heard in this boot.
    pub heard: Option<Instant>,
    /// When the handshake began that its keys are from.
    pub keyed: Option<Instant>,
    /// Whether the layers above were told that no check of its arrived in time.
    pub unheard: bool,
    /// The server's certificate that it was told.
    pub dtls: Arc<Dtls>,
    /// The addresses that it owns or claims, the latest last.
    pub addresses: Vec<TransportAddress>,
    /// When more ClientHellos last came from one of its addresses than are answered without a
    /// cookie.
    pub pressed: Option<Instant>,
    /// Its new address, if the layers above do not know it yet, and when they were last told of a
    /// move.
    pub moved: Option<SocketAddr>,
    pub told: Option<Instant>,
    /// When its timer expires.
    pub armed: Option<Instant>,
    pub side: Side,
}

/// What a peer does.
pub(super) enum Side {
    Publisher(Box<Ingress>),
    Viewer(Box<Viewer>),
}

impl Member {
    /// Whether a peer from an earlier boot has turned out to be a plain client.
    pub(super) fn is_plain(&self, now: Instant) -> bool {
        self.is_awaited() && !self.renews && now.saturating_duration_since(self.joined) >= PLAIN
    }

    pub(super) fn role(&self) -> Role {
        match self.side {
            Side::Publisher(_) => Role::Publisher,
            Side::Viewer(_) => Role::Viewer,
        }
    }

    /// When its move may be reported.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.moved.and(self.told).map(|told| told + MOVES_APART)
    }

    /// Its new address, if it is time to report it: each report is a write to the disk.
    pub(super) fn take_move(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.told.is_some_and(|told| now < told + MOVES_APART) {
            return None;
        }
        let moved = self.moved.take()?;
        self.told = Some(now);
        Some(moved)
    }

    /// Whether it is from an earlier boot and has no keys of this one.
    pub(super) fn is_awaited(&self) -> bool {
        self.resumed && !self.peer.is_connected()
    }
}

/// Least time between two reported moves of one browser.
const MOVES_APART: Duration = Duration::from_secs(1);

/// A viewer's keyframe requests, in thousandths: five at once and one every 3 s, since each lowers
/// the picture quality for all viewers.
const KEYFRAME_BURST: u64 = 5000;
const KEYFRAME_RATE: u64 = 333;

/// What the core keeps of a viewer. The rest, with the keys for sending, is with its forwarder.
pub(super) struct Viewer {
    /// The forwarder that has it.
    pub forwarder: usize,
    pub mapping: Arc<Mapping>,
    pub resends: Resends,
    /// Of a plain viewer; its forwarder has it too.
    pub translation: Option<Shared>,
    /// In thousandths of a request.
    keyframes: Budget,
}

impl Viewer {
    pub(super) fn new(
        forwarder: usize,
        mapping: Arc<Mapping>,
        translation: Option<Shared>,
        now: Instant,
    ) -> Self {
        Self {
            forwarder,
            mapping,
            resends: Resends::new(now),
            translation,
            keyframes: Budget::new(now, KEYFRAME_BURST),
        }
    }

    /// Whether one more of its keyframe requests is accepted.
    pub(super) fn may_request_keyframe(&mut self, now: Instant) -> bool {
        self.keyframes
            .take(now, 1000, KEYFRAME_RATE, KEYFRAME_BURST)
    }

    /// Its translation, if it has one.
    pub(super) fn translation(&self) -> Option<MutexGuard<'_, Translation>> {
        self.translation.as_ref().map(Shared::lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_sdp::Negotiated;

    fn viewer() -> Viewer {
        let negotiated = Negotiated {
            fingerprints: vec![],
            certificate: [0; 32],
            setup: Default::default(),
            media: vec![],
            address: None,
        };
        Viewer::new(0, Arc::new(Mapping::new(&negotiated)), None, Instant::now())
    }

    #[test]
    fn keyframe_requests_of_one_viewer_are_limited() {
        let t = Instant::now();
        let mut viewer = viewer();
        let heeded = (0..60_000u64)
            .filter(|ms| viewer.may_request_keyframe(t + std::time::Duration::from_millis(*ms)));
        assert!((20..=25).contains(&heeded.count()));
    }
}
