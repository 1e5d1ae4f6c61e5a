//! A publisher's media: an audio and a video stream whose every packet can be told from all others,
//! a history for retransmissions, and what the server told about them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rekindle::sdp::{Extensions, Kind, Negotiated, Payload};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_rtp::Packet;
use rtc_rtp::header::Header;
use rtc_shared::marshal::Marshal;

use super::{Random, ms};
use rekindle_client::payload::start_of_payload;
use rekindle_client::rtcp;

/// How long a sent packet can be sent again.
const HISTORY: Duration = Duration::from_secs(5);
/// A packet is not sent again sooner than this after the last time.
const RESEND_PAUSE: Duration = Duration::from_millis(10);
const CNAME: &[u8] = b"camera";

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
    resent: Option<Instant>,
}

pub struct Stream {
    pub kind: Kind,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub payload: Payload,
    mid: String,
    extensions: Extensions,
    /// Index (extended sequence number) of the next packet.
    pub next_index: u64,
    rtx_sequence: u16,
    timestamp: u32,
    due: Instant,
    key_wanted: bool,
    /// All packets ever sent, by index.
    pub sent: BTreeMap<u64, Sent>,
    packets: u32,
    octets: u32,
    pub plis: Vec<Instant>,
    /// When which index was asked for.
    pub nacks: Vec<(Instant, u64)>,
    pub resent: u64,
}

pub struct Sender {
    pub streams: Vec<Stream>,
    /// Packets of a video frame.
    pub frame_packets: u64,
    /// The camera is on.
    pub running: bool,
    /// Whether NACKs are answered.
    pub answers_nacks: bool,
    random: Random,
    started: Option<Instant>,
    transport_sequence: u16,
    next_report: Option<Instant>,
    pub reports: Vec<ReceptionReport>,
    /// Transport-wide sequence numbers that the server said it received, and when it said so.
    pub acknowledged: Vec<(Instant, u16)>,
    pub feedback: Vec<(Instant, TransportLayerCc)>,
    /// Transport-wide sequence numbers used.
    pub transport_sent: u64,
    pub remb: Vec<f32>,
    /// Sender reports as sent, by SSRC.
    pub sender_reports: Vec<SenderReport>,
}

impl Sender {
    /// Streams for what was agreed on. `first` is the sequence number to start with; drawn where
    /// absent.
    pub fn new(
        agreed: &Negotiated,
        ssrcs: (u32, u32, u32),
        first: Option<u16>,
        mut random: Random,
        now: Instant,
    ) -> Self {
        let (audio, video, rtx) = ssrcs;
        let streams = agreed.media.iter().map(|media| Stream {
            kind: media.kind,
            ssrc: if media.kind == Kind::Audio {
                audio
            } else {
                video
            },
            rtx_ssrc: rtx,
            payload: media.payloads[0].clone(),
            mid: media.mid.clone(),
            extensions: media.extensions,
            next_index: 0x1_0000 + u64::from(first.unwrap_or_else(|| random.draw() as u16)),
            rtx_sequence: random.draw() as u16,
            timestamp: random.draw() as u32,
            due: now,
            key_wanted: true,
            sent: BTreeMap::new(),
            packets: 0,
            octets: 0,
            plis: Vec::new(),
            nacks: Vec::new(),
            resent: 0,
        });
        Self {
            streams: streams.collect(),
            frame_packets: 3,
            running: true,
            answers_nacks: true,
            started: None,
            transport_sequence: random.draw() as u16,
            random,
            next_report: None,
            reports: Vec::new(),
            acknowledged: Vec::new(),
            feedback: Vec::new(),
            transport_sent: 0,
            remb: Vec::new(),
            sender_reports: Vec::new(),
        }
    }

    pub fn stream(&self, kind: Kind) -> &Stream {
        self.streams
            .iter()
            .find(|stream| stream.kind == kind)
            .unwrap()
    }

    pub fn stream_mut(&mut self, kind: Kind) -> &mut Stream {
        self.streams
            .iter_mut()
            .find(|stream| stream.kind == kind)
            .unwrap()
    }

    /// The encoder starts with the first connection, and never stops again.
    pub fn start(&mut self, now: Instant) {
        if self.started.is_none() {
            self.started = Some(now);
            self.next_report = Some(now + ms(200));
            for stream in &mut self.streams {
                stream.due = now;
            }
        }
    }

    /// The camera is on again.
    pub fn resume(&mut self, now: Instant) {
        self.running = true;
        for stream in &mut self.streams {
            stream.due = now;
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.started?;
        let media = self.streams.iter().map(|stream| stream.due);
        media.chain(self.next_report).min().filter(|_| self.running)
    }

    /// Makes what is due: RTP and RTCP packets, not yet encrypted.
    pub fn make(
        &mut self,
        now: Instant,
        connected: bool,
        rtp: &mut Vec<Bytes>,
        reports: &mut Vec<Bytes>,
    ) {
        if self.started.is_none() || !self.running {
            return;
        }
        for at in 0..self.streams.len() {
            while self.streams[at].due <= now {
                self.frame(at, connected, rtp);
            }
        }
        if self.next_report.is_some_and(|next| next <= now) {
            self.next_report = Some(now + ms(1000));
            if connected {
                let made: Vec<Bytes> = self
                    .streams
                    .iter()
                    .map(|s| self.sender_report(s, now))
                    .collect();
                reports.extend(made);
                let own = self
                    .streams
                    .iter()
                    .map(|s| self.report_of(s, now))
                    .collect::<Vec<_>>();
                self.sender_reports.extend(own);
            }
        }
    }

    fn report_of(&self, stream: &Stream, now: Instant) -> SenderReport {
        let elapsed = now.duration_since(self.started.unwrap());
        SenderReport {
            ssrc: stream.ssrc,
            // Whole seconds and fractions, as NTP counts them.
            ntp_time: ((4_000_000_000 + elapsed.as_secs()) << 32)
                | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000),
            rtp_time: stream.timestamp,
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        }
    }

    fn sender_report(&self, stream: &Stream, now: Instant) -> Bytes {
        let item = SourceDescriptionItem {
            sdes_type: SdesType::SdesCname,
            text: Bytes::from_static(CNAME),
        };
        let description = SourceDescription {
            chunks: vec![SourceDescriptionChunk {
                source: stream.ssrc,
                items: vec![item],
            }],
        };
        rtcp::write(&[Box::new(self.report_of(stream, now)), Box::new(description)])
    }

    /// One video frame, or one audio packet.
    fn frame(&mut self, at: usize, connected: bool, out: &mut Vec<Bytes>) {
        let stream = &mut self.streams[at];
        let now = stream.due;
        let (packets, pause, step) = match stream.kind {
            Kind::Audio => (1, ms(20), 960),
            Kind::Video => (self.frame_packets, Duration::from_micros(33_333), 3000),
        };
        stream.due += pause;
        stream.timestamp = stream.timestamp.wrapping_add(step);
        let key = stream.kind == Kind::Video && std::mem::take(&mut stream.key_wanted);
        for n in 0..packets {
            let stream = &mut self.streams[at];
            let index = stream.next_index;
            stream.next_index += 1;
            let mut payload = BytesMut::new();
            payload.extend(start_of_payload(&stream.payload.codec, key, n == 0));
            payload.extend(index.to_be_bytes());
            payload.extend((0..20 + self.random.below(900)).map(|_| self.random.draw() as u8));
            let sent = Sent {
                at: now,
                timestamp: stream.timestamp,
                marker: n + 1 == packets,
                payload: payload.freeze(),
                key,
                on_wire: connected,
                resent: None,
            };
            stream.sent.insert(index, sent.clone());
            if connected {
                stream.packets += 1;
                stream.octets += sent.payload.len() as u32;
                let (ssrc, pt) = (stream.ssrc, stream.payload.pt);
                out.push(self.packet(at, ssrc, pt, index as u16, &sent, sent.payload.clone()));
            }
        }
    }

    fn packet(
        &mut self,
        at: usize,
        ssrc: u32,
        pt: u8,
        sequence: u16,
        sent: &Sent,
        payload: Bytes,
    ) -> Bytes {
        let stream = &self.streams[at];
        let mut header = Header {
            version: 2,
            marker: sent.marker,
            payload_type: pt,
            sequence_number: sequence,
            timestamp: sent.timestamp,
            ssrc,
            ..Default::default()
        };
        let mut put = |id: Option<u8>, value: &[u8]| {
            if let Some(id) = id {
                header
                    .set_extension(id, Bytes::copy_from_slice(value))
                    .unwrap();
            }
        };
        put(stream.extensions.mid, stream.mid.as_bytes());
        put(
            stream.extensions.abs_send_time,
            &sent.timestamp.to_be_bytes()[1..],
        );
        put(stream.extensions.audio_level, &[0x80 | 42]);
        if stream.extensions.transport_cc.is_some() {
            put(
                stream.extensions.transport_cc,
                &self.transport_sequence.to_be_bytes(),
            );
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            self.transport_sent += 1;
        }
        Packet { header, payload }.marshal().unwrap().freeze()
    }

    /// Takes RTCP from the server; retransmissions go to `out`.
    pub fn handle_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Vec<Bytes>) {
        for packet in rtcp::read(data).expect("the server writes valid RTCP") {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let sequences = nack.nacks.iter().flat_map(|pair| pair.packet_list());
                for sequence in sequences {
                    self.handle_nack(now, nack.media_ssrc, sequence, out);
                }
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                let stream = self
                    .streams
                    .iter_mut()
                    .find(|s| s.ssrc == pli.media_ssrc)
                    .expect("a PLI for a stream we send");
                stream.plis.push(now);
                stream.key_wanted = true;
            } else if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                self.handle_feedback(now, feedback);
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.reports.extend(report.reports.iter().cloned());
            } else if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
                self.remb.push(remb.bitrate);
            }
        }
    }

    fn handle_nack(&mut self, now: Instant, ssrc: u32, sequence: u16, out: &mut Vec<Bytes>) {
        let at = self
            .streams
            .iter()
            .position(|s| s.ssrc == ssrc)
            .expect("a NACK for a stream we send");
        let stream = &mut self.streams[at];
        let highest = stream.next_index - 1;
        let index =
            highest.wrapping_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16));
        stream.nacks.push((now, index));
        let connected_at_all = self.answers_nacks;
        let Some(sent) = stream.sent.get_mut(&index).filter(|_| connected_at_all) else {
            return;
        };
        let too_soon = sent.resent.is_some_and(|last| now < last + RESEND_PAUSE);
        if too_soon || now > sent.at + HISTORY {
            return;
        }
        sent.resent = Some(now);
        stream.resent += 1;
        let sent = sent.clone();
        match stream.payload.rtx {
            Some(pt) => {
                let (rtx_ssrc, rtx_sequence) = (stream.rtx_ssrc, stream.rtx_sequence);
                stream.rtx_sequence = rtx_sequence.wrapping_add(1);
                let mut payload = BytesMut::from(&sequence.to_be_bytes()[..]);
                payload.extend(&sent.payload);
                out.push(self.packet(at, rtx_ssrc, pt, rtx_sequence, &sent, payload.freeze()));
            }
            None => {
                let (ssrc, pt) = (stream.ssrc, stream.payload.pt);
                out.push(self.packet(at, ssrc, pt, sequence, &sent, sent.payload.clone()));
            }
        }
    }

    fn handle_feedback(&mut self, now: Instant, feedback: &TransportLayerCc) {
        let mut symbols = Vec::new();
        for chunk in &feedback.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    symbols.extend(std::iter::repeat_n(
                        run.packet_status_symbol,
                        run.run_length.into(),
                    ));
                }
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(&vector.symbol_list),
            }
        }
        let count = usize::from(feedback.packet_status_count);
        for (n, symbol) in symbols.into_iter().take(count).enumerate() {
            if symbol != SymbolTypeTcc::PacketNotReceived {
                self.acknowledged
                    .push((now, feedback.base_sequence_number.wrapping_add(n as u16)));
            }
        }
        self.feedback.push((now, feedback.clone()));
    }
}
