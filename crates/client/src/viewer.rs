//! A viewer's side of a session: which packets arrived, and NACKs and PLIs for those that did not,
//! as a browser sends them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_sdp::{Kind, Media as Section};
use rtc_rtcp::packet::Packet as Rtcp;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};

use crate::payload::{is_key, read_index};
use crate::rtcp;
use crate::rtp::Rtp;

/// A missing packet is requested again after a round trip, at least after this, and at most as
/// often as libwebrtc does.
const NACK_AGAIN: Duration = Duration::from_millis(20);
const NACK_TRIES: u8 = 10;
/// Interval between PLIs while a keyframe is needed.
const PLI_AGAIN: Duration = Duration::from_millis(500);
/// The first one, since a keyframe may be on its way.
const FIRST_PLI: Duration = Duration::from_millis(50);
/// If more packets are missing at once, a keyframe is requested instead of them.
const MAX_MISSING: u64 = 1000;
/// The sender SSRC that receivers with unsignalled SSRCs use for RTCP.
const OWN_SSRC: u32 = 1;

#[derive(Debug, Default)]
struct Missing {
    last: Option<Instant>,
    tries: u8,
}

/// One RTP stream of the session.
#[derive(Debug)]
struct ReceivedStream {
    kind: Kind,
    ssrc: u32,
    nack: bool,
    /// Extended sequence number.
    highest: u64,
    missing: BTreeMap<u64, Missing>,
    /// Whether none has arrived yet, or a packet is lost for good.
    key_needed: bool,
    next_pli: Instant,
}

/// The meaning of an authentic packet.
#[derive(Debug)]
pub enum Taken<'a> {
    /// One of the publisher's.
    Packet(Arrived<'a>),
    /// An RTX packet without content, which probes the path.
    Probe,
    /// Unexplained.
    Strange,
}

/// A packet of the publisher's.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// As it came.
    pub rtp: Rtp<'a>,
    /// Audio or video.
    pub kind: Kind,
    /// The index of its section, and of its payload type in the section, in what was agreed on.
    pub place: (usize, usize),
    /// Whether it arrived as RTX.
    pub by_rtx: bool,
    /// The index of its stream, in order of appearance. RTX of an unsignalled stream belongs to the
    /// latest stream of its kind, if there is one.
    pub stream: Option<usize>,
    /// Sequence number in that stream.
    pub sequence: u16,
    /// The payload as the publisher sent it.
    pub body: &'a [u8],
    /// The number in it.
    pub index: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    sections: Vec<Section>,
    streams: Vec<ReceivedStream>,
    rtt: Duration,
    /// Whether it sends NACKs and PLIs by itself.
    pub automatic: bool,
    /// Packets that were asked for.
    pub nacks: u64,
    /// PLIs that were sent.
    pub plis: u64,
}

impl Viewer {
    /// A viewer of what was agreed on.
    pub fn new(agreed: &[Section]) -> Self {
        Self {
            sections: agreed.to_vec(),
            streams: Vec::new(),
            rtt: Duration::ZERO,
            automatic: true,
            nacks: 0,
            plis: 0,
        }
    }

    /// A session replaces an earlier one.
    pub fn begin(&mut self, agreed: &[Section]) {
        self.sections = agreed.to_vec();
        self.streams.clear();
    }

    /// What was agreed on.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The round-trip time of checks, which determines when NACKs are repeated.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Takes a packet that has been authenticated and decrypted.
    pub fn take<'a>(&mut self, now: Instant, data: &'a [u8]) -> Taken<'a> {
        let Some(rtp) = Rtp::read(data) else {
            return Taken::Strange;
        };
        let found = self.sections.iter().enumerate().find_map(|(n, section)| {
            let mut payloads = section.payloads.iter();
            let at = payloads.position(|p| p.pt == rtp.pt || p.rtx == Some(rtp.pt))?;
            Some((n, at))
        });
        let Some(place) = found else {
            return Taken::Strange;
        };
        let section = &self.sections[place.0];
        let (kind, payload) = (section.kind, &section.payloads[place.1]);
        let by_rtx = payload.pt != rtp.pt;
        let (sequence, body) = match rtp.payload.split_first_chunk() {
            Some((original, rest)) if by_rtx => (u16::from_be_bytes(*original), Some(rest)),
            _ => (rtp.sequence, Some(rtp.payload).filter(|_| !by_rtx)),
        };
        let Some((body, index)) = body.and_then(|body| Some((body, read_index(body)?))) else {
            return if by_rtx { Taken::Probe } else { Taken::Strange };
        };
        let (key, nack) = (is_key(&payload.codec, body), payload.nack);
        let stream = if by_rtx {
            self.streams.iter().rposition(|stream| stream.kind == kind)
        } else {
            Some(self.stream(now, kind, &rtp, nack))
        };
        if let Some(stream) = stream {
            self.streams[stream].take(sequence, key, nack);
        }
        Taken::Packet(Arrived {
            rtp,
            kind,
            place,
            by_rtx,
            stream,
            sequence,
            body,
            index,
        })
    }

    /// The index of a packet's stream, which is created with its first packet.
    fn stream(&mut self, now: Instant, kind: Kind, rtp: &Rtp<'_>, nack: bool) -> usize {
        let known = self.streams.iter().position(|s| s.ssrc == rtp.ssrc);
        known.unwrap_or_else(|| {
            self.streams.push(ReceivedStream {
                kind,
                ssrc: rtp.ssrc,
                nack,
                highest: 0x1_0000 + u64::from(rtp.sequence) - 1,
                missing: BTreeMap::new(),
                key_needed: kind == Kind::Video,
                next_pli: now + FIRST_PLI,
            });
            self.streams.len() - 1
        })
    }

    /// When [`Viewer::make`] is to be called next.
    pub fn next(&self) -> Option<Instant> {
        let again = self.again();
        let streams = self.streams.iter().filter(|_| self.automatic);
        streams.filter_map(|stream| stream.next(again)).min()
    }

    fn again(&self) -> Duration {
        self.rtt.max(NACK_AGAIN)
    }

    /// NACKs and PLIs that are due.
    pub fn make(&mut self, now: Instant) -> Option<Bytes> {
        let again = self.again();
        let mut packets: Vec<Box<dyn Rtcp>> = Vec::new();
        for stream in self.streams.iter_mut().filter(|_| self.automatic) {
            let wanted = stream.due(now, again);
            if !wanted.is_empty() {
                self.nacks += wanted.len() as u64;
                packets.push(Box::new(TransportLayerNack {
                    sender_ssrc: OWN_SSRC,
                    media_ssrc: stream.ssrc,
                    nacks: nack_pairs_from_sequence_numbers(&wanted),
                }));
            }
            if stream.key_needed && stream.next_pli <= now {
                stream.next_pli = now + PLI_AGAIN;
                self.plis += 1;
                packets.push(Box::new(pli(stream.ssrc)));
            }
        }
        (!packets.is_empty()).then(|| rtcp::write(&packets))
    }

    /// A PLI for the latest video stream, whether one is due or not.
    pub fn make_pli(&mut self) -> Option<Bytes> {
        let video = self.streams.iter().rfind(|s| s.kind == Kind::Video)?;
        self.plis += 1;
        Some(rtcp::write(&[Box::new(pli(video.ssrc))]))
    }
}

fn pli(media_ssrc: u32) -> PictureLossIndication {
    PictureLossIndication {
        sender_ssrc: OWN_SSRC,
        media_ssrc,
    }
}

impl ReceivedStream {
    fn take(&mut self, sequence: u16, key: bool, nack: bool) {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let Some(index) = self.highest.checked_add_signed(step) else {
            return;
        };
        self.missing.remove(&index);
        if index > self.highest {
            let gap = self.highest + 1..index;
            if nack && index - self.highest <= MAX_MISSING {
                self.missing
                    .extend(gap.map(|index| (index, Missing::default())));
            } else if nack {
                self.key_needed = true;
            }
            self.highest = index;
        }
        self.key_needed &= !key;
    }

    fn next(&self, again: Duration) -> Option<Instant> {
        // A packet that has just been found missing is requested at once: `make` runs after every
        // packet.
        let nack = self.missing.values().filter_map(|m| Some(m.last? + again));
        nack.chain(self.key_needed.then_some(self.next_pli)).min()
    }

    fn due(&mut self, now: Instant, again: Duration) -> Vec<u16> {
        let mut wanted = Vec::new();
        if !self.nack {
            return wanted;
        }
        let mut given_up = false;
        self.missing.retain(|index, missing| {
            if missing.last.is_some_and(|last| now < last + again) {
                return true;
            }
            if missing.tries >= NACK_TRIES {
                given_up = true;
                return false;
            }
            missing.tries += 1;
            missing.last = Some(now);
            wanted.push(*index as u16);
            true
        });
        self.key_needed |= given_up && self.kind == Kind::Video;
        wanted
    }
}

#[cfg(test)]
mod tests;
