//! From a channel's streams to its viewers: forwarding, answers to NACKs, catching up after a
//! restart.

use std::time::{Duration, Instant};

use rekindle_ids::Ufrag;
use rekindle_sdp::Kind;

use super::channel::Channel;
use super::egress::{Buffers, Rtx};
use super::history::{Found, Index};
use super::key_derivation::KeyDerivation;
use super::member::{Member, Members, Side, Viewer};
use super::resend::Answer;
use super::rtp::Packet;
use super::track::Track;
use super::translation::Passage;
use crate::peer::{Failures, Peer, Transmit};

/// After a restart, a viewer that is back sooner than this after its publisher gets all that it
/// missed; later, a keyframe.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Most bytes of a stream that such a viewer gets at once.
const MAX_CATCH_UP: usize = 512 * 1024;

/// Counts of the core.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub packets_in: u64,
    pub packets_out: u64,
    pub retransmitted: u64,
    pub plis: u64,
    pub duplicates: u64,
    pub unknown: u64,
    pub unmapped: u64,
    pub handshakes: u64,
    pub failures: Failures,
}

/// What sending to viewers needs besides the channel.
pub(super) struct Egress<'a> {
    pub members: &'a mut Members,
    pub derivation: &'a KeyDerivation,
    pub buffers: &'a mut Buffers,
    pub counts: &'a mut Counts,
    pub out: &'a mut Vec<Transmit>,
}

impl Egress<'_> {
    fn viewer(&mut self, id: usize) -> Option<&mut Viewer> {
        match &mut self.members.get_mut(id)?.side {
            Side::Viewer(viewer) => Some(viewer),
            Side::Publisher(_) => None,
        }
    }

    /// Rewrites a packet of a stream for one viewer and sends it, on its own SSRC or as a
    /// retransmission. Whether it could be sent.
    fn send(&mut self, id: usize, track: &Track, index: Index, packet: &Packet, rtx: bool) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let Side::Viewer(viewer) = &mut member.side else {
            return false;
        };
        let translated;
        let (index, packet, rtx_ssrc) = match &viewer.translation {
            None => (index, packet, track.rtx_ssrc),
            Some(translation) => match translation.of(track, index, packet) {
                None => return false,
                Some((index, other, rtx_ssrc)) => {
                    translated = other;
                    (index, &translated, rtx_ssrc.unwrap_or(track.rtx_ssrc))
                }
            },
        };
        let ssrc = packet.header.ssrc;
        let first_rtx = || first_rtx(self.derivation, &member.ufrag, &member.peer, track);
        let rtx = rtx.then(|| Rtx {
            ssrc: rtx_ssrc,
            sequence: viewer.next_rtx(ssrc, first_rtx),
        });
        let mapping = &viewer.mapping;
        if !mapping.rewrite(&track.section, packet, rtx, self.buffers) {
            return false;
        }
        let own = rtx.is_none().then_some((ssrc, index));
        let to_viewer = ToViewer {
            derivation: self.derivation,
            packet: &self.buffers.packet,
            counts: self.counts,
            out: self.out,
        };
        to_viewer.send(member, track, own) == Sent::Yes
    }
}

/// What became of a packet for one viewer.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    /// It may not be sent under its index: see [`Viewer::may_send`].
    Never,
    /// The viewer's keys do not protect it under its index.
    Refused,
}

/// A packet that is rewritten for a viewer, on its way.
struct ToViewer<'a> {
    derivation: &'a KeyDerivation,
    packet: &'a [u8],
    counts: &'a mut Counts,
    out: &'a mut Vec<Transmit>,
}

impl ToViewer<'_> {
    /// Encrypts and sends it: under the SSRC and index that it has at the viewer, or as a
    /// retransmission, which has an index of its own.
    fn send(self, member: &mut Member, track: &Track, own: Option<(u32, Index)>) -> Sent {
        if let (Some((ssrc, index)), Side::Viewer(viewer)) = (own, &mut member.side) {
            let first = || first_rtx(self.derivation, &member.ufrag, &member.peer, track);
            if !viewer.may_send(ssrc, index, first) {
                return Sent::Never;
            }
        }
        let Some(transmit) = member.peer.protect_rtp(self.packet) else {
            return Sent::Refused;
        };
        self.counts.packets_out += 1;
        self.out.push(transmit);
        Sent::Yes
    }
}

/// The first sequence number of an RTX stream is random (RFC 3550 §5.1).
fn first_rtx(derivation: &KeyDerivation, ufrag: &Ufrag, peer: &Peer, track: &Track) -> u16 {
    if let Some(start) = peer.start_of(track.rtx_ssrc) {
        return start;
    }
    let ssrc = track.ssrc;
    derivation.number("rtx", &[ufrag.as_str().as_bytes(), &ssrc.to_be_bytes()]) as u16
}

impl Channel {
    /// Forwards a packet that a stream has just taken to all viewers. Whether the source has come,
    /// or become another, by it.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        track: usize,
        index: Index,
        packet: &Packet,
        egress: &mut Egress<'_>,
    ) -> bool {
        let track = &self.tracks[track];
        self.rate.add(now, packet.len());
        self.last_media = Some(now);
        let Egress {
            members,
            derivation,
            buffers,
            counts,
            out,
        } = egress;
        let tracks = &self.tracks;
        let is_there = |ssrc| tracks.iter().any(|track| track.ssrc == ssrc);
        let (mut refused, mut translated) = (Vec::new(), Vec::new());
        for group in &self.groups {
            if !group.mapping.rewrite(&track.section, packet, None, buffers) {
                counts.unmapped += group.viewers.len() as u64;
                continue;
            }
            for &id in &group.viewers {
                let Some(member) = members
                    .get_mut(id)
                    .filter(|member| member.peer.is_connected())
                else {
                    continue;
                };
                let Side::Viewer(viewer) = &mut member.side else {
                    continue;
                };
                match viewer
                    .translation
                    .as_mut()
                    .map(|t| t.pass(now, track, index, packet, is_there))
                {
                    None | Some(Passage::AsItIs) => {}
                    Some(Passage::Translated) => {
                        translated.push(id);
                        continue;
                    }
                    Some(Passage::Nothing) => {
                        counts.unmapped += 1;
                        continue;
                    }
                }
                let to_viewer = ToViewer {
                    derivation,
                    packet: &buffers.packet,
                    counts,
                    out,
                };
                match to_viewer.send(member, track, Some((track.ssrc, index))) {
                    Sent::Yes => {}
                    Sent::Never => counts.unmapped += 1,
                    Sent::Refused => refused.push(id),
                }
            }
        }
        for id in translated {
            egress.send(id, track, index, packet, false);
        }
        // From before the sequence number's wrap, with keys from after it: RTX has numbers of its
        // own.
        for id in refused {
            egress.send(id, track, index, packet, true);
        }
        !std::mem::replace(&mut self.live, true) | std::mem::take(&mut self.changed)
    }

    /// Answers a viewer's NACK out of the history, or asks the publisher.
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
        if !viewer.resends.may_look(now) {
            return;
        }
        let named = match &viewer.translation {
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
            Found::Ahead => return,
        };
        let Some(viewer) = egress.viewer(id) else {
            return;
        };
        let has_rtx = viewer.mapping.has_rtx(&track.section, &packet);
        let sent = match viewer
            .resends
            .answer(now, ssrc, index, packet.len(), rate, has_rtx)
        {
            Answer::Nothing => false,
            Answer::Rtx => egress.send(id, track, index, &packet, true),
            // Where these keys may not protect it under its own index, RTX has one of its own.
            Answer::Plain => [false, true]
                .into_iter()
                .any(|rtx| egress.send(id, track, index, &packet, rtx)),
        };
        egress.counts.retransmitted += u64::from(sent);
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
            .translation
            .as_ref()
            .map_or(ssrc, |known| known.source(ssrc));
        let Some(track) = self.track_mut(source) else {
            return;
        };
        if viewer.may_request_keyframe(now) {
            track.request_keyframe(now);
        }
    }

    /// A viewer has fresh keys. One that was here before a restart gets all that came since; a new
    /// one needs a keyframe.
    pub(super) fn viewer_connected(
        &mut self,
        now: Instant,
        id: usize,
        resumed: bool,
        renewed: bool,
        egress: &mut Egress<'_>,
    ) {
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

/// Sends a viewer all that is remembered of a stream, the oldest first; where that is too much, the
/// newest of it.
pub(super) fn catch_up(id: usize, track: &Track, egress: &mut Egress<'_>) {
    let mut excess = track
        .history
        .iter()
        .map(|(_, packet)| packet.len())
        .sum::<usize>()
        .saturating_sub(MAX_CATCH_UP);
    for (index, packet) in track.history.iter() {
        if excess > 0 {
            excess = excess.saturating_sub(packet.len());
        } else {
            // As above: RTX has numbers of its own.
            let _ = [false, true]
                .into_iter()
                .any(|rtx| egress.send(id, track, index, packet, rtx));
        }
    }
}
