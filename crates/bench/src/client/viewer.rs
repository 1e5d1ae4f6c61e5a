//! A viewer's media: which packets came, NACKs and PLIs for those that did not, and when the first
//! packet of another boot came.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_rtcp::packet::Packet as Rtcp;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};

use rekindle_client::payload::read_index;
use rekindle_client::rtcp;
use rekindle_sdp::{Codec, Kind, Media};

/// A packet that is still missing is asked for again after a round trip, at least after this, so
/// often at most (as libwebrtc does).
const NACK_AGAIN: Duration = Duration::from_millis(20);
const NACK_TRIES: u8 = 10;
/// Without a keyframe where one is needed, a PLI goes out so often.
const PLI_AGAIN: Duration = Duration::from_millis(500);
/// More packets missing at once are not asked for one by one: a keyframe is.
const MAX_MISSING: u64 = 1000;
const OWN_SSRC: u32 = 1;

/// Which life of the server a datagram came from, as the benchmark counts them.
pub(crate) type Life = u32;

/// The packets of one kind that came, by the number that the camera gave them.
#[derive(Debug, Default)]
struct Tally {
    next: Option<u64>,
    absent: BTreeSet<u64>,
    repeated: u64,
}

impl Tally {
    fn take(&mut self, index: u64) -> bool {
        let next = *self.next.get_or_insert(index);
        if index >= next {
            self.absent.extend(next..index);
            self.next = Some(index + 1);
            return true;
        }
        let new = self.absent.remove(&index);
        self.repeated += u64::from(!new);
        new
    }
}

#[derive(Debug)]
struct Missing {
    last: Option<Instant>,
    tries: u8,
}

/// One RTP stream of the session.
#[derive(Debug)]
struct Stream {
    kind: Kind,
    ssrc: u32,
    nack: bool,
    /// Extended sequence number.
    highest: u64,
    missing: BTreeMap<u64, Missing>,
    key_needed: bool,
    next_pli: Instant,
}

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

/// A viewer's side: what came in this session and in those before it.
#[derive(Debug)]
pub(crate) struct Viewer {
    sections: Vec<Media>,
    streams: Vec<Stream>,
    audio: Tally,
    video: Tally,
    rtt: Duration,
    last: Option<(Life, Instant)>,
    pub gaps: Vec<Gap>,
    widest: Duration,
    pub packets: u64,
    pub nacks: u64,
    pub plis: u64,
    /// Packets that nothing explains.
    pub strange: u64,
}

impl Viewer {
    pub(crate) fn new() -> Self {
        Self {
            sections: Vec::new(),
            streams: Vec::new(),
            audio: Tally::default(),
            video: Tally::default(),
            rtt: Duration::ZERO,
            last: None,
            gaps: Vec::new(),
            widest: Duration::ZERO,
            packets: 0,
            nacks: 0,
            plis: 0,
            strange: 0,
        }
    }

    /// A session begins, perhaps in place of an earlier one: what came is remembered, the streams
    /// are new.
    pub(crate) fn begin(&mut self, media: &[Media]) {
        self.sections = media.to_vec();
        self.streams.clear();
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
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
        let tally = self.tally(kind);
        let Some(next) = tally.next else {
            return range.end.saturating_sub(range.start);
        };
        let never = range.end.saturating_sub(next.max(range.start));
        never
            + tally
                .absent
                .range(range.start..range.end.max(range.start))
                .count() as u64
    }

    /// Packets that came twice.
    pub(crate) fn repeated(&self) -> u64 {
        self.audio.repeated + self.video.repeated
    }

    /// Takes a packet that has been authenticated and decrypted.
    pub(crate) fn handle_rtp(&mut self, now: Instant, life: Life, data: &[u8]) {
        let Some(packet) = Rtp::read(data) else {
            self.strange += 1;
            return;
        };
        let found = self.sections.iter().find_map(|section| {
            let payload = section
                .payloads
                .iter()
                .find(|p| p.pt == packet.pt || p.rtx == Some(packet.pt))?;
            Some((section.kind, payload))
        });
        let Some((kind, payload)) = found else {
            self.strange += 1;
            return;
        };
        let by_rtx = payload.pt != packet.pt;
        let body = if by_rtx {
            packet.payload.get(2..)
        } else {
            Some(packet.payload)
        };
        let Some(index) = body.and_then(read_index) else {
            // An RTX packet without content probes the path.
            self.strange += u64::from(!by_rtx);
            return;
        };
        let key = is_key(&payload.codec, body.unwrap_or_default());
        let nack = payload.nack;
        self.packets += 1;
        match self.last {
            Some((before, last)) if before != life => self.gaps.push(Gap {
                life,
                last,
                first: now,
            }),
            _ => {}
        }
        if let Some((_, last)) = self.last {
            self.widest = self.widest.max(now.saturating_duration_since(last));
        }
        self.last = Some((life, now));
        match kind {
            Kind::Audio => self.audio.take(index),
            Kind::Video => self.video.take(index),
        };
        if by_rtx {
            let original = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            if let Some(stream) = self.streams.iter_mut().rfind(|s| s.kind == kind) {
                stream.take(original, key, nack);
            }
            return;
        }
        let known = self.streams.iter().position(|s| s.ssrc == packet.ssrc);
        let at = known.unwrap_or_else(|| {
            self.streams.push(Stream {
                kind,
                ssrc: packet.ssrc,
                nack,
                highest: 0x1_0000 + u64::from(packet.sequence) - 1,
                missing: BTreeMap::new(),
                key_needed: kind == Kind::Video,
                // A keyframe may be on its way.
                next_pli: now + Duration::from_millis(50),
            });
            self.streams.len() - 1
        });
        self.streams[at].take(packet.sequence, key, nack);
    }

    /// When [`Viewer::make`] wants to be called.
    pub(crate) fn next(&self) -> Option<Instant> {
        let again = self.again();
        self.streams
            .iter()
            .filter_map(|stream| stream.next(again))
            .min()
    }

    fn again(&self) -> Duration {
        self.rtt.max(NACK_AGAIN)
    }

    /// NACKs and PLIs that are due.
    pub(crate) fn make(&mut self, now: Instant) -> Option<Bytes> {
        let again = self.again();
        let mut packets: Vec<Box<dyn Rtcp>> = Vec::new();
        for stream in &mut self.streams {
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
                packets.push(Box::new(PictureLossIndication {
                    sender_ssrc: OWN_SSRC,
                    media_ssrc: stream.ssrc,
                }));
            }
        }
        (!packets.is_empty()).then(|| rtcp::write(&packets))
    }
}

impl Stream {
    fn take(&mut self, sequence: u16, key: bool, nack: bool) {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let Some(index) = self.highest.checked_add_signed(step) else {
            return;
        };
        self.missing.remove(&index);
        if index > self.highest {
            let gap = self.highest + 1..index;
            if nack && index - self.highest <= MAX_MISSING {
                self.missing.extend(gap.map(|index| {
                    (
                        index,
                        Missing {
                            last: None,
                            tries: 0,
                        },
                    )
                }));
            } else if nack {
                self.key_needed = true;
            }
            self.highest = index;
        }
        self.key_needed &= !key;
    }

    fn next(&self, again: Duration) -> Option<Instant> {
        // What has just been found missing is asked for at once: `make` runs after every packet.
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

/// What is needed of an RTP packet (RFC 3550 §5.1).
struct Rtp<'a> {
    pt: u8,
    sequence: u16,
    ssrc: u32,
    payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let head = data.get(..12)?;
        let mut start = 12 + 4 * usize::from(head[0] & 0x0f);
        if head[0] & 0x10 != 0 {
            let length = data.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([length[0], length[1]]));
        }
        Some(Self {
            pt: head[1] & 0x7f,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: data.get(start..)?,
        })
    }
}

fn is_key(codec: &Codec, payload: &[u8]) -> bool {
    match (codec, payload) {
        (Codec::Vp8, [first, second, ..]) => *first == 0x10 && second & 1 == 0,
        (Codec::Vp9 { .. }, [first, ..]) => first & 0x48 == 0x08,
        (Codec::H264 { .. }, [first, ..]) => first & 0x1f == 5,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_late_is_not_missing_and_what_came_twice_is_counted() {
        let mut tally = Tally::default();
        assert!(tally.take(10) && tally.take(13) && tally.take(11));
        assert!(!tally.take(11));
        assert_eq!(tally.absent.iter().copied().collect::<Vec<_>>(), [12]);
        assert_eq!(tally.repeated, 1);
    }

    #[test]
    fn packets_that_were_never_heard_of_are_missing_too() {
        let mut viewer = Viewer::new();
        assert_eq!(viewer.missing(Kind::Video, 5..9), 4);
        for index in [5, 8] {
            viewer.video.take(index);
        }
        assert_eq!(viewer.missing(Kind::Video, 5..9), 2);
        assert_eq!(viewer.missing(Kind::Video, 5..20), 13);
        assert_eq!(viewer.missing(Kind::Video, 8..9), 0);
        assert_eq!(viewer.missing(Kind::Video, 30..31), 1);
    }

    #[test]
    fn a_gap_in_the_numbers_is_asked_for_at_once_and_again_a_round_trip_later() {
        let t = Instant::now();
        let mut stream = Stream {
            kind: Kind::Video,
            ssrc: 1,
            nack: true,
            highest: 0x1_FFFE,
            missing: BTreeMap::new(),
            key_needed: false,
            next_pli: t,
        };
        let rtt = Duration::from_millis(50);
        stream.take(1, false, true);
        assert_eq!(stream.due(t, rtt), [0xffff, 0]);
        assert!(stream.due(t, rtt).is_empty());
        assert_eq!(stream.next(rtt), Some(t + rtt));
        stream.take(0xffff, false, true);
        assert_eq!(stream.due(t + rtt, rtt), [0]);
        stream.take(0, false, true);
        assert_eq!(stream.next(rtt), None);
    }

    #[test]
    fn a_packet_is_read_behind_its_header_extension() {
        let mut data = vec![
            0x90,
            0x80 | 96,
            0,
            7,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            9,
            0xbe,
            0xde,
            0,
            1,
            1,
            2,
            3,
            4,
        ];
        data.extend(b"payload");
        let packet = Rtp::read(&data).expect("a packet");
        assert_eq!((packet.pt, packet.sequence, packet.ssrc), (96, 7, 9));
        assert_eq!(packet.payload, b"payload");
        for length in 0..20 {
            assert!(Rtp::read(&data[..length]).is_none(), "cut at {length}");
        }
    }
}
