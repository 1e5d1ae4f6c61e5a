//! From a channel's streams to its viewers: which packets are forwarded, how NACKs are answered,
//! and how viewers catch up after a restart. Forwarders carry it out.

use std::time::{Duration, Instant};

use rekindle_sdp::Kind;

use super::channel::Channel;
use super::forwarding::{Again, Forwarded, Forwarding, Order, Resend};
use super::history::{Found, Index};
use super::loss::Loss;
use super::member::{Members, Side, Viewer};
use super::resend::Answer;
use super::rtp::Packet;
use super::track::Track;
use crate::peer::Failures;

/// After a restart, a viewer that returns within this time of its publisher gets all packets that
/// it missed. A later one gets a keyframe.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Most bytes of a stream that a returning viewer gets at once.
const MAX_CATCH_UP: usize = 512 * 1024;

/// Counters of the core; each forwarder has its own.
#[derive(Debug, Default)]
pub(super) struct MediaCounts {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub asked: Asked,
    pub nacks: u64,
    pub plis: u64,
    pub duplicates: u64,
    pub unknown: u64,
    pub handshakes: u64,
    pub failures: Failures,
}

/// What viewers have requested and reported.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub packets: u64,
    pub keyframes: u64,
    pub loss: Loss,
}

/// What is needed to reach viewers, besides the channel.
pub(super) struct Egress<'a> {
    pub members: &'a mut Members,
    pub forwarding: &'a mut Forwarding,
}

impl Egress<'_> {
    fn viewer(&mut self, id: usize) -> Option<&mut Viewer> {
        match &mut self.members.get_mut(id)?.side {
            Side::Viewer(viewer) => Some(viewer),
            Side::Publisher(_) => None,
        }
    }

    /// Orders that packets are sent to a viewer again.
    fn send_again(&mut self, again: Again) {
        if let Some(forwarder) = self.viewer(again.viewer).map(|viewer| viewer.forwarder) {
            self.forwarding.order(forwarder, Order::Again(again));
        }
    }
}

impl Channel {
    /// Forwards a packet that a stream has just accepted to all viewers. Returns whether this
    /// packet started or changed the source.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        (channel, track): (usize, usize),
        index: Index,
        packet: &Packet,
        forwarding: &mut Forwarding,
    ) -> bool {
        self.rate.add(now, packet.len());
        self.last_media = Some(now);
        for forwarder in self.forwarders() {
            // One for each forwarder, not for each viewer: the packet itself is shared.
            let forwarded = Forwarded {
                at: now,
                channel,
                track: self.tracks[track].info.clone(),
                there: self.there.clone(),
                index,
                packet: packet.clone(),
            };
            forwarding.order(forwarder, Order::Forward(forwarded));
        }
        !std::mem::replace(&mut self.live, true) | std::mem::take(&mut self.changed)
    }

    /// Answers a viewer's NACK from the history, or asks the publisher for the packets.
    pub(super) fn answer_nack(
        &mut self,
        now: Instant,
        id: usize,
        ssrc: u32,
        sequence: u16,
        egress: &mut Egress<'_>,
    ) {
        let rate = self.rate.get();
        let Some(viewer) = egress.viewer(id) else {
            return;
        };
        // Before anything is searched: a NACK may name thousands of packets.
        if !viewer.resends.may_look(now) {
            return;
        }
        let named = match viewer.translation() {
            None => Some((ssrc, sequence)),
            Some(translation) => translation.packet(ssrc, sequence),
        };
        let Some((ssrc, sequence)) = named else {
            return;
        };
        let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == ssrc) else {
            return;
        };
        let (index, packet) = match track.history.find(sequence) {
            Found::Kept(index, packet) => (index, packet.clone()),
            Found::Missing => return track.viewer_misses(now, sequence),
            Found::Before => return track.viewer_is_behind(now),
            // It cannot miss what has not been sent.
            Found::Ahead => return,
        };
        let Some(viewer) = egress.viewer(id) else {
            return;
        };
        let has_rtx = viewer.mapping.has_rtx(&track.section, &packet);
        let resend = match viewer
            .resends
            .answer(now, ssrc, index, packet.len(), rate, has_rtx)
        {
            Answer::Nothing => return,
            Answer::Rtx => Resend::Rtx,
            Answer::Plain => Resend::Plain,
        };
        egress.send_again(Again {
            viewer: id,
            track: track.info.clone(),
            packets: vec![(index, packet)],
            resend,
            on_request: true,
        });
    }

    /// Asks the publisher for a keyframe on a viewer's request.
    pub(super) fn answer_pli(
        &mut self,
        now: Instant,
        id: usize,
        ssrc: u32,
        egress: &mut Egress<'_>,
    ) {
        let Some(viewer) = egress.viewer(id) else {
            return;
        };
        let source = viewer
            .translation()
            .map_or(ssrc, |known| known.source(ssrc));
        let Some(track) = self.track_mut(source) else {
            return;
        };
        if viewer.may_request_keyframe(now) {
            track.request_keyframe(now);
        }
    }

    /// Handles a viewer with fresh keys. One from before a restart gets all packets since; a new
    /// one needs a keyframe.
    pub(super) fn viewer_connected(
        &mut self,
        now: Instant,
        id: usize,
        resumed: bool,
        renewed: bool,
        egress: &mut Egress<'_>,
    ) {
        // Its page renewed keys while media flowed: nothing was missed.
        if renewed {
            return;
        }
        if let Some(viewer) = egress.viewer(id).filter(|_| resumed) {
            viewer.resends.resumed(now);
        }
        for track in &mut self.tracks {
            if resumed
                && track
                    .started
                    .is_none_or(|at| now.saturating_duration_since(at) <= CATCH_UP)
            {
                catch_up(id, track, egress);
            } else {
                track.request_keyframe(now);
            }
        }
        let has_video = self
            .tracks
            .iter()
            .any(|track| track.section.kind == Kind::Video);
        self.keyframe_owed |= !has_video && !resumed;
    }
}

/// Sends a viewer the whole history of a stream, the oldest packet first; where that is too much,
/// the newest part of it.
pub(super) fn catch_up(id: usize, track: &Track, egress: &mut Egress<'_>) {
    let mut excess = track
        .history
        .iter()
        .map(|(_, packet)| packet.len())
        .sum::<usize>()
        .saturating_sub(MAX_CATCH_UP);
    let packets = track.history.iter().filter(|(_, packet)| {
        let is_left_out = excess > 0;
        excess = excess.saturating_sub(packet.len());
        !is_left_out
    });
    egress.send_again(Again {
        viewer: id,
        track: track.info.clone(),
        packets: packets
            .map(|(index, packet)| (index, packet.clone()))
            .collect(),
        resend: Resend::Plain,
        on_request: false,
    });
}
