//! A channel: the streams of its publisher, and the viewers they go to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::Transmit;
use crate::sdp::{Kind, Media, Ssrc, Stream};
use crate::vault::Ufrag;

use super::egress::{Buffers, Mapping, Rtx};
use super::history::Index;
use super::ingress::Ingress;
use super::member::{MAX_CATCH_UP, Members, Side};
use super::resend::Answer;
use super::rtp::Packet;
use super::seed::Seed;
use super::track::Track;

/// Most streams of one publisher at a time.
const MAX_TRACKS: usize = 8;
/// So many ended streams are remembered while viewers from before their end are there; beyond that, new streams are refused.
const MAX_ENDED: usize = 1024;
/// Without media for so long, a channel's source counts as gone.
const SOURCE_SILENCE: Duration = Duration::from_secs(2);
/// After a restart, a viewer that is back sooner than this after its publisher gets all that it missed; later, a keyframe.
const CATCH_UP: Duration = Duration::from_secs(2);

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
}

/// What sending to viewers needs besides the channel.
pub(super) struct Egress<'a> {
    pub members: &'a mut Members,
    pub seed: &'a Seed,
    pub buffers: &'a mut Buffers,
    pub counts: &'a mut Counts,
    pub out: &'a mut Vec<Transmit>,
}

impl Egress<'_> {
    /// Rewrites a packet of a stream for one viewer and sends it, on its own SSRC or as a retransmission. Whether it could be sent.
    fn send(&mut self, id: usize, track: &Track, index: Index, packet: &Packet, rtx: bool) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let Side::Viewer(viewer) = &mut member.side else {
            return false;
        };
        let first_rtx = || first_rtx(self.seed, &member.ufrag, track.ssrc);
        let rtx = rtx.then(|| Rtx {
            ssrc: track.rtx_ssrc,
            sequence: viewer.next_rtx(track.ssrc, first_rtx),
        });
        if !viewer.mapping.rewrite(&track.section, packet, rtx, self.buffers)
            || (rtx.is_none() && !viewer.may_send(track.ssrc, index, first_rtx))
        {
            return false;
        }
        let Some(transmit) = member.peer.protect_rtp(&self.buffers.packet) else {
            return false;
        };
        self.counts.packets_out += 1;
        self.out.push(transmit);
        true
    }
}

/// The first sequence number of an RTX stream is random (RFC 3550 §5.1).
fn first_rtx(seed: &Seed, ufrag: &Ufrag, ssrc: u32) -> u16 {
    seed.number("rtx", &[ufrag.as_str().as_bytes(), &ssrc.to_be_bytes()]) as u16
}

/// Viewers whose packets look the same.
struct Group {
    mapping: Arc<Mapping>,
    viewers: Vec<usize>,
}

/// A stream that has ended while its viewers are still there.
struct Ended {
    highest: Index,
    rtx_ssrc: u32,
    at: Instant,
}

/// Media bytes a second.
#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    bytes: u64,
    rate: u64,
}

impl Rate {
    fn add(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes as u64;
        let elapsed = now.saturating_duration_since(since).as_millis() as u64;
        if elapsed >= 1000 {
            self.rate = self.bytes * 1000 / elapsed;
            (self.bytes, self.since) = (0, Some(now));
        }
    }
}

/// A channel.
pub(super) struct Channel {
    pub name: String,
    /// Key of the publisher, there or awaited.
    pub publisher: Option<usize>,
    /// Who is about to become the publisher, and until when the place is held.
    pub reservation: Option<(Ufrag, Instant)>,
    /// Media flows.
    pub live: bool,
    pub armed: Option<Instant>,
    groups: Vec<Group>,
    pub tracks: Vec<Track>,
    ended: HashMap<u32, Ended>,
    last_media: Option<Instant>,
    keyframe_owed: bool,
    /// A stream has begun since the source was last told of.
    changed: bool,
    rate: Rate,
}

impl Channel {
    pub fn new(name: String) -> Self {
        Self {
            name,
            publisher: None,
            reservation: None,
            live: false,
            armed: None,
            groups: Vec::new(),
            tracks: Vec::new(),
            ended: HashMap::new(),
            last_media: None,
            keyframe_owed: false,
            changed: false,
            rate: Rate::default(),
        }
    }

    /// Nobody is here or about to come.
    pub fn is_empty(&self) -> bool {
        self.publisher.is_none() && self.reservation.is_none() && self.groups.is_empty()
    }

    /// Keys of all viewers.
    pub fn viewers(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flat_map(|group| &group.viewers).copied()
    }

    /// Adds a viewer, whose mapping may be one that others share.
    pub fn add_viewer(&mut self, id: usize, mapping: Mapping) -> Arc<Mapping> {
        if let Some(group) = self.groups.iter_mut().find(|group| *group.mapping == mapping) {
            group.viewers.push(id);
            return group.mapping.clone();
        }
        let mapping = Arc::new(mapping);
        self.groups.push(Group {
            mapping: mapping.clone(),
            viewers: vec![id],
        });
        mapping
    }

    /// Takes a viewer out.
    pub fn remove_viewer(&mut self, id: usize) {
        for group in &mut self.groups {
            group.viewers.retain(|viewer| *viewer != id);
        }
        self.groups.retain(|group| !group.viewers.is_empty());
        if self.groups.is_empty() {
            self.ended.clear();
        }
    }

    /// Takes the publisher out. Its streams are remembered as ended while viewers are there, since their SRTP indices must not be used twice.
    pub fn remove_publisher(&mut self, now: Instant, members: &Members) {
        self.publisher = None;
        self.keyframe_owed = false;
        for track in self.tracks.drain(..) {
            if let Some(highest) = track.history.highest() {
                self.ended.insert(
                    track.ssrc,
                    Ended {
                        highest,
                        rtx_ssrc: track.rtx_ssrc,
                        at: now,
                    },
                );
            }
        }
        let oldest = self
            .viewers()
            .filter_map(|id| members.get(id))
            .map(|member| member.joined)
            .min();
        self.ended
            .retain(|_, ended| oldest.is_some_and(|oldest| oldest <= ended.at));
    }

    /// The stream with this SSRC.
    pub fn track_mut(&mut self, ssrc: u32) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.ssrc == ssrc)
    }

    fn is_free(&self, ssrc: u32) -> bool {
        self.tracks
            .iter()
            .all(|track| track.ssrc != ssrc && track.rtx_ssrc != ssrc)
            && !self.ended.contains_key(&ssrc)
            && self.ended.values().all(|ended| ended.rtx_ssrc != ssrc)
    }

    /// The publisher's stream with this SSRC, made if need be; `None` where there are too many, or the SSRC serves retransmissions.
    pub fn track_or_new(
        &mut self,
        now: Instant,
        ssrc: u32,
        section: &Arc<Media>,
        ingress: &Ingress,
        resumed: bool,
    ) -> Option<usize> {
        if let Some(at) = self.tracks.iter().position(|track| track.ssrc == ssrc) {
            return Some(at);
        }
        if self.tracks.len() >= MAX_TRACKS || self.ended.len() >= MAX_ENDED {
            return None;
        }
        let (rtx_ssrc, after) = match self.ended.remove(&ssrc) {
            Some(ended) => (ended.rtx_ssrc, Some(ended.highest)),
            None if !self.is_free(ssrc) => return None,
            None => (self.rtx_ssrc(ssrc, ingress), None),
        };
        let mut track = Track::new(ssrc, rtx_ssrc, section.clone(), resumed, after);
        if section.kind == Kind::Video && std::mem::take(&mut self.keyframe_owed) {
            track.request_keyframe(now);
        }
        self.changed = true;
        self.tracks.push(track);
        Some(self.tracks.len() - 1)
    }

    /// The announced RTX stream where that is free, else one derived from the media stream, so that it is the same after a restart.
    fn rtx_ssrc(&self, ssrc: u32, ingress: &Ingress) -> u32 {
        if let Some(announced) = ingress.rtx_of(ssrc).filter(|announced| self.is_free(*announced)) {
            return announced;
        }
        let mut derived = ssrc;
        loop {
            derived = derived.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
            if derived != ssrc && self.is_free(derived) && !ingress.uses(derived) {
                return derived;
            }
        }
    }

    /// The publisher's streams as viewers get them.
    pub fn streams(&self, ingress: &Ingress) -> Vec<Stream> {
        let stream = |(kind, media)| {
            let track = self.tracks.iter().find(|track| track.ssrc == media);
            let rtx = track.map_or_else(|| self.rtx_ssrc(media, ingress), |track| track.rtx_ssrc);
            let ssrc = Ssrc { media, rtx: Some(rtx) };
            Stream { kind, ssrc }
        };
        ingress.media().map(stream).collect()
    }

    /// Forwards a packet that a stream has just taken to all viewers. Whether the source has come, or become another, by it.
    pub fn forward(
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
            seed,
            buffers,
            counts,
            out,
        } = egress;
        for group in &self.groups {
            if !group.mapping.rewrite(&track.section, packet, None, buffers) {
                counts.unmapped += group.viewers.len() as u64;
                continue;
            }
            for &id in &group.viewers {
                let Some(member) = members.get_mut(id).filter(|member| member.peer.is_connected()) else {
                    continue;
                };
                let Side::Viewer(viewer) = &mut member.side else {
                    continue;
                };
                if !viewer.may_send(track.ssrc, index, || first_rtx(seed, &member.ufrag, track.ssrc)) {
                    counts.unmapped += 1;
                    continue;
                }
                if let Some(transmit) = member.peer.protect_rtp(&buffers.packet) {
                    counts.packets_out += 1;
                    out.push(transmit);
                }
            }
        }
        !std::mem::replace(&mut self.live, true) | std::mem::take(&mut self.changed)
    }

    /// Whether the source has gone: no media for a while.
    pub fn source_gone(&mut self, now: Instant) -> bool {
        let silent = self
            .last_media
            .is_none_or(|last| now.saturating_duration_since(last) >= SOURCE_SILENCE);
        let gone = self.live && (silent || self.publisher.is_none());
        self.live &= !gone;
        gone
    }

    /// Answers a viewer's NACK out of the history, or asks the publisher.
    pub fn answer_nack(&mut self, now: Instant, id: usize, ssrc: u32, sequence: u16, egress: &mut Egress<'_>) {
        let rate = self.rate.rate;
        let Some(track) = self.track_mut(ssrc) else { return };
        let (index, packet) = match track.history.find(sequence) {
            Ok((index, packet)) => (index, packet.clone()),
            Err(Some(_)) => return track.viewer_misses(now, sequence),
            Err(None) => return,
        };
        let Some(member) = egress.members.get_mut(id) else {
            return;
        };
        let Side::Viewer(viewer) = &mut member.side else { return };
        let has_rtx = viewer.mapping.has_rtx(&track.section, &packet);
        let sent = match viewer.resends.answer(now, ssrc, index, packet.len(), rate, has_rtx) {
            Answer::Nothing => false,
            Answer::Rtx => egress.send(id, track, index, &packet, true),
            // Where these keys may not protect it under its own index, RTX has one of its own.
            Answer::Plain => [false, true]
                .into_iter()
                .any(|rtx| egress.send(id, track, index, &packet, rtx)),
        };
        egress.counts.retransmitted += u64::from(sent);
    }

    /// A viewer has fresh keys. One that was here before a restart gets all that came since; a new one needs a keyframe.
    pub fn viewer_connected(&mut self, now: Instant, id: usize, resumed: bool, renewed: bool, egress: &mut Egress<'_>) {
        for track in &mut self.tracks {
            match track.started {
                _ if renewed => {}
                Some(started) if resumed && now.saturating_duration_since(started) <= CATCH_UP => {
                    catch_up(id, track, egress);
                }
                _ => track.request_keyframe(now),
            }
        }
        let has_video = self.tracks.iter().any(|track| track.section.kind == Kind::Video);
        self.keyframe_owed |= !has_video && !resumed && !renewed;
    }
}

/// Sends a viewer all that is remembered of a stream, the oldest first; where that is too much, the newest of it.
fn catch_up(id: usize, track: &Track, egress: &mut Egress<'_>) {
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
            egress.send(id, track, index, packet, false);
        }
    }
}
