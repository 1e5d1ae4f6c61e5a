//! A publisher's side: which of its packets are accepted, and what feedback it gets for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_sdp::{Codec, Kind, Media, Negotiated};

use super::rtp::Header;
use super::twcc::Twcc;

/// Interval between receiver reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// First bitrate allowed by REMB, in bit/s, and the highest one; it grows by a quarter each second.
const REMB_START: u64 = 2_500_000;
const REMB_CEILING: u64 = 20_000_000;
/// Most SSRCs of one publisher.
const MAX_STREAMS: usize = 16;

/// What a packet of the publisher is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A packet of a media stream.
    Media { section: Arc<Media> },
    /// A retransmission (RFC 4588) of a packet of the media stream `ssrc` with this payload type.
    Rtx {
        section: Arc<Media>,
        ssrc: u32,
        payload_type: u8,
    },
}

#[derive(Debug, Clone, Copy)]
struct PublishedSsrc {
    ssrc: u32,
    section: usize,
    /// Of an RTX stream: the SSRC of its media stream.
    mends: Option<u32>,
}

/// State of a publisher as a sender.
#[derive(Debug)]
pub(super) struct Ingress {
    sections: Vec<Arc<Media>>,
    streams: Vec<PublishedSsrc>,
    twcc: Option<(u8, Twcc)>,
    remb: Option<u64>,
    next_report: Option<Instant>,
}

impl Ingress {
    pub(super) fn new(negotiated: &Negotiated, now: Instant) -> Self {
        let sections: Vec<Arc<Media>> = negotiated.media.iter().cloned().map(Arc::new).collect();
        let mut streams: Vec<PublishedSsrc> = Vec::new();
        for (section, media) in sections.iter().enumerate() {
            for announced in &media.ssrcs {
                let both = [
                    (Some(announced.media), None),
                    (announced.rtx, Some(announced.media)),
                ];
                for (ssrc, mends) in both {
                    // An SSRC has one meaning only: the first section that names it has it.
                    let Some(ssrc) =
                        ssrc.filter(|ssrc| streams.iter().all(|stream| stream.ssrc != *ssrc))
                    else {
                        continue;
                    };
                    if streams.len() < MAX_STREAMS {
                        streams.push(PublishedSsrc {
                            ssrc,
                            section,
                            mends,
                        });
                    }
                }
            }
        }
        let payloads = || sections.iter().flat_map(|section| &section.payloads);
        let twcc_id = sections
            .iter()
            .find_map(|section| section.extensions.transport_cc);
        let twcc = twcc_id.filter(|_| payloads().any(|payload| payload.transport_cc));
        let remb = (twcc.is_none() && payloads().any(|payload| payload.remb)).then_some(REMB_START);
        Self {
            twcc: twcc.map(|id| (id, Twcc::new(now))),
            remb,
            sections,
            streams,
            next_report: None,
        }
    }

    /// All codecs that the publisher may send.
    pub(super) fn codecs(&self) -> Vec<Codec> {
        let mut codecs: Vec<Codec> = Vec::new();
        for payload in self.sections.iter().flat_map(|section| &section.payloads) {
            if !codecs.contains(&payload.codec) {
                codecs.push(payload.codec.clone());
            }
        }
        codecs
    }

    /// The known media streams with their kinds.
    pub(super) fn media(&self) -> impl Iterator<Item = (Kind, u32)> {
        let media = self.streams.iter().filter(|stream| stream.mends.is_none());
        media.map(|stream| (self.sections[stream.section].kind, stream.ssrc))
    }

    /// The RTX SSRC of a media stream, where it is known.
    pub(super) fn rtx_of(&self, ssrc: u32) -> Option<u32> {
        self.streams
            .iter()
            .find(|stream| stream.mends == Some(ssrc))
            .map(|stream| stream.ssrc)
    }

    /// Whether this SSRC is one of the publisher's, for any use.
    pub(super) fn uses(&self, ssrc: u32) -> bool {
        self.streams.iter().any(|stream| stream.ssrc == ssrc)
    }

    /// Records a packet for congestion feedback. To be called with every authentic packet, known or
    /// not.
    pub(super) fn arrived(&mut self, now: Instant, header: &Header, packet: &[u8]) {
        self.next_report.get_or_insert(now + REPORT_INTERVAL);
        let Some((id, twcc)) = &mut self.twcc else {
            return;
        };
        if let Some(&[high, low]) = header.extension(packet, *id) {
            twcc.packet(now, u16::from_be_bytes([high, low]));
        }
    }

    /// What a packet is; `None` for one that was neither announced nor can be recognised by its
    /// payload type.
    pub(super) fn classify(&mut self, header: &Header) -> Option<Arrival> {
        let pt = header.payload_type;
        let found = self
            .sections
            .iter()
            .enumerate()
            .find_map(|(index, section)| {
                let payload = section
                    .payloads
                    .iter()
                    .find(|payload| payload.pt == pt || payload.rtx == Some(pt))?;
                Some((index, section.clone(), payload.pt))
            });
        let (index, section, original) = found?;
        let is_rtx = original != pt;
        let known = self
            .streams
            .iter()
            .find(|stream| stream.ssrc == header.ssrc)
            .copied();
        let stream = match known {
            Some(stream) => stream,
            None => self.latch(header.ssrc, index, is_rtx)?,
        };
        if stream.section != index {
            return None;
        }
        match (stream.mends, is_rtx) {
            (None, false) => Some(Arrival::Media { section }),
            (Some(ssrc), true) => Some(Arrival::Rtx {
                section,
                ssrc,
                payload_type: original,
            }),
            _ => None,
        }
    }

    /// Assigns an SSRC that the offer does not announce, if its section has none for that use.
    fn latch(&mut self, ssrc: u32, section: usize, is_rtx: bool) -> Option<PublishedSsrc> {
        let of_section = |mends: bool| {
            self.streams
                .iter()
                .filter(move |s| s.section == section && s.mends.is_some() == mends)
        };
        let mends = if is_rtx {
            let mut media = of_section(false);
            let only = media
                .next()
                .filter(|_| of_section(true).next().is_none() && media.next().is_none())?;
            Some(only.ssrc)
        } else {
            if of_section(false).next().is_some() {
                return None;
            }
            None
        };
        let stream = PublishedSsrc {
            ssrc,
            section,
            mends,
        };
        self.streams.push(stream);
        Some(stream)
    }

    /// The transport-wide feedback that is due.
    pub(super) fn feedback(&mut self) -> Option<&mut Twcc> {
        self.twcc.as_mut().map(|(_, twcc)| twcc)
    }

    /// Whether receiver reports are due; the next ones are a second later.
    pub(super) fn report_due(&mut self, now: Instant) -> bool {
        if self.next_report.is_none_or(|next| next > now) {
            return false;
        }
        self.next_report = Some(now + REPORT_INTERVAL);
        true
    }

    /// The bitrate to allow by REMB, in bit/s, where only REMB was agreed; `worst` is the largest
    /// fraction lost of a stream (RFC 3550 §6.4.1).
    pub(super) fn remb(&mut self, worst: u8) -> Option<u64> {
        let bitrate = self.remb?;
        // A loss of more than a tenth decreases it; a loss of less than a fiftieth increases it.
        let next = match worst {
            0..=5 => bitrate * 5 / 4,
            6..=25 => bitrate,
            _ => bitrate * 9 / 10,
        };
        self.remb = Some(next.clamp(REMB_START / 5, REMB_CEILING));
        Some(bitrate)
    }

    /// When feedback or a report is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        let twcc = self.twcc.as_ref().and_then(|(_, twcc)| twcc.next());
        twcc.into_iter().chain(self.next_report).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::mapping::tests::{audio, video};
    use crate::broadcast::rtp::{NewElements, packet};
    use rekindle_sdp::{Extensions, Ssrc};

    fn ingress(ssrcs: Vec<Ssrc>) -> Ingress {
        let ids = Extensions {
            transport_cc: Some(3),
            ..Default::default()
        };
        let media = vec![
            audio("0", Extensions::default(), vec![]),
            video("1", 96, ids, ssrcs),
        ];
        Ingress::new(
            &Negotiated {
                fingerprints: vec![],
                certificate: [0; 32],
                setup: Default::default(),
                media,
                address: None,
            },
            Instant::now(),
        )
    }

    fn classify(ingress: &mut Ingress, ssrc: u32, pt: u8) -> Option<Option<u32>> {
        match ingress.classify(&packet(ssrc, pt, 1, &[], b"x").header)? {
            Arrival::Media { section } => {
                assert_eq!(section.payloads[0].pt, pt);
                Some(None)
            }
            Arrival::Rtx {
                ssrc, payload_type, ..
            } => {
                assert_eq!(payload_type, 96);
                Some(Some(ssrc))
            }
        }
    }

    #[test]
    fn announced_streams_are_taken_and_no_others_of_their_section() {
        let mut ingress = ingress(vec![Ssrc {
            media: 10,
            rtx: Some(11),
        }]);
        assert_eq!(classify(&mut ingress, 10, 96), Some(None));
        assert_eq!(classify(&mut ingress, 11, 97), Some(Some(10)));
        assert_eq!(classify(&mut ingress, 12, 96), None, "not announced");
        assert_eq!(classify(&mut ingress, 12, 97), None, "not announced");
        assert_eq!(
            classify(&mut ingress, 10, 97),
            None,
            "RTX payload on a media stream"
        );
        assert_eq!(
            classify(&mut ingress, 10, 111),
            None,
            "audio on a video stream"
        );
        assert_eq!(classify(&mut ingress, 10, 50), None, "unknown payload type");
    }

    #[test]
    fn without_announcement_the_first_stream_of_each_use_is_taken() {
        let mut ingress = ingress(vec![]);
        assert_eq!(classify(&mut ingress, 11, 97), None, "RTX of nothing known");
        assert_eq!(classify(&mut ingress, 10, 96), Some(None));
        assert_eq!(classify(&mut ingress, 12, 96), None);
        assert_eq!(classify(&mut ingress, 10, 111), None);
        assert_eq!(classify(&mut ingress, 11, 97), Some(Some(10)));
        assert_eq!(classify(&mut ingress, 13, 97), None);
        assert_eq!(classify(&mut ingress, 20, 111), Some(None));
        assert_eq!(ingress.rtx_of(10), Some(11));
    }

    #[test]
    fn one_ssrc_announced_for_two_uses_has_the_first_only() {
        let mut ingress = ingress(vec![Ssrc {
            media: 10,
            rtx: Some(10),
        }]);
        assert_eq!(ingress.rtx_of(10), None);
        assert_eq!(classify(&mut ingress, 10, 97), None);
    }

    #[test]
    fn transport_wide_numbers_are_noted_even_of_unknown_packets() {
        let t = Instant::now();
        let mut ingress = ingress(vec![]);
        let unknown = packet(99, 50, 1, &[0x31, 0x12, 0x34], b"x");
        let mut wire = Vec::new();
        let mut elements = NewElements::default();
        elements.put(3, &[0x12, 0x34]);
        let head = crate::broadcast::rtp::Head {
            payload_type: 50,
            sequence: 1,
            ssrc: 99,
            extensions: &elements,
            retransmission: false,
        };
        unknown.write(&head, &mut wire);
        ingress.arrived(t, &Header::parse(&wire).unwrap(), &wire);
        let later = t + Duration::from_secs(1);
        let feedback = ingress.feedback().unwrap().due(later, 1, 2);
        assert_eq!(feedback[0].base_sequence_number, 0x1234);
        assert!(ingress.report_due(later));
        assert!(!ingress.report_due(later));
    }

    #[test]
    fn remb_is_used_only_where_transport_feedback_was_not_agreed() {
        assert_eq!(ingress(vec![]).remb(0), None);
        let media = vec![video("1", 96, Extensions::default(), vec![])];
        let mut ingress = Ingress::new(
            &Negotiated {
                fingerprints: vec![],
                certificate: [0; 32],
                setup: Default::default(),
                media,
                address: None,
            },
            Instant::now(),
        );
        let rates: Vec<_> = (0..20).filter_map(|_| ingress.remb(0)).collect();
        assert_eq!((rates[0], rates[19]), (REMB_START, REMB_CEILING));
        ingress.remb(100);
        assert_eq!(ingress.remb(0), Some(REMB_CEILING * 9 / 10));
    }
}
