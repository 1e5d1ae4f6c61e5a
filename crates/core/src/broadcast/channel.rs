//! A channel: its members and its publisher's streams.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_ids::Ufrag;
use rekindle_sdp::{Kind, Media, Ssrc, Stream};

use super::forwarding::{ChannelSent, Media as Passed};
use super::history::Index;
use super::ingress::Ingress;
use super::loss::Loss;
use super::mapping::Mapping;
use super::member::{Members, Side};
use super::pull::Upstream;
use super::rate::Rate;
use super::track::Track;

/// Most streams of one publisher at a time.
const MAX_TRACKS: usize = 8;
/// Most ended streams that are remembered while viewers from before their end are present. Beyond
/// it, new streams are refused.
const MAX_ENDED: usize = 1024;
/// A channel's source counts as gone after this time without media.
pub(super) const SOURCE_SILENCE: Duration = Duration::from_secs(2);

/// Viewers that receive the same packet bytes.
pub(super) struct Group {
    pub mapping: Arc<Mapping>,
    pub viewers: Vec<usize>,
}

/// A stream that has ended while its viewers are still there.
struct Ended {
    highest: Index,
    rtx_ssrc: u32,
    at: Instant,
}

/// A channel.
pub(super) struct Channel {
    pub name: String,
    /// Key of the publisher, present or awaited.
    pub publisher: Option<usize>,
    /// Its source at another server, in the place of a publisher.
    pub upstream: Option<Box<Upstream>>,
    /// The peer that is about to become the publisher, and until when its place is held.
    pub reservation: Option<(Ufrag, Instant)>,
    /// Whether media flows.
    pub live: bool,
    pub armed: Option<Instant>,
    pub groups: Vec<Group>,
    pub tracks: Vec<Track>,
    /// SSRCs of these streams.
    pub there: Arc<[u32]>,
    /// How many viewers are with each forwarder.
    pub spread: Vec<usize>,
    ended: HashMap<u32, Ended>,
    pub last_media: Option<Instant>,
    /// Whether a viewer waits for a keyframe of a stream that has not started yet.
    pub keyframe_owed: bool,
    /// Whether a stream has begun since the source was last reported.
    pub changed: bool,
    pub rate: Rate,
    /// What its source has sent.
    pub received: Passed,
    /// What its viewers were sent.
    pub sent: Arc<ChannelSent>,
    /// The packet loss that its viewers report.
    pub loss: Loss,
}

impl Channel {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            publisher: None,
            upstream: None,
            reservation: None,
            live: false,
            armed: None,
            groups: Vec::new(),
            tracks: Vec::new(),
            there: Arc::default(),
            spread: Vec::new(),
            ended: HashMap::new(),
            last_media: None,
            keyframe_owed: false,
            changed: false,
            rate: Rate::default(),
            received: Passed::default(),
            sent: Arc::default(),
            loss: Loss::default(),
        }
    }

    /// Whether the channel has no member and expects none.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_source() && self.reservation.is_none() && self.groups.is_empty()
    }

    /// Whether it has a publisher, present or awaited, or is pulled from another server.
    pub(super) fn has_source(&self) -> bool {
        self.publisher.is_some() || self.upstream.is_some()
    }

    /// What the channel's source has agreed on and sends.
    pub(super) fn ingress<'a>(&'a self, members: &'a Members) -> Option<&'a Ingress> {
        if let Some(upstream) = &self.upstream {
            return Some(&upstream.ingress);
        }
        match &members.get(self.publisher?)?.side {
            Side::Publisher(ingress) => Some(ingress),
            Side::Viewer(_) => None,
        }
    }

    /// Keys of all viewers.
    pub(super) fn viewers(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flat_map(|group| &group.viewers).copied()
    }

    /// Adds a viewer of this forwarder. Viewers with equal mappings share one.
    pub(super) fn add_viewer(
        &mut self,
        id: usize,
        forwarder: usize,
        mapping: Mapping,
    ) -> Arc<Mapping> {
        if self.spread.len() <= forwarder {
            self.spread.resize(forwarder + 1, 0);
        }
        self.spread[forwarder] += 1;
        if let Some(group) = self
            .groups
            .iter_mut()
            .find(|group| *group.mapping == mapping)
        {
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

    /// The forwarders that have viewers of this channel.
    pub(super) fn forwarders(&self) -> impl Iterator<Item = usize> {
        let spread = self.spread.iter().enumerate();
        spread.filter_map(|(at, viewers)| (*viewers > 0).then_some(at))
    }

    /// Removes a viewer.
    pub(super) fn remove_viewer(&mut self, id: usize, forwarder: usize) {
        self.spread[forwarder] -= 1;
        for group in &mut self.groups {
            group.viewers.retain(|viewer| *viewer != id);
        }
        self.groups.retain(|group| !group.viewers.is_empty());
        if self.groups.is_empty() {
            self.ended.clear();
        }
    }

    /// Ends the source's streams. They are remembered as ended while viewers are present, since
    /// their SRTP indices must not be used twice.
    pub(super) fn end_streams(&mut self, now: Instant, members: &Members) {
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
        self.count_streams();
    }

    fn count_streams(&mut self) {
        self.there = self.tracks.iter().map(|track| track.ssrc).collect();
    }

    /// The stream with this SSRC.
    pub(super) fn track_mut(&mut self, ssrc: u32) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.ssrc == ssrc)
    }

    fn is_free(&self, ssrc: u32) -> bool {
        self.tracks
            .iter()
            .all(|track| track.ssrc != ssrc && track.rtx_ssrc != ssrc)
            && !self.ended.contains_key(&ssrc)
            && self.ended.values().all(|ended| ended.rtx_ssrc != ssrc)
    }

    /// The publisher's stream with this SSRC, created where necessary; `None` where there are too
    /// many, or the SSRC is used for retransmissions.
    pub(super) fn track_or_new(
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
        self.count_streams();
        Some(self.tracks.len() - 1)
    }

    /// The announced RTX SSRC where it is free, otherwise one derived from the media SSRC, so that
    /// it is the same after a restart.
    fn rtx_ssrc(&self, ssrc: u32, ingress: &Ingress) -> u32 {
        if let Some(announced) = ingress
            .rtx_of(ssrc)
            .filter(|announced| self.is_free(*announced))
        {
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

    /// The publisher's streams as viewers receive them.
    pub(super) fn streams(&self, ingress: &Ingress) -> Vec<Stream> {
        let stream = |(kind, media)| {
            let track = self.tracks.iter().find(|track| track.ssrc == media);
            let rtx = track.map_or_else(|| self.rtx_ssrc(media, ingress), |track| track.rtx_ssrc);
            let ssrc = Ssrc {
                media,
                rtx: Some(rtx),
            };
            Stream { kind, ssrc }
        };
        ingress.media().map(stream).collect()
    }

    /// Whether the source is gone: no media for [`SOURCE_SILENCE`].
    pub(super) fn source_gone(&mut self, now: Instant) -> bool {
        let silent = self
            .last_media
            .is_none_or(|last| now.saturating_duration_since(last) >= SOURCE_SILENCE);
        let gone = self.live && (silent || !self.has_source());
        self.live &= !gone;
        gone
    }
}
