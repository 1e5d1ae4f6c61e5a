//! A camera whose every packet can be told from all others, and is remembered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::sdp::{Codec, Kind};
use rekindle_client::publisher::{self, Filling, Made, Wish};

use super::{Random, ms};

/// A packet as it was sent first.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Instant,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
    pub key: bool,
    /// The network had it: keys were there.
    pub on_wire: bool,
}

/// What is sent of one kind.
pub struct Track {
    kind: Kind,
    codec: Codec,
    /// Index (extended sequence number) of the next packet.
    pub next_index: u64,
    timestamp: u32,
    due: Instant,
    /// Packets of the present frame that are still to come, and whether it is a keyframe.
    rest_of_frame: u64,
    is_key: bool,
    /// All packets ever sent, by index.
    pub sent: BTreeMap<u64, Sent>,
}

/// See the module.
pub struct Camera {
    tracks: Vec<Track>,
    /// Packets of a video frame.
    pub frame_packets: u64,
    /// The camera is on.
    pub running: bool,
    started: bool,
    random: Random,
}

impl Camera {
    /// `first`: the sequence number to start with; drawn where absent.
    pub fn new(
        kinds: impl Iterator<Item = (Kind, Codec)>,
        first: Option<u16>,
        mut random: Random,
        now: Instant,
    ) -> Self {
        let tracks = kinds.map(|(kind, codec)| Track {
            kind,
            codec,
            next_index: 0x1_0000 + u64::from(first.unwrap_or_else(|| random.draw() as u16)),
            timestamp: random.draw() as u32,
            due: now,
            rest_of_frame: 0,
            is_key: false,
            sent: BTreeMap::new(),
        });
        Self {
            tracks: tracks.collect(),
            frame_packets: 3,
            running: true,
            started: false,
            random,
        }
    }

    pub fn track(&self, kind: Kind) -> &Track {
        self.tracks.iter().find(|track| track.kind == kind).unwrap()
    }

    /// The camera is on again.
    pub fn resume(&mut self, now: Instant) {
        self.running = true;
        self.tracks.iter_mut().for_each(|track| track.due = now);
    }
}

impl publisher::Camera for Camera {
    /// The encoder starts with the first connection, and never stops again.
    fn start(&mut self, now: Instant) {
        self.started = true;
        self.tracks.iter_mut().for_each(|track| track.due = now);
    }

    fn next(&self) -> Option<Instant> {
        let due = self.tracks.iter().map(|track| track.due).min();
        due.filter(|_| self.started && self.running)
    }

    fn make(&mut self, kind: Kind, now: Instant, wish: Wish<'_>) -> Option<Made> {
        if !self.started || !self.running {
            return None;
        }
        let track = self.tracks.iter_mut().find(|track| track.kind == kind)?;
        if track.due > now {
            return None;
        }
        let first = track.rest_of_frame == 0;
        if first {
            let (packets, step) = match kind {
                Kind::Audio => (1, 960),
                Kind::Video => (self.frame_packets, 3000),
            };
            track.rest_of_frame = packets;
            track.timestamp = track.timestamp.wrapping_add(step);
            track.is_key = kind == Kind::Video && std::mem::take(wish.key);
        }
        track.rest_of_frame -= 1;
        let length = 20 + self.random.below(900);
        let filling = (0..length).map(|_| self.random.draw() as u8).collect();
        let made = Made {
            index: track.next_index,
            timestamp: track.timestamp,
            marker: track.rest_of_frame == 0,
            first,
            key: track.is_key,
            filling: Filling::These(filling),
            at: track.due,
        };
        if made.marker {
            track.due += match kind {
                Kind::Audio => ms(20),
                Kind::Video => Duration::from_micros(33_333),
            };
        }
        let sent = Sent {
            at: made.at,
            timestamp: made.timestamp,
            marker: made.marker,
            payload: made.payload(&track.codec),
            key: made.key,
            on_wire: wish.connected,
        };
        track.sent.insert(track.next_index, sent);
        track.next_index += 1;
        Some(made)
    }
}
