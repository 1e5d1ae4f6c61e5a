//! The part of the core that encrypts for viewers and sends. There is one forwarder for each
//! processor that takes part, and each viewer is with one of them. The core tells forwarders what
//! to do by [`Orders`], which may go to another thread. A forwarder shares nothing that it changes,
//! so that no packet waits for a lock.
//!
//! Packets wait for [`Forwarder::flush`], which sends viewer by viewer: the packets of one viewer
//! lie in one buffer, are encrypted there with keys that are in the cache, and can be sent in one
//! system call.

mod branch;
mod burst;
mod dispatch;
mod order;
mod outgoing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

pub use burst::{Burst, Outlet};
pub use dispatch::Media;
pub(super) use dispatch::{ChannelSent, Forwarding};
pub use order::Orders;
pub(super) use order::{Again, Forwarded, NewViewer, Order, Resend};

use super::key_derivation::KeyDerivation;
use super::mapping::Buffers;
use super::rtp::Packet;
use super::track_info::{Report, TrackInfo};
use branch::{Branch, ViewerSlot};
use dispatch::SentCounts;
use outgoing::Outgoing;

/// See the module. Sans-IO: it is told what to do and returns what to send.
pub struct Forwarder {
    tools: Tools,
    /// By the core's keys of channels.
    channels: Vec<Option<Branch>>,
    /// Where each viewer is, by the core's keys of peers.
    places: HashMap<usize, ViewerSlot>,
    /// Channels with packets that wait.
    waiting: Vec<usize>,
}

/// What sending to any viewer needs.
struct Tools {
    derivation: Arc<KeyDerivation>,
    counts: Arc<SentCounts>,
    buffers: Buffers,
    burst: Burst,
}

impl Forwarder {
    fn new(derivation: Arc<KeyDerivation>, counts: Arc<SentCounts>) -> Self {
        Self {
            tools: Tools {
                derivation,
                counts,
                buffers: Buffers::default(),
                burst: Burst::default(),
            },
            channels: Vec::new(),
            places: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Carries out orders of the core, in their order. Packets for all viewers of a channel wait
    /// for [`Forwarder::flush`]; the rest is sent at once. Leaves `orders` empty.
    pub fn follow(&mut self, orders: &mut Orders, outlet: &mut impl Outlet) {
        for order in orders.0.drain(..) {
            match order {
                Order::Forward(forwarded) => self.take(forwarded),
                Order::Again(again) => self.send_again(&again, outlet),
                Order::Control { viewer, packet } => {
                    if let Some((_, viewer, tools)) = self.viewer(viewer) {
                        viewer.control(&packet, tools);
                        viewer.hand_over(&mut tools.burst, outlet);
                    }
                }
                Order::Report {
                    channel,
                    track,
                    report,
                } => self.report(channel, &track, &report, outlet),
                Order::Join(newcomer) => self.join(*newcomer),
                Order::Leave { viewer } => self.leave(viewer),
                Order::Connect {
                    viewer,
                    sending,
                    to,
                } => {
                    let place = self.places.get(&viewer).copied();
                    let waiting = place.map_or(0, |place| self.pending(place.channel));
                    if let Some((_, viewer, _)) = self.viewer(viewer) {
                        viewer.connect(sending, to, waiting);
                    }
                }
                Order::Move { viewer, to } => {
                    if let Some((_, viewer, _)) = self.viewer(viewer) {
                        viewer.move_to(to);
                    }
                }
                Order::Untranslated { viewer } => {
                    if let Some((_, viewer, _)) = self.viewer(viewer) {
                        viewer.translation = None;
                    }
                }
            }
        }
    }

    /// Since when packets wait, if there are any: when the first one arrived.
    pub fn waiting_since(&self) -> Option<Instant> {
        // A channel is appended when its first packet comes.
        self.branch(*self.waiting.first()?)?.waiting_since()
    }

    /// Whether of each channel with packets that wait a frame of video is complete. To wait for more
    /// is of no use then: the next packets are those of the next frame.
    pub fn has_whole_frames(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.all(|channel| self.branch(*channel).is_some_and(Branch::ends_frame))
    }

    fn branch(&self, channel: usize) -> Option<&Branch> {
        self.channels.get(channel).and_then(Option::as_ref)
    }

    /// Sends all that waits.
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        for channel in self.waiting.drain(..) {
            if let Some(Some(branch)) = self.channels.get_mut(channel) {
                branch.flush(&mut self.tools, outlet);
            }
        }
    }

    fn take(&mut self, forwarded: Forwarded) {
        let key = forwarded.channel;
        let Some(Some(branch)) = self.channels.get_mut(key) else {
            return;
        };
        if branch.pending() == 0 {
            self.waiting.push(key);
        }
        branch.take(forwarded, &mut self.tools.buffers, &self.tools.counts);
    }

    /// A viewer and what its group agreed on.
    fn viewer(
        &mut self,
        id: usize,
    ) -> Option<(&super::mapping::Mapping, &mut Outgoing, &mut Tools)> {
        let place = *self.places.get(&id)?;
        let branch = self.channels.get_mut(place.channel)?.as_mut()?;
        let (mapping, viewer) = branch.viewer(place)?;
        Some((mapping, viewer, &mut self.tools))
    }

    fn pending(&self, channel: usize) -> usize {
        self.branch(channel).map_or(0, Branch::pending)
    }

    fn send_again(&mut self, again: &Again, outlet: &mut impl Outlet) {
        let before = self.tools.counts.so_far();
        self.resend(again, outlet);
        let place = self.places.get(&again.viewer);
        if let Some(branch) = place.and_then(|place| self.branch(place.channel)) {
            branch.sent.add(&self.tools.counts, before);
        }
    }

    fn resend(&mut self, again: &Again, outlet: &mut impl Outlet) {
        let Some((mapping, viewer, tools)) = self.viewer(again.viewer) else {
            return;
        };
        for (index, packet) in &again.packets {
            let sent =
                again.resend.ways().iter().any(|rtx| {
                    viewer.rewrite(mapping, &again.track, (*index, packet), *rtx, tools)
                });
            if sent && again.on_request {
                tools.counts.resent();
            }
            if tools.burst.is_full() {
                viewer.hand_over(&mut tools.burst, outlet);
            }
        }
        viewer.hand_over(&mut tools.burst, outlet);
    }

    fn report(
        &mut self,
        channel: usize,
        track: &TrackInfo,
        report: &Report,
        outlet: &mut impl Outlet,
    ) {
        let Some(Some(branch)) = self.channels.get_mut(channel) else {
            return;
        };
        let Some(packet) = report.packet() else {
            return;
        };
        for viewer in branch.viewers() {
            let translated = viewer.translated_report(track, report);
            viewer.control(translated.as_ref().unwrap_or(&packet), &mut self.tools);
            viewer.hand_over(&mut self.tools.burst, outlet);
        }
    }

    fn join(&mut self, newcomer: NewViewer) {
        let key = newcomer.channel;
        if self.channels.len() <= key {
            self.channels.resize_with(key + 1, || None);
        }
        let id = newcomer.viewer;
        let sent = || Branch::new(newcomer.sent.clone());
        let branch = self.channels[key].get_or_insert_with(sent);
        let place = branch.join(key, newcomer);
        self.places.insert(id, place);
    }

    fn leave(&mut self, viewer: usize) {
        let Some(place) = self.places.remove(&viewer) else {
            return;
        };
        let Some(branch) = self
            .channels
            .get_mut(place.channel)
            .and_then(Option::as_mut)
        else {
            return;
        };
        for (moved, to) in branch.leave(place) {
            self.places.insert(moved, to);
        }
        if branch.is_empty() {
            self.channels[place.channel] = None;
            self.waiting.retain(|channel| *channel != place.channel);
        }
    }
}

/// A packet and its index.
type Indexed<'a> = (super::history::Index, &'a Packet);
