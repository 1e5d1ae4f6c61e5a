//! What a viewer of the benchmark has seen: which packets never came, and how long there was none.

use std::ops::Range;
use std::time::{Duration, Instant};

use rekindle_client::client::Outgoing;
use rekindle_client::viewer::{Taken, Viewer};
use rekindle_sdp::{Kind, Media as Section};

use super::tally::Tally;

/// Which life of the server a datagram came from, as the benchmark counts them.
pub(crate) type Life = u32;

/// The time without media around the end of one life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The life that ended it.
    pub life: Life,
    /// The last authentic packet of an earlier life.
    pub last: Instant,
    /// The first authentic packet of this one.
    pub first: Instant,
}

/// What came in this session and in those before it.
#[derive(Debug)]
pub(crate) struct Watcher {
    session: Viewer,
    audio: Tally,
    video: Tally,
    life: Life,
    last: Option<(Life, Instant)>,
    pub gaps: Vec<Gap>,
    widest: Duration,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self {
            session: Viewer::new(&[]),
            audio: Tally::default(),
            video: Tally::default(),
            life: 0,
            last: None,
            gaps: Vec::new(),
            widest: Duration::ZERO,
        }
    }

    /// A session begins, perhaps in place of an earlier one: what came is remembered, the streams
    /// are new.
    pub(crate) fn begin(&mut self, agreed: &[Section]) {
        self.session.begin(agreed);
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.session.set_rtt(rtt);
    }

    /// What is taken from now on comes from this life of the server.
    pub(crate) fn set_life(&mut self, life: Life) {
        self.life = life;
    }

    fn tally(&self, kind: Kind) -> &Tally {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    /// When the last packet came, and from which life of the server.
    pub(crate) fn last(&self) -> Option<(Life, Instant)> {
        self.last
    }

    /// The largest gap between two packets since the last call.
    pub(crate) fn take_widest(&mut self) -> Duration {
        std::mem::take(&mut self.widest)
    }

    /// How many packets of these numbers have not come.
    pub(crate) fn missing(&self, kind: Kind, range: Range<u64>) -> u64 {
        self.tally(kind).missing(range)
    }

    /// Packets that came twice.
    pub(crate) fn repeated(&self) -> u64 {
        self.audio.repeated + self.video.repeated
    }

    /// Takes a packet that has been authenticated and decrypted.
    pub(crate) fn take_rtp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        let Taken::Packet(packet) = self.session.take(now, data) else {
            return;
        };
        match packet.kind {
            Kind::Audio => self.audio.take(packet.index),
            Kind::Video => self.video.take(packet.index),
        };
        let life = self.life;
        if let Some((before, last)) = self.last {
            if before != life {
                self.gaps.push(Gap {
                    life,
                    last,
                    first: now,
                });
            }
            self.widest = self.widest.max(now.saturating_duration_since(last));
        }
        self.last = Some((life, now));
        self.make(now, out);
    }

    /// When [`Watcher::make`] wants to be called.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.session.next()
    }

    /// NACKs and PLIs that are due.
    pub(crate) fn make(&mut self, now: Instant, out: &mut Outgoing) {
        out.rtcp.extend(self.session.make(now));
    }
}

#[cfg(test)]
mod tests;
