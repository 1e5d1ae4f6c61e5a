//! A publisher's side of a session: the streams of a camera, a history from which NACKs are
//! answered, and sender reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rekindle_sdp::{Extensions, Kind, Media as Section, Payload};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_rtp::Packet;
use rtc_rtp::header::Header;
use rtc_shared::marshal::Marshal;

use crate::client::{Media, Outgoing};
use crate::payload::start_of_payload;
use crate::rtcp;

/// How long a sent packet can be retransmitted.
const HISTORY: Duration = Duration::from_secs(5);
/// Least time between two retransmissions of a packet.
const RESEND_PAUSE: Duration = Duration::from_millis(10);
/// The first report follows the first packets soon, for lip sync.
const FIRST_REPORT: Duration = Duration::from_millis(200);
const REPORT: Duration = Duration::from_secs(1);
const CNAME: &[u8] = b"camera";
/// A level that indicates speech (RFC 6464).
const AUDIO_LEVEL: u8 = 0x80 | 42;

/// A camera with a microphone, and their encoders.
pub trait Camera {
    /// Called at the first connection of this session.
    fn start(&mut self, _now: Instant) {}

    /// When a packet is due; `None` while it is off, and nothing is sent.
    fn next(&self) -> Option<Instant>;

    /// The next packet of a kind that is due.
    fn make(&mut self, kind: Kind, now: Instant, wish: Wish<'_>) -> Option<Made>;
}

/// What a packet is made for.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Whether a keyframe is needed: reset when a keyframe begins.
    pub key: &'a mut bool,
    /// Whether there is a connection on which it is sent.
    pub connected: bool,
}

/// A packet from a camera. All packets of a kind are numbered, and their payloads contain their
/// numbers.
#[derive(Debug, Clone)]
pub struct Made {
    /// The extended sequence number.
    pub index: u64,
    /// In units of the codec's clock.
    pub timestamp: u32,
    /// Whether it is the last of a frame.
    pub marker: bool,
    /// Whether it is the first of a frame.
    pub first: bool,
    /// Whether it belongs to a keyframe.
    pub key: bool,
    /// What follows the codec's first bytes and the number.
    pub filling: Filling,
    /// When it was due.
    pub at: Instant,
}

/// The content that no decoder sees.
#[derive(Debug, Clone)]
pub enum Filling {
    /// This many bytes, all equal to the number's last one.
    Same(usize),
    These(Bytes),
}

impl Made {
    /// The payload, with the codec's first bytes.
    pub fn payload(&self, codec: &rekindle_sdp::Codec) -> Bytes {
        let mut payload = BytesMut::new();
        payload.extend(start_of_payload(codec, self.key, self.first));
        payload.put_u64(self.index);
        match &self.filling {
            Filling::Same(length) => payload.put_bytes(self.index as u8, *length),
            Filling::These(bytes) => payload.put_slice(bytes),
        }
        payload.freeze()
    }
}

#[derive(Debug)]
struct Sent {
    made: Made,
    resent: Option<Instant>,
}

/// One stream of a session.
pub struct PublishedStream {
    /// Audio or video.
    pub kind: Kind,
    /// SSRC of the packets that are not RTX.
    pub ssrc: u32,
    rtx_ssrc: u32,
    /// The payload type that is sent, the first that was agreed on.
    pub payload: Payload,
    mid: String,
    extensions: Extensions,
    rtx_sequence: u16,
    key_wanted: bool,
    history: VecDeque<Sent>,
    packets: u32,
    octets: u32,
    timestamp: u32,
    /// Packets sent again.
    pub resent: u64,
}

/// See the module.
pub struct Publisher<C> {
    /// The source of the media.
    pub camera: C,
    /// One for each section.
    pub streams: Vec<PublishedStream>,
    /// Whether NACKs are answered.
    pub answers_nacks: bool,
    transport_sequence: u16,
    /// Transport-wide sequence numbers used.
    pub transport_sent: u64,
    began: Option<Instant>,
    next_report: Option<Instant>,
    /// The last reports as they were sent, for each stream.
    pub reports: Vec<SenderReport>,
}

impl<C: Camera> Publisher<C> {
    /// Streams for what was agreed on. `ssrcs`: audio, video, RTX of video.
    pub fn new(camera: C, agreed: &[Section], ssrcs: (u32, u32, u32)) -> Self {
        let (audio, video, rtx_ssrc) = ssrcs;
        let streams = agreed.iter().map(|section| PublishedStream {
            kind: section.kind,
            ssrc: match section.kind {
                Kind::Audio => audio,
                Kind::Video => video,
            },
            rtx_ssrc,
            payload: section.payloads[0].clone(),
            mid: section.mid.clone(),
            extensions: section.extensions,
            rtx_sequence: 1,
            key_wanted: true,
            history: VecDeque::new(),
            packets: 0,
            octets: 0,
            timestamp: 0,
            resent: 0,
        });
        Self {
            streams: streams.collect(),
            camera,
            answers_nacks: true,
            transport_sequence: 1,
            transport_sent: 0,
            began: None,
            next_report: None,
            reports: Vec::new(),
        }
    }

    fn make_media(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        for at in 0..self.streams.len() {
            loop {
                let stream = &mut self.streams[at];
                let wish = Wish {
                    key: &mut stream.key_wanted,
                    connected,
                };
                let Some(made) = self.camera.make(stream.kind, now, wish) else {
                    break;
                };
                if self.began.is_none() {
                    continue;
                }
                stream.timestamp = made.timestamp;
                while (stream.history.front()).is_some_and(|old| old.made.at + HISTORY < now) {
                    stream.history.pop_front();
                }
                stream.history.push_back(Sent {
                    made: made.clone(),
                    resent: None,
                });
                if connected {
                    let (ssrc, pt) = (stream.ssrc, stream.payload.pt);
                    let payload = made.payload(&stream.payload.codec);
                    stream.packets += 1;
                    stream.octets += payload.len() as u32;
                    let packet = self.packet(at, (ssrc, pt, made.index as u16), &made, payload);
                    out.rtp.push(packet);
                }
            }
        }
    }

    fn report(&mut self, now: Instant, out: &mut Outgoing) {
        let elapsed = now.saturating_duration_since(self.began.unwrap_or(now));
        let report = |stream: &PublishedStream| SenderReport {
            ssrc: stream.ssrc,
            // Whole seconds and fractions, as NTP counts them.
            ntp_time: ((4_000_000_000 + elapsed.as_secs()) << 32)
                | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000),
            rtp_time: stream.timestamp,
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        };
        self.reports = self.streams.iter().map(report).collect();
        for report in &self.reports {
            let item = SourceDescriptionItem {
                sdes_type: SdesType::SdesCname,
                text: Bytes::from_static(CNAME),
            };
            let description = SourceDescription {
                chunks: vec![SourceDescriptionChunk {
                    source: report.ssrc,
                    items: vec![item],
                }],
            };
            out.rtcp.push(rtcp::write(&[
                Box::new(report.clone()),
                Box::new(description),
            ]));
        }
    }

    /// A packet with its own SSRC, payload type and sequence number.
    fn packet(
        &mut self,
        at: usize,
        (ssrc, payload_type, sequence_number): (u32, u8, u16),
        made: &Made,
        payload: Bytes,
    ) -> Bytes {
        let stream = &self.streams[at];
        let mut header = Header {
            version: 2,
            marker: made.marker,
            payload_type,
            sequence_number,
            timestamp: made.timestamp,
            ssrc,
            ..Default::default()
        };
        let mut put = |id: Option<u8>, value: &[u8]| {
            if let Some(id) = id {
                header
                    .set_extension(id, Bytes::copy_from_slice(value))
                    .expect("a one-byte extension");
            }
        };
        let extensions = &stream.extensions;
        put(extensions.mid, stream.mid.as_bytes());
        put(extensions.abs_send_time, &made.timestamp.to_be_bytes()[1..]);
        put(extensions.audio_level, &[AUDIO_LEVEL]);
        if extensions.transport_cc.is_some() {
            let sequence = self.transport_sequence.to_be_bytes();
            put(extensions.transport_cc, &sequence);
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            self.transport_sent += 1;
        }
        Packet { header, payload }
            .marshal()
            .expect("a packet of our own")
            .freeze()
    }

    fn resend(&mut self, now: Instant, ssrc: u32, sequence: u16, out: &mut Outgoing) {
        let Some(at) = self.streams.iter().position(|stream| stream.ssrc == ssrc) else {
            return;
        };
        let stream = &mut self.streams[at];
        let Some(highest) = stream.history.back().map(|sent| sent.made.index) else {
            return;
        };
        let behind = u64::from((highest as u16).wrapping_sub(sequence));
        // The history has no holes: every packet of this kind is in it.
        let place = (stream.history.len() as u64).checked_sub(behind + 1);
        let Some(sent) = place.and_then(|place| stream.history.get_mut(place as usize)) else {
            return;
        };
        let too_soon = sent.resent.is_some_and(|last| now < last + RESEND_PAUSE);
        if too_soon || now > sent.made.at + HISTORY {
            return;
        }
        sent.resent = Some(now);
        let made = sent.made.clone();
        stream.resent += 1;
        let payload = made.payload(&stream.payload.codec);
        let packet = match stream.payload.rtx {
            // RFC 4588 §4: the original's sequence number comes first.
            Some(pt) => {
                let numbers = (stream.rtx_ssrc, pt, stream.rtx_sequence);
                stream.rtx_sequence = stream.rtx_sequence.wrapping_add(1);
                let mut repeated = BytesMut::from(&sequence.to_be_bytes()[..]);
                repeated.extend(&payload);
                self.packet(at, numbers, &made, repeated.freeze())
            }
            None => {
                let pt = stream.payload.pt;
                self.packet(at, (ssrc, pt, sequence), &made, payload)
            }
        };
        out.rtp.push(packet);
    }
}

impl<C: Camera> Media for Publisher<C> {
    /// The streams begin with the first connection; from then on the encoders never stop.
    fn connected(&mut self, now: Instant) {
        if self.began.is_none() {
            self.began = Some(now);
            self.next_report = Some(now + FIRST_REPORT);
            self.camera.start(now);
        }
    }

    /// A publisher receives no media.
    fn take_rtp(&mut self, _now: Instant, _data: &[u8], _out: &mut Outgoing) {}

    /// Answers NACKs, and requests a keyframe after a PLI.
    fn take_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        for packet in rtcp::read(data).unwrap_or_default() {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let lost = nack.nacks.iter().flat_map(|pair| pair.packet_list());
                for sequence in lost.filter(|_| self.answers_nacks).collect::<Vec<_>>() {
                    self.resend(now, nack.media_ssrc, sequence, out);
                }
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>()
                && let Some(stream) = self.streams.iter_mut().find(|s| s.ssrc == pli.media_ssrc)
            {
                stream.key_wanted = true;
            }
        }
    }

    fn next_timeout(&self, _connected: bool) -> Option<Instant> {
        let media = self.camera.next()?;
        Some(self.next_report.map_or(media, |report| report.min(media)))
    }

    /// Without a connection nothing is sent, but what is made can be requested later.
    fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        if self.camera.next().is_none() {
            return;
        }
        self.make_media(now, connected, out);
        if self.next_report.is_some_and(|next| next <= now) {
            self.next_report = Some(now + REPORT);
            if connected {
                self.report(now, out);
            }
        }
    }
}
