//! A viewer of a load: which packets arrived, and how long each took.

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use rekindle_client::client::{Media, Outgoing};
use rekindle_client::payload::HEAD;
use rekindle_client::viewer::{Taken, Viewer};
use rekindle_sdp::{Kind, Media as Section};

use super::group::Timed;
use super::histogram::Histogram;
use crate::media::Tally;

/// The clock of the publisher's stamps and of the kernel's arrival times: nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    nanoseconds(since.unwrap_or_default())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Numbers of packets: of sound, and of pictures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    pub audio: Range<u64>,
    pub video: Range<u64>,
}

impl Span {
    /// How many packets these are.
    pub(crate) fn packets(&self) -> u64 {
        (self.audio.end - self.audio.start) + (self.video.end - self.video.start)
    }
}

/// See the module.
pub(crate) struct Watcher {
    session: Viewer,
    audio: Tally,
    video: Tally,
    arrived: u64,
    packets: u64,
    delays: Histogram,
}

impl Watcher {
    pub(crate) fn new(agreed: &[Section]) -> Self {
        Self {
            session: Viewer::new(agreed),
            audio: Tally::default(),
            video: Tally::default(),
            arrived: 0,
            packets: 0,
            delays: Histogram::default(),
        }
    }

    /// Whether it has had media.
    pub(crate) fn has_media(&self) -> bool {
        self.packets > 0
    }

    /// Starts counting delays.
    pub(crate) fn begin(&mut self) {
        self.delays = Histogram::default();
    }

    /// The delays of packets since [`Watcher::begin`], from the publisher to this viewer's socket.
    pub(crate) fn delays(&self) -> &Histogram {
        &self.delays
    }

    /// How many of these packets have not arrived.
    pub(crate) fn missing(&self, span: &Span) -> u64 {
        self.audio.missing(span.audio.clone()) + self.video.missing(span.video.clone())
    }

    /// Packets that came twice.
    pub(crate) fn repeated(&self) -> u64 {
        self.audio.repeated + self.video.repeated
    }

    /// Packets that this viewer has asked for.
    pub(crate) fn asked_for(&self) -> u64 {
        self.session.nacks
    }
}

impl Timed for Watcher {
    fn arrived(&mut self, at: Option<Duration>) {
        self.arrived = at.map_or_else(unix_ns, nanoseconds);
    }
}

impl Media for Watcher {
    fn set_rtt(&mut self, rtt: Duration) {
        self.session.set_rtt(rtt);
    }

    fn take_rtp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        let Taken::Packet(packet) = self.session.take(now, data) else {
            return;
        };
        let tally = match packet.kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        };
        let is_new = tally.take(packet.index);
        self.packets += 1;
        if let Some(stamp) = packet.body.get(HEAD..).and_then(<[u8]>::first_chunk)
            && is_new
        {
            let took = self.arrived.saturating_sub(u64::from_be_bytes(*stamp));
            self.delays.add(Duration::from_nanos(took));
        }
        out.rtcp.extend(self.session.make(now));
    }

    /// A viewer needs no RTCP.
    fn take_rtcp(&mut self, _now: Instant, _data: &[u8], _out: &mut Outgoing) {}

    fn next_timeout(&self, connected: bool) -> Option<Instant> {
        self.session.next().filter(|_| connected)
    }

    fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        if connected {
            out.rtcp.extend(self.session.make(now));
        }
    }
}
