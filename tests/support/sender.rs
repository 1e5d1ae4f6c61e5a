//! A publisher, and all that the server told it about its media.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use rekindle::sdp::{Kind, Negotiated, Payload};
use rekindle_client::client::{Media, Outgoing};
use rekindle_client::publisher::Publisher;
use rekindle_client::rtcp;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::Random;
use super::camera::{Camera, Sent};

/// One stream, and what was said about it.
pub struct Stream<'a> {
    pub kind: Kind,
    pub ssrc: u32,
    pub payload: &'a Payload,
    /// Index (extended sequence number) of the next packet.
    pub next_index: u64,
    /// All packets ever sent, by index.
    pub sent: &'a BTreeMap<u64, Sent>,
    pub plis: &'a [Instant],
    /// When which index was asked for.
    pub nacks: &'a [(Instant, u64)],
    pub resent: u64,
}

/// What was asked for, by SSRC.
#[derive(Default)]
struct Asked {
    plis: Vec<Instant>,
    nacks: Vec<(Instant, u64)>,
}

pub struct Sender {
    publisher: Publisher<Camera>,
    asked: BTreeMap<u32, Asked>,
    pub reports: Vec<ReceptionReport>,
    /// Transport-wide sequence numbers that the server said it received, and when it said so.
    pub acknowledged: Vec<(Instant, u16)>,
    pub feedback: Vec<(Instant, TransportLayerCc)>,
    pub remb: Vec<f32>,
    /// Sender reports as sent.
    pub sender_reports: Vec<SenderReport>,
}

impl Deref for Sender {
    type Target = Publisher<Camera>;

    fn deref(&self) -> &Self::Target {
        &self.publisher
    }
}

impl DerefMut for Sender {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.publisher
    }
}

impl Sender {
    /// Streams for what was agreed on. `first` is the sequence number to start with; drawn where
    /// absent.
    pub fn new(
        agreed: &Negotiated,
        ssrcs: (u32, u32, u32),
        first: Option<u16>,
        random: Random,
        now: Instant,
    ) -> Self {
        let kinds = agreed
            .media
            .iter()
            .map(|m| (m.kind, m.payloads[0].codec.clone()));
        let publisher =
            Publisher::new(Camera::new(kinds, first, random, now), &agreed.media, ssrcs);
        let ssrcs = publisher.streams.iter().map(|stream| stream.ssrc);
        Self {
            asked: ssrcs.map(|ssrc| (ssrc, Asked::default())).collect(),
            publisher,
            reports: Vec::new(),
            acknowledged: Vec::new(),
            feedback: Vec::new(),
            remb: Vec::new(),
            sender_reports: Vec::new(),
        }
    }

    pub fn stream(&self, kind: Kind) -> Stream<'_> {
        self.streams().find(|stream| stream.kind == kind).unwrap()
    }

    pub fn streams(&self) -> impl Iterator<Item = Stream<'_>> {
        self.publisher.streams.iter().map(|stream| {
            let (track, asked) = (self.camera.track(stream.kind), &self.asked[&stream.ssrc]);
            Stream {
                kind: stream.kind,
                ssrc: stream.ssrc,
                payload: &stream.payload,
                next_index: track.next_index,
                sent: &track.sent,
                plis: &asked.plis,
                nacks: &asked.nacks,
                resent: stream.resent,
            }
        })
    }

    pub fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        let before = out.rtcp.len();
        self.publisher.make(now, connected, out);
        if out.rtcp.len() > before {
            let reports = self.publisher.reports.iter().cloned();
            self.sender_reports.extend(reports);
        }
    }

    /// Takes RTCP from the server, notes what it says, and does what it asks.
    pub fn take_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        for packet in rtcp::read(data).expect("the server writes valid RTCP") {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let highest = self.next_index_of(nack.media_ssrc) - 1;
                let asked = self.asked.get_mut(&nack.media_ssrc).unwrap();
                for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                    let step = i64::from(sequence.wrapping_sub(highest as u16) as i16);
                    asked.nacks.push((now, highest.wrapping_add_signed(step)));
                }
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                let asked = self.asked.get_mut(&pli.media_ssrc);
                asked.expect("a PLI for a stream we send").plis.push(now);
            } else if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                self.handle_feedback(now, feedback);
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.reports.extend(report.reports.iter().cloned());
            } else if let Some(remb) = packet.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
                self.remb.push(remb.bitrate);
            }
        }
        self.publisher.take_rtcp(now, data, out);
    }

    fn next_index_of(&self, ssrc: u32) -> u64 {
        let stream = self.streams().find(|stream| stream.ssrc == ssrc);
        stream.expect("a NACK for a stream we send").next_index
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
