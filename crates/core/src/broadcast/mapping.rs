//! How a publisher's packets look to a viewer: with the payload types, header extension ids and MID
//! of the viewer's own SDP.
//!
//! The same packet always results in the same bytes for the same viewer: a retransmission on the
//! original SSRC is protected under an SRTP index that was used before, and two different
//! plaintexts under one index would break AES-GCM.

use rekindle_sdp::{Codec, Media, Negotiated, Payload};

use super::rtp::{Head, NewElements, Packet};

/// What one or more viewers agreed on. Viewers with equal mappings share the rewriting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    sections: Vec<Media>,
}

/// Reused between packets.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    elements: NewElements,
    /// The rewritten packet.
    pub packet: Vec<u8>,
}

/// The RTX stream of a retransmission (RFC 4588).
#[derive(Debug, Clone, Copy)]
pub(super) struct Rtx {
    pub ssrc: u32,
    pub sequence: u16,
}

/// The codec of a publisher's payload type.
pub(super) fn codec(source: &Media, payload_type: u8) -> Option<&Codec> {
    source
        .payloads
        .iter()
        .find(|payload| payload.pt == payload_type)
        .map(|payload| &payload.codec)
}

impl Mapping {
    pub(super) fn new(negotiated: &Negotiated) -> Self {
        let sections = negotiated.media.iter().cloned().map(|section| Media {
            ssrcs: Vec::new(),
            ..section
        });
        Self {
            sections: sections.collect(),
        }
    }

    fn target(&self, source: &Media, packet: &Packet) -> Option<(&Media, &Payload)> {
        let codec = codec(source, packet.header.payload_type)?;
        let sections = self
            .sections
            .iter()
            .filter(|section| section.kind == source.kind);
        sections
            .flat_map(|section| section.payloads.iter().map(move |p| (section, p)))
            .filter_map(|(section, p)| Some((p.codec.serves(codec)?, section, p)))
            .min_by_key(|(rank, ..)| *rank)
            .map(|(_, section, p)| (section, p))
    }

    /// Whether RTX was agreed for this packet's codec.
    pub(super) fn has_rtx(&self, source: &Media, packet: &Packet) -> bool {
        self.target(source, packet)
            .is_some_and(|(_, payload)| payload.rtx.is_some())
    }

    /// Rewrites a packet, or wraps it for retransmission. Returns false where the viewer did not
    /// agree on its codec, or on RTX for it.
    pub(super) fn rewrite(
        &self,
        source: &Media,
        packet: &Packet,
        rtx: Option<Rtx>,
        buffers: &mut Buffers,
    ) -> bool {
        let Some((section, payload)) = self.target(source, packet) else {
            return false;
        };
        let (theirs, ours) = (&source.extensions, &section.extensions);
        let elements = &mut buffers.elements;
        elements.clear();
        if let Some(id) = ours.mid {
            elements.put(id, section.mid.as_bytes());
        }
        let pairs = [
            (theirs.abs_send_time, ours.abs_send_time),
            (theirs.video_orientation, ours.video_orientation),
            (theirs.audio_level, ours.audio_level),
        ];
        for (from, to) in pairs {
            let Some((from, to)) = from.zip(to) else {
                continue;
            };
            if let Some(value) = packet.extension(from) {
                elements.put(to, value);
            }
        }
        // It was agreed on only with viewers that accept both forms.
        let descriptor = theirs
            .dependency_descriptor
            .and_then(|id| packet.extension(id));
        if let Some((id, value)) = ours.dependency_descriptor.zip(descriptor) {
            elements.put_any(id, value);
        }
        let header = &packet.header;
        let (payload_type, ssrc, sequence) = match rtx {
            None => (payload.pt, header.ssrc, header.sequence),
            Some(rtx) => {
                let Some(payload_type) = payload.rtx else {
                    return false;
                };
                (payload_type, rtx.ssrc, rtx.sequence)
            }
        };
        let head = Head {
            payload_type,
            sequence,
            ssrc,
            extensions: elements,
            retransmission: rtx.is_some(),
        };
        packet.write(&head, &mut buffers.packet);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broadcast::rtp::{Header, packet};
    use rekindle_sdp::{Extensions, Kind, Ssrc};

    /// A video section with VP8 and its RTX.
    /// A section with Opus.
    pub fn audio(mid: &str, extensions: Extensions, ssrcs: Vec<Ssrc>) -> Media {
        let opus = Payload {
            pt: 111,
            codec: Codec::Opus,
            rtx: None,
            nack: false,
            pli: false,
            transport_cc: true,
            remb: false,
        };
        Media {
            kind: Kind::Audio,
            mid: mid.to_owned(),
            payloads: vec![opus],
            extensions,
            ssrcs,
        }
    }

    pub fn video(mid: &str, pt: u8, extensions: Extensions, ssrcs: Vec<Ssrc>) -> Media {
        let vp8 = Payload {
            pt,
            codec: Codec::Vp8,
            rtx: Some(pt + 1),
            nack: true,
            pli: true,
            transport_cc: true,
            remb: true,
        };
        Media {
            kind: Kind::Video,
            mid: mid.to_owned(),
            payloads: vec![vp8],
            extensions,
            ssrcs,
        }
    }

    fn publisher() -> Media {
        let ids = Extensions {
            mid: Some(4),
            transport_cc: Some(3),
            abs_send_time: Some(2),
            video_orientation: Some(5),
            audio_level: None,
            dependency_descriptor: Some(8),
        };
        video("1", 96, ids, vec![])
    }

    fn mapping(ids: Extensions) -> Mapping {
        Mapping {
            sections: vec![video("vid", 120, ids, vec![])],
        }
    }

    // MID "1", transport-cc 9, abs-send-time 1 2 3
    const ELEMENTS: [u8; 9] = [0x40, b'1', 0x31, 0, 9, 0x22, 1, 2, 3];

    #[test]
    fn payload_type_ids_and_mid_become_the_viewers() {
        let ids = Extensions {
            mid: Some(9),
            abs_send_time: Some(10),
            video_orientation: Some(3),
            ..Default::default()
        };
        let original = packet(77, 96, 5, &ELEMENTS, b"media");
        let mut buffers = Buffers::default();
        assert!(mapping(ids).rewrite(&publisher(), &original, None, &mut buffers));
        let header = Header::parse(&buffers.packet).unwrap();
        assert_eq!(
            (header.payload_type, header.ssrc, header.sequence),
            (120, 77, 5)
        );
        assert_eq!(header.timestamp, original.header.timestamp);
        let elements: Vec<_> = header.extensions(&buffers.packet).collect();
        assert_eq!(
            elements,
            [(9, &b"vid"[..]), (10, &[1, 2, 3][..])],
            "transport-cc is stripped"
        );
        assert!(buffers.packet.ends_with(b"media"));
        let first = buffers.packet.clone();
        assert!(mapping(ids).rewrite(&publisher(), &original, None, &mut buffers));
        assert_eq!(buffers.packet, first, "the same bytes each time");
    }

    #[test]
    fn a_long_dependency_descriptor_passes_to_who_agreed_on_it() {
        let ids = Extensions {
            mid: Some(9),
            dependency_descriptor: Some(7),
            ..Default::default()
        };
        let descriptor = [0x55; 30];
        let mut wire = vec![
            0x90, 96, 0, 5, 0, 0, 0, 0, 0, 0, 0, 77, 0x10, 0, 0, 8, 8, 30,
        ];
        wire.extend(descriptor);
        wire.extend(b"media");
        let original = Packet::parse(wire.into()).unwrap();
        let mut buffers = Buffers::default();
        assert!(mapping(ids).rewrite(&publisher(), &original, None, &mut buffers));
        let header = Header::parse(&buffers.packet).unwrap();
        let elements: Vec<_> = header.extensions(&buffers.packet).collect();
        assert_eq!(elements, [(9, &b"vid"[..]), (7, &descriptor[..])]);
        let without = Extensions {
            dependency_descriptor: None,
            ..ids
        };
        assert!(mapping(without).rewrite(&publisher(), &original, None, &mut buffers));
        let header = Header::parse(&buffers.packet).unwrap();
        assert_eq!(
            header.extensions(&buffers.packet).collect::<Vec<_>>(),
            [(9, &b"vid"[..])]
        );
    }

    #[test]
    fn a_viewer_without_extensions_gets_a_packet_without() {
        let mut buffers = Buffers::default();
        let original = packet(77, 96, 5, &ELEMENTS, b"media");
        assert!(mapping(Extensions::default()).rewrite(
            &publisher(),
            &original,
            None,
            &mut buffers
        ));
        assert_eq!(buffers.packet[0], 0x80);
        assert_eq!(buffers.packet.len(), 12 + 5);
    }

    #[test]
    fn a_codec_that_the_viewer_did_not_agree_on_is_not_forwarded() {
        let mut buffers = Buffers::default();
        let mut source = publisher();
        source.payloads[0].codec = Codec::Vp9 { profile: 0 };
        let original = packet(77, 96, 5, &[], b"media");
        assert!(!mapping(Extensions::default()).rewrite(&source, &original, None, &mut buffers));
        let unknown = packet(77, 99, 5, &[], b"media");
        assert!(!mapping(Extensions::default()).rewrite(
            &publisher(),
            &unknown,
            None,
            &mut buffers
        ));
    }

    #[test]
    fn a_retransmission_carries_the_original_sequence_number() {
        let ids = Extensions {
            mid: Some(9),
            ..Default::default()
        };
        let original = packet(77, 96, 500, &ELEMENTS, b"media");
        let mut buffers = Buffers::default();
        let rtx = Rtx {
            ssrc: 78,
            sequence: 3,
        };
        assert!(mapping(ids).rewrite(&publisher(), &original, Some(rtx), &mut buffers));
        let sent = Packet::parse(buffers.packet.clone().into()).unwrap();
        assert_eq!(
            (
                sent.header.payload_type,
                sent.header.ssrc,
                sent.header.sequence
            ),
            (121, 78, 3)
        );
        assert_eq!(sent.extension(9), Some(&b"vid"[..]));
        let back = sent.unwrap_rtx(77, 120).unwrap();
        assert_eq!((back.header.sequence, back.payload()), (500, &b"media"[..]));
        let mut plain = mapping(ids);
        plain.sections[0].payloads[0].rtx = None;
        assert!(!plain.rewrite(&publisher(), &original, Some(rtx), &mut buffers));
        assert!(!plain.has_rtx(&publisher(), &original));
    }
}
