//! The orders that the core gives a forwarder.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rekindle_ids::{TransportAddress, Ufrag};

use super::dispatch::ChannelSent;
use crate::broadcast::history::Index;
use crate::broadcast::mapping::Mapping;
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

/// One order. Viewers and channels are named by the core's keys.
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
    /// Fresh keys for all packets from now on. `None`: the earlier keys are no longer in use.
    Connect {
        viewer: usize,
        sending: Option<Box<Sending>>,
        to: Option<TransportAddress>,
    },
    /// The viewer has another address.
    Move {
        viewer: usize,
        to: TransportAddress,
    },
    /// The viewer gets its publisher's streams untranslated.
    Untranslated {
        viewer: usize,
    },
}

/// A packet that a stream has just accepted.
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
    /// Whether the viewer requested them.
    pub on_request: bool,
}

/// How a packet is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broadcast) enum Resend {
    /// As an RTX packet.
    Rtx,
    /// On its own SSRC. Where the keys cannot protect it under its own index, as an RTX packet,
    /// which has another index.
    Plain,
}

impl Resend {
    /// The ways to try, in this order: whether as RTX.
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
    /// What the channel's viewers were sent.
    pub sent: Arc<ChannelSent>,
    pub ufrag: Ufrag,
    pub mapping: Arc<Mapping>,
    /// Of a plain viewer. The core uses it to interpret a NACK; otherwise only the forwarder uses
    /// it.
    pub translation: Option<Shared>,
}
