//! A viewer, and all that came: in what order and by what way.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use rekindle::sdp::{Codec, Kind, Negotiated};
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtp::Packet;
use rtc_shared::marshal::Unmarshal;

use rekindle_client::rtcp;
use rekindle_client::viewer::{Taken, Viewer};

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

/// One stream of the publisher, as this viewer sees it.
#[derive(Debug)]
pub struct Stream {
    pub kind: Kind,
    pub ssrc: u32,
    /// By the index that is in the payload.
    pub got: BTreeMap<u64, Got>,
    /// Indices in the order in which they came first.
    pub order: Vec<u64>,
    /// Packets that came again.
    pub again: u64,
    /// What the server adds to the publisher's sequence numbers.
    shift: u16,
}

pub struct Receiver {
    pub viewer: Viewer,
    pub streams: Vec<Stream>,
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
            viewer: Viewer::new(&agreed.media),
            streams: Vec::new(),
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
        let arrived = match self.viewer.take(now, data) {
            Taken::Packet(arrived) => arrived,
            Taken::Probe | Taken::Strange => {
                self.strange += 1;
                return;
            }
        };
        let section = &self.viewer.sections()[arrived.place.0];
        let extension = |id: Option<u8>| packet.header.get_extension(id?);
        // Unsignalled SSRCs: the section is told by MID.
        let mid = extension(section.extensions.mid);
        let is_told = mid.is_some_and(|mid| mid == section.mid.as_bytes());
        let Some(stream) = arrived.stream.filter(|_| is_told) else {
            self.strange += 1;
            return;
        };
        let got = Got {
            at: now,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            codec: section.payloads[arrived.place.1].codec.clone(),
            payload: Bytes::copy_from_slice(arrived.body),
            by_rtx: arrived.by_rtx,
            abs_send_time: extension(section.extensions.abs_send_time),
            audio_level: extension(section.extensions.audio_level),
        };
        self.by_rtx += u64::from(arrived.by_rtx);
        if stream == self.streams.len() {
            self.streams.push(Stream {
                kind: arrived.kind,
                ssrc: packet.header.ssrc,
                got: BTreeMap::new(),
                order: Vec::new(),
                again: 0,
                shift: 0,
            });
        }
        let stream = &mut self.streams[stream];
        if !arrived.by_rtx && self.renumbers_audio && arrived.kind == Kind::Audio {
            stream.shift = arrived.sequence.wrapping_sub(arrived.index as u16);
        }
        assert_eq!(
            (arrived.index as u16).wrapping_add(stream.shift),
            arrived.sequence,
            "the payload belongs to its sequence number"
        );
        if stream.got.contains_key(&arrived.index) {
            stream.again += 1;
            return;
        }
        stream.order.push(arrived.index);
        stream.got.insert(arrived.index, got);
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

    /// A PLI that the test wants now.
    pub fn pli(&mut self) -> Bytes {
        self.viewer.make_pli().expect("video came")
    }
}
