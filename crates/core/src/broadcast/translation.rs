//! How a plain viewer's streams continue when another publisher takes over the channel.
//!
//! The answer told the viewer the SSRCs of the first publisher. A page of ours learns of others by
//! its event stream. A plain client never does, and most of them show nothing of a stream that was
//! not announced. So each of its streams keeps its SSRC, and sequence numbers and time stamps
//! continue, as RFC 3550 §7.1 describes for a translator. This state ends with the process, as the
//! sessions of such viewers do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rekindle_sdp::{Kind, Ssrc, Stream};

use bytes::BytesMut;

use super::history::Index;
use super::mapping;
use super::rtp::Packet;
use super::track_info::{Report, TrackInfo};

/// A stream of a viewer, and the publisher's stream that it carries now.
#[derive(Debug, Clone)]
struct Translated {
    kind: Kind,
    /// The publisher's SSRC.
    source: u32,
    /// The SSRCs that the viewer knows.
    ssrc: Ssrc,
    /// What is added to the publisher's numbers and time stamps.
    index: i64,
    timestamp: u32,
    /// The first index of the publisher that it carries. An earlier one could take the index of a
    /// packet of the previous publisher.
    first: Index,
    /// The latest packet as the viewer got it: index, time stamp, and time of sending.
    latest: (Index, u32, Instant),
}

/// What a viewer gets of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// The packet unchanged.
    AsItIs,
    /// The packet as [`Translation::of`] translates it.
    Translated,
    /// Nothing: its SSRC is that of another stream of this viewer, whose SRTP indices must not be
    /// used twice.
    Nothing,
}

/// See the module. One for each plain viewer.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// The streams that the answer announced.
    announced: Vec<Stream>,
    streams: Vec<Translated>,
}

/// A translation that two parts share: the core, which interprets the viewer's requests with it,
/// and the viewer's forwarder.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Translation>>);

impl Shared {
    pub(super) fn new(translation: Translation) -> Self {
        Self(Arc::new(Mutex::new(translation)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Translation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Translation {
    /// For a viewer whose answer announced these streams.
    pub(super) fn new(announced: Vec<Stream>) -> Self {
        Self {
            announced,
            streams: Vec::new(),
        }
    }

    /// Whether every stream so far has passed unchanged.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.iter().all(Translated::is_identity)
    }

    /// Notes a packet that is about to be forwarded. `is_there` returns whether a publisher's
    /// stream has not ended.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        track: &TrackInfo,
        index: Index,
        packet: &Packet,
        is_there: impl Fn(u32) -> bool,
    ) -> Passage {
        let kind = track.section.kind;
        let at = match self
            .streams
            .iter()
            .position(|stream| stream.source == track.ssrc)
        {
            Some(at) => at,
            None => {
                let before = self.streams.iter().position(|stream| stream.kind == kind);
                match before {
                    // A second stream of the same publisher, as in simulcast: no stream of the
                    // viewer's is free to carry it.
                    Some(at) if is_there(self.streams[at].source) => {
                        return if self.is_taken(track) {
                            Passage::Nothing
                        } else {
                            Passage::AsItIs
                        };
                    }
                    Some(at) => {
                        self.streams[at] = self.streams[at].goes_on(now, track, index, packet);
                        at
                    }
                    None => {
                        let announced = self.announced.iter().find(|stream| stream.kind == kind);
                        if announced.is_none() && self.is_taken(track) {
                            return Passage::Nothing;
                        }
                        self.streams.push(Translated {
                            kind,
                            source: track.ssrc,
                            ssrc: announced.map_or(track.ssrcs(), |stream| stream.ssrc),
                            index: 0,
                            timestamp: 0,
                            first: 0,
                            latest: (index, packet.header.timestamp, now),
                        });
                        self.streams.len() - 1
                    }
                }
            }
        };
        let stream = &mut self.streams[at];
        let sent = stream.index_of(index);
        if sent >= stream.latest.0 {
            stream.latest = (
                sent,
                packet.header.timestamp.wrapping_add(stream.timestamp),
                now,
            );
        }
        if stream.is_identity() {
            Passage::AsItIs
        } else {
            Passage::Translated
        }
    }

    /// A packet of this stream as the viewer gets it, with its index there and the SSRC of its
    /// retransmission. `None` for a packet from before the stream began for this viewer.
    pub(super) fn of(
        &self,
        track: &TrackInfo,
        index: Index,
        packet: &Packet,
    ) -> Option<(Index, Packet, Option<u32>)> {
        let Some(stream) = self.find(track.ssrc) else {
            // A packet that was kept from the viewer is not sent on its request either.
            let passes = self
                .streams
                .iter()
                .any(|stream| stream.source == track.ssrc)
                || !self.is_taken(track);
            return passes.then(|| (index, packet.clone(), None));
        };
        if index < stream.first {
            return None;
        }
        let sent = stream.index_of(index);
        let mut packet = packet.clone();
        packet.header.ssrc = stream.ssrc.media;
        packet.header.sequence = sent as u16;
        packet.header.timestamp = packet.header.timestamp.wrapping_add(stream.timestamp);
        Some((sent, packet, stream.ssrc.rtx))
    }

    /// Whether one of a stream's SSRCs is used or reserved for another stream.
    fn is_taken(&self, track: &TrackInfo) -> bool {
        let known = self.announced.iter().map(|stream| stream.ssrc);
        let mut known = known.chain(self.streams.iter().map(|stream| stream.ssrc));
        let [media, rtx] = [track.ssrc, track.rtx_ssrc].map(Some);
        known.any(|ssrc| {
            [Some(ssrc.media), ssrc.rtx]
                .iter()
                .any(|one| one.is_some() && (*one == media || *one == rtx))
        })
    }

    fn find(&self, source: u32) -> Option<&Translated> {
        self.streams
            .iter()
            .find(|stream| stream.source == source && !stream.is_identity())
    }

    /// The publisher's SSRC of a stream that the viewer names.
    pub(super) fn source(&self, ssrc: u32) -> u32 {
        let named = self.streams.iter().find(|stream| stream.ssrc.media == ssrc);
        named.map_or(ssrc, |stream| stream.source)
    }

    /// The publisher's SSRC and sequence number of a packet that the viewer names; `None` for one
    /// of an earlier publisher.
    pub(super) fn packet(&self, ssrc: u32, sequence: u16) -> Option<(u32, u16)> {
        let Some(stream) = self.streams.iter().find(|stream| stream.ssrc.media == ssrc) else {
            return Some((ssrc, sequence));
        };
        let latest = stream.latest.0;
        let step = i64::from(sequence.wrapping_sub(latest as u16) as i16);
        let sent = latest.saturating_add_signed(step);
        let source = sent.checked_add_signed(-stream.index)?;
        (source >= stream.first).then_some((stream.source, source as u16))
    }

    /// A stream's sender report with the viewer's SSRC and RTP time stamp (RFC 3550 §6.4.1); `None`
    /// where the stream is not translated.
    pub(super) fn sender_report(&self, track: &TrackInfo, report: &Report) -> Option<BytesMut> {
        let stream = self.find(track.ssrc)?;
        let rtp_time = report.info.rtp_time.wrapping_add(stream.timestamp);
        report.packet_as(stream.ssrc.media, rtp_time)
    }
}

impl Translated {
    fn is_identity(&self) -> bool {
        self.source == self.ssrc.media && self.index == 0 && self.timestamp == 0
    }

    fn index_of(&self, index: Index) -> Index {
        index.saturating_add_signed(self.index)
    }

    /// Continues the viewer's stream with a new publisher's stream: the next index, and a time
    /// stamp for the time that has passed.
    fn goes_on(&self, now: Instant, track: &TrackInfo, index: Index, packet: &Packet) -> Self {
        let (latest, timestamp, at) = self.latest;
        let rate = mapping::codec(&track.section, packet.header.payload_type)
            .map_or(90_000, |codec| codec.clock_rate());
        let passed = now
            .saturating_duration_since(at)
            .max(Duration::from_millis(1));
        let ticks = (passed.as_micros() * u128::from(rate) / 1_000_000) as u32;
        Self {
            source: track.ssrc,
            index: (latest + 1).wrapping_sub(index) as i64,
            timestamp: timestamp
                .wrapping_add(ticks)
                .wrapping_sub(packet.header.timestamp),
            first: index,
            ..self.clone()
        }
    }
}
