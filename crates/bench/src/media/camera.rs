//! A camera that never stops: it continues while a connection is down, as a real one does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_client::payload::HEAD;
use rekindle_client::publisher::{self, Filling, Made, Wish};
use rekindle_sdp::Kind;

const AUDIO_PACKET: Duration = Duration::from_millis(20);
const AUDIO_PAYLOAD: usize = 100;

/// The settings of the camera and the microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CameraSettings {
    /// Video frames per second.
    pub fps: u32,
    /// Video bits per second.
    pub video_bitrate: u32,
}

/// How frames become packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets {
    /// Whether there are pictures besides the sound.
    pub video: bool,
    /// Longest payload of a video packet, in bytes.
    pub longest: usize,
    /// Whether a frame is cut into packets of nearly the same length, the longer ones last;
    /// otherwise all but the last one have the greatest length.
    pub even: bool,
    /// Time between two packets of a frame.
    pub pace: Duration,
    /// What a packet's payload contains after its number, from the time when it is made.
    pub stamp: Option<fn() -> u64>,
}

impl Default for Packets {
    fn default() -> Self {
        Self {
            video: true,
            longest: 1150,
            even: false,
            // An encoder's pacer does not send a frame at once.
            pace: Duration::from_millis(2),
            stamp: None,
        }
    }
}

impl Packets {
    /// The shortest payload.
    fn head(&self) -> usize {
        HEAD + if self.stamp.is_some() {
            size_of::<u64>()
        } else {
            0
        }
    }

    /// The filling that gives a payload this length.
    fn filling(&self, length: usize) -> Filling {
        let Some(stamp) = self.stamp else {
            return Filling::Same(length - HEAD);
        };
        let mut bytes = stamp().to_be_bytes().to_vec();
        bytes.resize(length - HEAD, 0);
        Filling::These(Bytes::from(bytes))
    }

    /// The length of the next packet of a frame with this many bytes left.
    fn length(&self, left: usize) -> usize {
        let next = if self.even {
            left / left.div_ceil(self.longest).max(1)
        } else {
            left.min(self.longest)
        };
        next.max(self.head())
    }
}

/// A camera with a microphone. It continues while a connection is down, as a real one does, and
/// outlives its session.
#[derive(Debug)]
pub(crate) struct Camera {
    settings: CameraSettings,
    packets: Packets,
    audio: Clock,
    video: Clock,
    /// Bytes of the present frame that have not been sent yet.
    rest_of_frame: usize,
    frame_is_key: bool,
}

/// When the next packet is due, and its number.
#[derive(Debug)]
struct Clock {
    due: Instant,
    frame_due: Instant,
    index: u64,
    timestamp: u32,
}

impl Camera {
    pub(crate) fn new(settings: CameraSettings, now: Instant) -> Self {
        Self::with(settings, Packets::default(), now)
    }

    /// A camera whose packets are like this.
    pub(crate) fn with(settings: CameraSettings, packets: Packets, now: Instant) -> Self {
        let clock = || Clock {
            due: now,
            frame_due: now,
            // An extended sequence number; away from 0, so that no step back goes below it.
            index: 0x1_0000,
            timestamp: 0,
        };
        Self {
            settings,
            packets,
            audio: clock(),
            video: clock(),
            rest_of_frame: 0,
            frame_is_key: false,
        }
    }

    fn clock(&self, kind: Kind) -> &Clock {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    /// The number of the next packet of this kind.
    pub(crate) fn next_index(&self, kind: Kind) -> u64 {
        self.clock(kind).index
    }

    fn make_audio(&mut self, now: Instant) -> Option<Made> {
        let clock = &mut self.audio;
        let at = Some(clock.due).filter(|due| *due <= now)?;
        clock.due += AUDIO_PACKET;
        clock.timestamp = clock.timestamp.wrapping_add(960);
        clock.index += 1;
        Some(Made {
            index: clock.index - 1,
            timestamp: clock.timestamp,
            first: true,
            marker: false,
            key: false,
            filling: self.packets.filling(AUDIO_PAYLOAD),
            at,
        })
    }

    fn make_video(&mut self, now: Instant, key_wanted: &mut bool) -> Option<Made> {
        let frame = Duration::from_secs(1) / self.settings.fps;
        let clock = &mut self.video;
        let at = Some(clock.due).filter(|due| *due <= now)?;
        let first = self.rest_of_frame == 0;
        if first {
            let bytes = (self.settings.video_bitrate / self.settings.fps / 8) as usize;
            self.rest_of_frame = bytes.max(self.packets.head());
            self.frame_is_key = std::mem::take(key_wanted);
            clock.timestamp = clock.timestamp.wrapping_add(90_000 / self.settings.fps);
            clock.frame_due += frame;
        }
        let length = self.packets.length(self.rest_of_frame);
        self.rest_of_frame = self.rest_of_frame.saturating_sub(length);
        let marker = self.rest_of_frame == 0;
        clock.due = if marker {
            clock.frame_due.max(clock.due)
        } else {
            // A frame is sent before the next one begins, however many packets it has.
            (clock.due + self.packets.pace).min(clock.frame_due)
        };
        clock.index += 1;
        Some(Made {
            index: clock.index - 1,
            timestamp: clock.timestamp,
            first,
            marker,
            key: self.frame_is_key,
            filling: self.packets.filling(length),
            at,
        })
    }
}

impl publisher::Camera for Camera {
    fn next(&self) -> Option<Instant> {
        let video = self.packets.video.then_some(self.video.due);
        Some(video.map_or(self.audio.due, |video| video.min(self.audio.due)))
    }

    fn make(&mut self, kind: Kind, now: Instant, wish: Wish<'_>) -> Option<Made> {
        match kind {
            Kind::Audio => self.make_audio(now),
            Kind::Video if self.packets.video => self.make_video(now, wish.key),
            Kind::Video => None,
        }
    }
}

#[cfg(test)]
mod tests;
