//! The viewers of one channel that one forwarder has.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rekindle_sdp::Kind;

use super::dispatch::{ChannelSent, SentCounts};
use super::outgoing::Outgoing;
use super::{Forwarded, NewViewer, Outlet, Tools};
use crate::broadcast::mapping::{Buffers, Mapping};

/// Most waiting packets of a channel. A thread that falls further behind drops the older half, so
/// that its viewers get the newest packets; they request again what they need of the others.
pub(in crate::broadcast) const MAX_PENDING: usize = 1024;

/// See the module.
pub(super) struct Branch {
    /// What the channel's viewers were sent, by all forwarders.
    pub sent: Arc<ChannelSent>,
    groups: Vec<Group>,
    /// Packets that wait to be sent.
    pending: Vec<Forwarded>,
    /// Whether the last video packet among them is the last one of its frame (the marker bit, as in
    /// RFC 7741 §4.1 and RFC 6184 §5.1).
    ends_frame: bool,
}

/// Viewers that receive the same packet bytes.
struct Group {
    mapping: Arc<Mapping>,
    viewers: Vec<Outgoing>,
    /// The waiting packets as these viewers get them, one after the other, and the range of each;
    /// `None` where they did not agree on its codec.
    rewritten: Vec<u8>,
    places: Vec<Option<Range<usize>>>,
}

/// Where a viewer is in its branch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ViewerSlot {
    pub channel: usize,
    group: usize,
    at: usize,
}

impl Branch {
    pub(super) fn new(sent: Arc<ChannelSent>) -> Self {
        Self {
            sent,
            groups: Vec::new(),
            pending: Vec::new(),
            ends_frame: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many packets wait.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Since when packets wait.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.pending.first().map(|forwarded| forwarded.at)
    }

    /// Whether a frame is complete among the packets that wait: the next one is not near.
    pub(super) fn ends_frame(&self) -> bool {
        self.ends_frame
    }

    /// Adds a packet to those that wait.
    pub(super) fn take(
        &mut self,
        forwarded: Forwarded,
        buffers: &mut Buffers,
        counts: &SentCounts,
    ) {
        if self.pending.len() >= MAX_PENDING {
            self.leave_out(MAX_PENDING / 2, counts);
        }
        let section = &forwarded.track.section;
        for group in &mut self.groups {
            let mapped = group
                .mapping
                .rewrite(section, &forwarded.packet, None, buffers);
            // All packets of a group lie in one buffer, so that a tick needs no allocation.
            let start = group.rewritten.len();
            group.places.push(mapped.then(|| {
                group.rewritten.extend_from_slice(&buffers.packet);
                start..group.rewritten.len()
            }));
        }
        if section.kind == Kind::Video {
            self.ends_frame = forwarded.packet.header.marker;
        }
        self.pending.push(forwarded);
    }

    /// Drops the oldest waiting packets.
    fn leave_out(&mut self, packets: usize, counts: &SentCounts) {
        tracing::debug!(
            packets,
            "sending to viewers is behind: what waits longest is left out"
        );
        self.pending.drain(..packets);
        for group in &mut self.groups {
            group.places.drain(..packets);
            let mut left = group.places.iter_mut().flatten();
            let start = left
                .next()
                .map_or(group.rewritten.len(), |first| first.start);
            group.rewritten.drain(..start);
            for place in group.places.iter_mut().flatten() {
                *place = place.start - start..place.end - start;
            }
            for viewer in &mut group.viewers {
                viewer.miss(packets);
            }
            counts.overrun((packets * group.viewers.len()) as u64);
        }
    }

    /// Sends the waiting packets, viewer by viewer.
    pub(super) fn flush(&mut self, tools: &mut Tools, outlet: &mut impl Outlet) {
        let before = tools.counts.so_far();
        for group in &mut self.groups {
            let Group {
                mapping,
                viewers,
                rewritten,
                places,
            } = group;
            for viewer in viewers {
                let bytes = places
                    .iter()
                    .map(|place| place.clone().map(|place| &rewritten[place]));
                viewer.send(mapping, self.pending.iter().zip(bytes), tools, outlet);
            }
            rewritten.clear();
            places.clear();
        }
        self.sent.add(&tools.counts, before);
        self.pending.clear();
        self.ends_frame = false;
    }

    pub(super) fn viewers(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.groups.iter_mut().flat_map(|group| &mut group.viewers)
    }

    pub(super) fn viewer(&mut self, place: ViewerSlot) -> Option<(&Mapping, &mut Outgoing)> {
        let group = self.groups.get_mut(place.group)?;
        Some((&group.mapping, group.viewers.get_mut(place.at)?))
    }

    pub(super) fn join(&mut self, channel: usize, newcomer: NewViewer) -> ViewerSlot {
        let known = self
            .groups
            .iter()
            .position(|group| Arc::ptr_eq(&group.mapping, &newcomer.mapping));
        let group = known.unwrap_or_else(|| {
            self.groups.push(Group {
                mapping: newcomer.mapping.clone(),
                viewers: Vec::new(),
                rewritten: Vec::new(),
                // The packets that wait are older than this group.
                places: vec![None; self.pending.len()],
            });
            self.groups.len() - 1
        });
        let viewers = &mut self.groups[group].viewers;
        viewers.push(Outgoing::new(newcomer));
        ViewerSlot {
            channel,
            group,
            at: viewers.len() - 1,
        }
    }

    /// Removes a viewer. Returns the new places of those that moved.
    pub(super) fn leave(&mut self, place: ViewerSlot) -> Vec<(usize, ViewerSlot)> {
        let group = &mut self.groups[place.group];
        // In constant time: the last viewer takes the place, and is told of it.
        group.viewers.swap_remove(place.at);
        let mut moved: Vec<(usize, ViewerSlot)> = group
            .viewers
            .get(place.at)
            .map(|viewer| (viewer.id, place))
            .into_iter()
            .collect();
        if group.viewers.is_empty() {
            self.groups.swap_remove(place.group);
            if let Some(group) = self.groups.get(place.group) {
                let viewers = group.viewers.iter().enumerate();
                moved = viewers
                    .map(|(at, viewer)| (viewer.id, ViewerSlot { at, ..place }))
                    .collect();
            }
        }
        moved
    }
}
