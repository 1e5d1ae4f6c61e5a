//! A viewer's media: what came, in what order and by what way; NACKs and PLIs as a browser sends
//! them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::sdp::{Codec, Kind, Media, Negotiated};
use rtc_rtcp::packet::Packet as Rtcp;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc_rtp::Packet;
use rtc_shared::marshal::Unmarshal;

use super::ms;
use rekindle_client::payload::read_index;
use rekindle_client::rtcp;

/// A packet that is still missing is asked for again after so long, so often at most (libwebrtc: 10
/// times, a round trip apart).
const NACK_AGAIN: Duration = Duration::from_millis(100);
const NACK_TRIES: u8 = 10;
/// Without a keyframe where one is needed, a PLI goes out so often.
const PLI_AGAIN: Duration = Duration::from_millis(500);
/// A receiver with unsignalled SSRCs keeps to this one as a sender of RTCP.
const OWN_SSRC: u32 = 1;

#[derive(Debug, Clone)]
pub struct Got {
    pub at: Instant,
    pub timestamp: u32,
    pub marker: bool,
    pub codec: Codec,
    pub payload: Bytes,
    /// It came by RTX.
    pub by_rtx: bool,
    pub abs_send_time: Option<Bytes>,
    pub audio_level: Option<Bytes>,
}

#[derive(Debug)]
struct Missing {
    last: Option<Instant>,
    tries: u8,
}

/// One stream of the publisher, as this viewer sees it.
#[derive(Debug)]
pub struct Stream {
    pub kind: Kind,
    pub ssrc: u32,
    highest: u64,
    /// By the index that is in the payload.
    pub got: BTreeMap<u64, Got>,
    /// Indices in the order in which they came first.
    pub order: Vec<u64>,
    /// Packets that came again.
    pub again: u64,
    missing: BTreeMap<u64, Missing>,
    /// What the server adds to the publisher's sequence numbers.
    shift: u16,
    /// A keyframe is needed: none has come yet, or a packet is lost for good.
    key_needed: bool,
    last_pli: Option<Instant>,
}

pub struct Receiver {
    sections: Vec<Media>,
    pub streams: Vec<Stream>,
    /// Sends NACKs and PLIs by itself.
    pub automatic: bool,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub by_rtx: u64,
    /// Packets that no section explains.
    pub strange: u64,
    /// The server adds something to the sequence numbers of audio, as it does in full-state mode
    /// after a restart.
    pub renumbers_audio: bool,
    pub reports: Vec<(Instant, SenderReport)>,
    pub cnames: BTreeMap<u32, Bytes>,
}

impl Receiver {
    pub fn new(agreed: &Negotiated) -> Self {
        Self {
            sections: agreed.media.clone(),
            streams: Vec::new(),
            automatic: true,
            nacks_sent: 0,
            plis_sent: 0,
            by_rtx: 0,
            strange: 0,
            renumbers_audio: false,
            reports: Vec::new(),
            cnames: BTreeMap::new(),
        }
    }

    /// The latest stream of a kind.
    pub fn stream(&self, kind: Kind) -> Option<&Stream> {
        self.streams.iter().rfind(|stream| stream.kind == kind)
    }

    pub fn handle_rtp(&mut self, now: Instant, data: &[u8]) {
        let packet = Packet::unmarshal(&mut &data[..]).expect("the server writes valid RTP");
        let pt = packet.header.payload_type;
        let found = self.sections.iter().find_map(|section| {
            let payload = section
                .payloads
                .iter()
                .find(|p| p.pt == pt || p.rtx == Some(pt))?;
            let mid = packet.header.get_extension(section.extensions.mid?);
            // Unsignalled SSRCs: the section is told by MID.
            (mid.as_deref() == Some(section.mid.as_bytes())).then_some((section, payload))
        });
        let Some((section, payload)) = found else {
            self.strange += 1;
            return;
        };
        let (kind, by_rtx, codec) = (section.kind, payload.pt != pt, payload.codec.clone());
        let has_nack = payload.nack;
        let extension = |id: Option<u8>| packet.header.get_extension(id?);
        let got = Got {
            at: now,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            codec,
            payload: if by_rtx {
                packet.payload.slice(2..)
            } else {
                packet.payload.clone()
            },
            by_rtx,
            abs_send_time: extension(section.extensions.abs_send_time),
            audio_level: extension(section.extensions.audio_level),
        };
        self.by_rtx += u64::from(by_rtx);
        let ssrc = packet.header.ssrc;
        if by_rtx {
            // RTX of an unsignalled stream belongs to the latest stream of its kind.
            let sequence = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            match self.streams.iter_mut().rfind(|s| s.kind == kind) {
                Some(stream) => stream.take(now, sequence, got, has_nack),
                None => self.strange += 1,
            }
            return;
        }
        if self.streams.iter().all(|stream| stream.ssrc != ssrc) {
            self.streams.push(Stream {
                kind,
                ssrc,
                highest: 0x1_0000 + u64::from(packet.header.sequence_number) - 1,
                got: BTreeMap::new(),
                order: Vec::new(),
                again: 0,
                missing: BTreeMap::new(),
                shift: 0,
                key_needed: kind == Kind::Video,
                last_pli: None,
            });
        }
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.ssrc == ssrc)
            .unwrap();
        if self.renumbers_audio && kind == Kind::Audio {
            stream.shift = packet
                .header
                .sequence_number
                .wrapping_sub(read_index(&got.payload).expect("an index") as u16);
        }
        stream.take(now, packet.header.sequence_number, got, has_nack);
    }

    pub fn handle_rtcp(&mut self, now: Instant, data: &[u8]) {
        for packet in rtcp::read(data).expect("the server writes valid RTCP") {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                self.reports.push((now, report.clone()));
            } else if let Some(description) = packet.as_any().downcast_ref::<SourceDescription>() {
                for chunk in &description.chunks {
                    self.cnames
                        .insert(chunk.source, chunk.items[0].text.clone());
                }
            }
        }
    }

    /// When [`Receiver::make`] wants to be called.
    pub fn next(&self) -> Option<Instant> {
        self.streams
            .iter()
            .filter_map(Stream::next)
            .min()
            .filter(|_| self.automatic)
    }

    /// NACKs and PLIs that are due.
    pub fn make(&mut self, now: Instant) -> Option<Bytes> {
        let mut packets: Vec<Box<dyn Rtcp>> = Vec::new();
        for stream in self.streams.iter_mut().filter(|_| self.automatic) {
            let wanted = stream.due(now);
            if !wanted.is_empty() {
                self.nacks_sent += wanted.len() as u64;
                packets.push(Box::new(TransportLayerNack {
                    sender_ssrc: OWN_SSRC,
                    media_ssrc: stream.ssrc,
                    nacks: nack_pairs_from_sequence_numbers(&wanted),
                }));
            }
            if stream.pli_due(now) {
                self.plis_sent += 1;
                packets.push(Box::new(PictureLossIndication {
                    sender_ssrc: OWN_SSRC,
                    media_ssrc: stream.ssrc,
                }));
            }
        }
        (!packets.is_empty()).then(|| rtcp::write(&packets))
    }

    /// A PLI that the test wants now.
    pub fn pli(&mut self) -> Bytes {
        self.plis_sent += 1;
        let media_ssrc = self.stream(Kind::Video).expect("video came").ssrc;
        rtcp::write(&[Box::new(PictureLossIndication {
            sender_ssrc: OWN_SSRC,
            media_ssrc,
        })])
    }
}

impl Stream {
    fn take(&mut self, now: Instant, sequence: u16, got: Got, has_nack: bool) {
        let index = self
            .highest
            .wrapping_add_signed(i64::from(sequence.wrapping_sub(self.highest as u16) as i16));
        let marked = read_index(&got.payload).expect("an index");
        let numbered = (marked as u16).wrapping_add(self.shift);
        assert_eq!(
            numbered, sequence,
            "the payload belongs to its sequence number"
        );
        self.missing.remove(&index);
        if self.got.contains_key(&marked) {
            self.again += 1;
            return;
        }
        if index > self.highest {
            if has_nack {
                let gap = self.highest + 1..index;
                self.missing.extend(gap.map(|index| {
                    (
                        index,
                        Missing {
                            last: None,
                            tries: 0,
                        },
                    )
                }));
            }
            self.highest = index;
        }
        if is_key(&got) {
            self.key_needed = false;
        }
        self.order.push(marked);
        self.got.insert(marked, Got { at: now, ..got });
    }

    fn next(&self) -> Option<Instant> {
        let nack = self
            .missing
            .values()
            .map(|m| m.last.map_or(self.epoch(), |last| last + NACK_AGAIN));
        let pli = self.key_needed.then(|| {
            self.last_pli
                .map_or(self.epoch() + ms(50), |last| last + PLI_AGAIN)
        });
        nack.chain(pli).min()
    }

    /// When the first packet came.
    fn epoch(&self) -> Instant {
        self.got[&self.order[0]].at
    }

    fn due(&mut self, now: Instant) -> Vec<u16> {
        let mut wanted = Vec::new();
        self.missing.retain(|index, missing| {
            if missing.last.is_some_and(|last| now < last + NACK_AGAIN) {
                return true;
            }
            if missing.tries >= NACK_TRIES {
                self.key_needed = true;
                return false;
            }
            missing.tries += 1;
            missing.last = Some(now);
            wanted.push(*index as u16);
            true
        });
        wanted
    }

    fn pli_due(&mut self, now: Instant) -> bool {
        let soonest = self
            .last_pli
            .map_or(self.epoch() + ms(50), |last| last + PLI_AGAIN);
        let due = self.key_needed && now >= soonest;
        if due {
            self.last_pli = Some(now);
        }
        due
    }
}

fn is_key(got: &Got) -> bool {
    match got.codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => false,
        Codec::Vp8 => got.payload[0] == 0x10 && got.payload[1] == 0,
        Codec::Vp9 { .. } => got.payload[0] == 0x08,
        Codec::H264 { .. } => got.payload[0] == 0x65,
        Codec::H265 { .. } => got.payload[0] == 0x26,
        Codec::Av1 { .. } => got.payload[0] == 0x18,
    }
}
