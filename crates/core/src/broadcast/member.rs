//! A peer as the core keeps it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_ids::{Role, Ufrag};
use slab::Slab;

use super::budget::Budget;
use super::egress::Mapping;
use super::history::Index;
use super::ingress::Ingress;
use super::resend::Resends;
use super::translation::Translation;
use crate::peer::{Dtls, Peer};

/// A plain client that was heard after a restart is let go after so long: it does not know that it
/// should run DTLS again. A page has opened its event stream by then, or has begun.
pub(super) const PLAIN: Duration = Duration::from_millis(900);

/// All peers. A key is used again after its peer has left, so nothing may keep the key of a peer
/// that is no more.
pub(super) type Members = Slab<Member>;

/// A peer and its place.
pub(super) struct Member {
    pub ufrag: Ufrag,
    pub peer: Peer,
    /// Key of its channel.
    pub channel: usize,
    pub resumed: bool,
    /// It can renew its keys, as far as is known.
    pub renews: bool,
    pub joined: Instant,
    /// When it was first heard in this boot.
    pub heard: Option<Instant>,
    /// When the handshake began that gave it its keys.
    pub keyed: Option<Instant>,
    /// The layers above were told that it was not, in time.
    pub unheard: bool,
    /// The server's certificate that it goes by.
    pub dtls: Arc<Dtls>,
    /// Addresses that it has or claims, the latest last.
    pub addresses: Vec<SocketAddr>,
    /// When more ClientHellos last came from one of its addresses than are answered at once.
    pub pressed: Option<Instant>,
    /// Where it has moved, if the layers above do not know it yet, and when they were last told of
    /// a move.
    pub moved: Option<SocketAddr>,
    pub told: Option<Instant>,
    /// When its timer goes off.
    pub armed: Option<Instant>,
    pub side: Side,
}

/// What a peer does.
pub(super) enum Side {
    Publisher(Box<Ingress>),
    Viewer(Box<Viewer>),
}

impl Member {
    /// Whether a peer from an earlier boot is known by now to be a plain client.
    pub(super) fn is_plain(&self, now: Instant) -> bool {
        self.is_awaited() && !self.renews && now.saturating_duration_since(self.joined) >= PLAIN
    }

    pub(super) fn role(&self) -> Role {
        match self.side {
            Side::Publisher(_) => Role::Publisher,
            Side::Viewer(_) => Role::Viewer,
        }
    }

    /// When its move may be told.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.moved.and(self.told).map(|told| told + MOVES_APART)
    }

    /// Where it has moved, if it is time to say so: each move that is told is a write to the disk.
    pub(super) fn take_move(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.told.is_some_and(|told| now < told + MOVES_APART) {
            return None;
        }
        let moved = self.moved.take()?;
        self.told = Some(now);
        Some(moved)
    }

    /// From an earlier boot, and without keys of this one.
    pub(super) fn is_awaited(&self) -> bool {
        self.resumed && !self.peer.is_connected()
    }
}

/// A browser that moves to and fro is told of so often.
const MOVES_APART: Duration = Duration::from_secs(1);

/// A viewer's keyframe requests, in thousandths: five at once and one every 3 s, since each costs
/// all viewers picture quality.
const KEYFRAME_BURST: u64 = 5000;
const KEYFRAME_RATE: u64 = 333;

/// Longest step between two packets sent on one SSRC: half the sequence space, less the history's
/// length, since the step is taken from a packet that was sent again.
const MAX_STEP: u64 = 0x8000 - 0x1000;

/// State of a viewer as a receiver.
pub(super) struct Viewer {
    pub mapping: Arc<Mapping>,
    pub resends: Resends,
    /// Of a plain viewer.
    pub translation: Option<Translation>,
    streams: Vec<Stream>,
    /// In thousandths of a request.
    keyframes: Budget,
}

struct Stream {
    ssrc: u32,
    /// The highest index sent under the present keys.
    top: Option<Index>,
    rtx_sequence: u16,
}

impl Viewer {
    pub(super) fn new(mapping: Arc<Mapping>, now: Instant) -> Self {
        Self {
            mapping,
            resends: Resends::new(now),
            translation: None,
            streams: Vec::new(),
            keyframes: Budget::new(now, KEYFRAME_BURST),
        }
    }

    /// Fresh keys: SRTP indices start anew on both sides.
    pub(super) fn rekeyed(&mut self) {
        for stream in &mut self.streams {
            stream.top = None;
        }
    }

    /// Whether one more of its keyframe requests is heeded.
    pub(super) fn may_request_keyframe(&mut self, now: Instant) -> bool {
        self.keyframes
            .take(now, 1000, KEYFRAME_RATE, KEYFRAME_BURST)
    }

    fn stream(&mut self, ssrc: u32, first_rtx: impl FnOnce() -> u16) -> &mut Stream {
        // The streams of the present publisher are the last ones.
        match self.streams.iter().rposition(|stream| stream.ssrc == ssrc) {
            Some(at) => &mut self.streams[at],
            None => {
                self.streams.push(Stream {
                    ssrc,
                    top: None,
                    rtx_sequence: first_rtx(),
                });
                self.streams.last_mut().expect("just pushed")
            }
        }
    }

    /// Whether a packet may go out on its own SSRC. After a gap near half the sequence space
    /// neither side's SRTP would extend the sequence number as the publisher meant it, and an index
    /// could come up twice (RFC 3711 §3.3.1); such a stream ends for this viewer.
    pub(super) fn may_send(
        &mut self,
        ssrc: u32,
        index: Index,
        first_rtx: impl FnOnce() -> u16,
    ) -> bool {
        let top = &mut self.stream(ssrc, first_rtx).top;
        if top.is_some_and(|top| top.abs_diff(index) >= MAX_STEP) {
            return false;
        }
        *top = (*top).max(Some(index));
        true
    }

    /// The next sequence number of this stream's retransmissions.
    pub(super) fn next_rtx(&mut self, ssrc: u32, first_rtx: impl FnOnce() -> u16) -> u16 {
        let stream = self.stream(ssrc, first_rtx);
        let sequence = stream.rtx_sequence;
        stream.rtx_sequence = sequence.wrapping_add(1);
        sequence
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
        Viewer::new(Arc::new(Mapping::new(&negotiated)), Instant::now())
    }

    #[test]
    fn a_stream_ends_at_a_gap_that_srtp_cannot_follow_until_there_are_new_keys() {
        let mut viewer = viewer();
        assert!(viewer.may_send(1, 0x1_0000, || 0));
        assert!(viewer.may_send(1, 0x1_6FFF, || 0));
        assert!(!viewer.may_send(1, 0x1_DFFF, || 0));
        assert!(
            viewer.may_send(1, 0x1_DFFE, || 0),
            "the gap is measured from the last packet sent"
        );
        assert!(viewer.may_send(2, 0x1_FFFF, || 0), "another stream");
        viewer.rekeyed();
        assert!(viewer.may_send(1, 0x1_FFFF, || 0));
    }

    #[test]
    fn keyframe_requests_of_one_viewer_are_limited() {
        let t = Instant::now();
        let mut viewer = viewer();
        let heeded = (0..60_000u64)
            .filter(|ms| viewer.may_request_keyframe(t + std::time::Duration::from_millis(*ms)));
        assert!((20..=25).contains(&heeded.count()));
    }

    #[test]
    fn rtx_numbers_go_on_across_keys_and_wrap() {
        let mut viewer = viewer();
        assert_eq!(viewer.next_rtx(1, || 65_535), 65_535);
        viewer.rekeyed();
        assert_eq!(viewer.next_rtx(1, || 7), 0);
        assert_eq!(viewer.next_rtx(2, || 7), 7);
    }
}
