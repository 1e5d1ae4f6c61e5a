//! RTCP (RFC 3550 §6, RFC 4585): the parts of a compound packet that the server acts on, and the
//! packets it writes.
//!
//! Incoming packets are read in place, so that a hostile packet cannot allocate memory. Outgoing
//! packets are written by `rtc-rtcp`. Feedback is sent in packets of reduced size (RFC 5506), which
//! every browser accepts.

use bytes::{Bytes, BytesMut};
use rtc_rtcp::Packet;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    NackPair, TransportLayerNack, nack_pairs_from_sequence_numbers,
};

/// The server's canonical name (RFC 7022 asks for one that tells nothing).
const CNAME: &[u8] = b"rekindle";
/// Most entries of one NACK packet, so that it fits a datagram.
const MAX_NACK_PAIRS: usize = 250;

/// Timing and counts of a sender report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SenderInfo {
    pub ntp_time: u64,
    pub rtp_time: u32,
    pub packet_count: u32,
    pub octet_count: u32,
}

/// One item of a compound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A sender report.
    SenderReport { ssrc: u32, info: SenderInfo },
    /// The canonical name of a source.
    Cname { ssrc: u32, name: &'a [u8] },
    /// A generic NACK (RFC 4585 §6.2.1): packet identifier and bit mask, 4 bytes each pair.
    Nack { ssrc: u32, pairs: &'a [u8] },
    /// A report block (RFC 3550 §6.4.1): the fraction of packets lost, in 1/256.
    Reception { fraction_lost: u8 },
    /// A PLI (RFC 4585 §6.3.1) or an entry of a FIR (RFC 5104 §4.3.1).
    KeyframeRequest { ssrc: u32 },
}

/// Reads a compound packet up to the first malformed part.
pub(super) fn read(packet: &[u8]) -> impl Iterator<Item = Item<'_>> {
    Parts { rest: packet }.flat_map(|part| part.items())
}

/// The sequence numbers that the pairs of [`Item::Nack`] name.
pub(super) fn nacked(pairs: &[u8]) -> impl Iterator<Item = u16> {
    pairs.chunks_exact(4).flat_map(|pair| {
        let packet_id = u16::from_be_bytes([pair[0], pair[1]]);
        NackPair {
            packet_id,
            lost_packets: u16::from_be_bytes([pair[2], pair[3]]),
        }
        .into_iter()
    })
}

struct Parts<'a> {
    rest: &'a [u8],
}

/// One RTCP packet of a compound.
struct Part<'a> {
    count: u8,
    kind: u8,
    /// What follows the 4 bytes of the common header, without padding.
    body: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        let length = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (mut body, rest) = rest.split_at_checked(length)?;
        if head[0] >> 6 != 2 {
            return None;
        }
        if head[0] & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        self.rest = rest;
        Some(Part {
            count: head[0] & 0x1F,
            kind: head[1],
            body,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Part<'a> {
    fn items(self) -> Box<dyn Iterator<Item = Item<'a>> + 'a> {
        let body = self.body;
        let one = |item: Option<Item<'a>>| -> Box<dyn Iterator<Item = Item<'a>> + 'a> {
            Box::new(item.into_iter())
        };
        match (self.kind, self.count) {
            (200, _) => one(sender_report(body)),
            (201, count) => {
                let blocks = body.get(4..).unwrap_or_default().chunks_exact(24);
                Box::new(blocks.take(count.into()).map(|block| Item::Reception {
                    fraction_lost: block[4],
                }))
            }
            (202, 1..) => one(cname(body)),
            (205, 1) => one(word(body, 4).and_then(|ssrc| {
                Some(Item::Nack {
                    ssrc,
                    pairs: body.get(8..)?,
                })
            })),
            (206, 1) => one(word(body, 4).map(|ssrc| Item::KeyframeRequest { ssrc })),
            (206, 4) => {
                let entries = body.get(8..).unwrap_or_default().chunks_exact(8);
                Box::new(entries.filter_map(|entry| {
                    Some(Item::KeyframeRequest {
                        ssrc: word(entry, 0)?,
                    })
                }))
            }
            _ => one(None),
        }
    }
}

fn sender_report<'a>(body: &[u8]) -> Option<Item<'a>> {
    let info = SenderInfo {
        ntp_time: (u64::from(word(body, 4)?) << 32) | u64::from(word(body, 8)?),
        rtp_time: word(body, 12)?,
        packet_count: word(body, 16)?,
        octet_count: word(body, 20)?,
    };
    Some(Item::SenderReport {
        ssrc: word(body, 0)?,
        info,
    })
}

/// The CNAME of the first chunk: an SDES packet of a browser has one chunk.
fn cname(body: &[u8]) -> Option<Item<'_>> {
    const CNAME_ITEM: u8 = 1;
    let ssrc = word(body, 0)?;
    let mut rest = body.get(4..)?;
    while let [kind @ 1..=255, length, after @ ..] = rest {
        let (name, after) = after.split_at_checked(usize::from(*length))?;
        if *kind == CNAME_ITEM {
            return Some(Item::Cname { ssrc, name });
        }
        rest = after;
    }
    None
}

fn write(packets: &[Box<dyn Packet>]) -> Option<BytesMut> {
    rtc_rtcp::packet::marshal(packets).ok()
}

fn description(ssrc: u32, name: &[u8]) -> Box<dyn Packet> {
    let item = SourceDescriptionItem {
        sdes_type: SdesType::SdesCname,
        text: Bytes::copy_from_slice(name),
    };
    Box::new(SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source: ssrc,
            items: vec![item],
        }],
    })
}

/// A receiver report with the server's description, and REMB (draft-alvestrand-rmcat-remb-03) with
/// a bitrate in bit/s where one is given.
pub(super) fn receiver_report(
    sender: u32,
    mut reports: Vec<ReceptionReport>,
    remb: Option<u64>,
) -> Option<BytesMut> {
    reports.truncate(31);
    let ssrcs = reports.iter().map(|report| report.ssrc).collect();
    let mut packets: Vec<Box<dyn Packet>> = vec![
        Box::new(ReceiverReport {
            ssrc: sender,
            reports,
            ..Default::default()
        }),
        description(sender, CNAME),
    ];
    if let Some(bitrate) = remb {
        let bitrate = bitrate as f32;
        packets.push(Box::new(ReceiverEstimatedMaximumBitrate {
            sender_ssrc: sender,
            bitrate,
            ssrcs,
        }));
    }
    write(&packets)
}

/// A publisher's sender report as viewers get it: without the publisher's own reception reports,
/// with its CNAME if that is known.
pub(super) fn sender_report_for_viewers(
    ssrc: u32,
    info: &SenderInfo,
    cname: Option<&[u8]>,
) -> Option<BytesMut> {
    let report = SenderReport {
        ssrc,
        ntp_time: info.ntp_time,
        rtp_time: info.rtp_time,
        packet_count: info.packet_count,
        octet_count: info.octet_count,
        ..Default::default()
    };
    let mut packets: Vec<Box<dyn Packet>> = vec![Box::new(report)];
    packets.extend(cname.map(|name| description(ssrc, name)));
    write(&packets)
}

/// NACKs for these sequence numbers, in as few packets as possible. The last numbers come first:
/// where the publisher cannot send all again, as right after a restart, the latest packets were
/// surely lost.
pub(super) fn nacks(sender: u32, media: u32, sequences: &[u16]) -> Vec<BytesMut> {
    let mut pairs = nack_pairs_from_sequence_numbers(sequences);
    pairs.reverse();
    let packets = pairs.chunks(MAX_NACK_PAIRS).filter_map(|pairs| {
        let nack = TransportLayerNack {
            sender_ssrc: sender,
            media_ssrc: media,
            nacks: pairs.to_vec(),
        };
        write(&[Box::new(nack)])
    });
    packets.collect()
}

/// A PLI.
pub(super) fn pli(sender: u32, media: u32) -> Option<BytesMut> {
    write(&[Box::new(PictureLossIndication {
        sender_ssrc: sender,
        media_ssrc: media,
    })])
}

/// Transport-wide feedback.
pub(super) fn transport_feedback(feedback: TransportLayerCc) -> Option<BytesMut> {
    write(&[Box::new(feedback)])
}

#[cfg(test)]
mod tests;
