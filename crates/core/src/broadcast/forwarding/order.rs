//! What the core tells a forwarder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rekindle_ids::Ufrag;

use crate::broadcast::egress::Mapping;
use crate::broadcast::history::Index;
use crate::broadcast::rtp::Packet;
use crate::broadcast::track_info::{Report, TrackInfo};
use crate::broadcast::translation::Shared;
use crate::peer::Sending;

/// Orders for one forwarder, in their order.
#[derive(Default)]
pub struct Orders(pub(super) Vec<Order>);

impl Orders {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One of them. Viewers and channels have the core's keys.
pub(in crate::broadcast) enum Order {
    /// A packet for all viewers of a channel.
    Forward(Forwarded),
    /// Packets that one viewer misses.
    Again(Again),
    /// A compound RTCP packet for one viewer.
    Control {
        viewer: usize,
        packet: BytesMut,
    },
    /// A sender report for all viewers of a channel.
    Report {
        channel: usize,
        track: Arc<TrackInfo>,
        report: Arc<Report>,
    },
    Join(Box<NewViewer>),
    Leave {
        viewer: usize,
    },
    /// Fresh keys: what is sent from now on is protected by them. `None`: the ones it had are not in
    /// use any more.
    Connect {
        viewer: usize,
        sending: Option<Box<Sending>>,
        to: Option<SocketAddr>,
    },
    /// The viewer has another address.
    Move {
        viewer: usize,
        to: SocketAddr,
    },
    /// It gets its publisher's streams as they are.
    Untranslated {
        viewer: usize,
    },
}

/// A packet that a stream has just taken.
#[derive(Clone)]
pub(in crate::broadcast) struct Forwarded {
    pub at: Instant,
    pub channel: usize,
    pub track: Arc<TrackInfo>,
    /// SSRCs of the publisher's streams that have not ended.
    pub there: Arc<[u32]>,
    pub index: Index,
    pub packet: Packet,
}

/// Packets that one viewer misses, the oldest first.
pub(in crate::broadcast) struct Again {
    pub viewer: usize,
    pub track: Arc<TrackInfo>,
    pub packets: Vec<(Index, Packet)>,
    pub resend: Resend,
    /// The viewer has asked for them.
    pub on_request: bool,
}

/// How a packet is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broadcast) enum Resend {
    /// As an RTX packet.
    Rtx,
    /// On its own SSRC. Where the keys may not protect it under its own index, RTX has one of its
    /// own.
    Plain,
}

impl Resend {
    /// What is tried, in this order: whether as RTX.
    pub(super) fn ways(self) -> &'static [bool] {
        match self {
            Self::Rtx => &[true],
            Self::Plain => &[false, true],
        }
    }
}

/// A viewer that joins.
pub(in crate::broadcast) struct NewViewer {
    pub viewer: usize,
    pub channel: usize,
    pub ufrag: Ufrag,
    pub mapping: Arc<Mapping>,
    /// Of a plain viewer. The core asks it what a NACK is about; else only the forwarder does.
    pub translation: Option<Shared>,
}
