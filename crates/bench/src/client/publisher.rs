//! A publisher's media: a camera that never stops, and the streams of one session that carry it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_rtp::Packet;
use rtc_rtp::header::Header;
use rtc_shared::marshal::Marshal;

use rekindle_client::payload::{HEAD, start_of_payload};
use rekindle_client::rtcp;
use rekindle_sdp::{Kind, Media};

/// How long a sent packet can be sent again, as in libwebrtc's packet history at short round trips.
const HISTORY: Duration = Duration::from_secs(3);
/// A packet is not sent again sooner than this after the last time.
const RESEND_PAUSE: Duration = Duration::from_millis(10);
/// Longest payload of a video packet.
const MAX_PAYLOAD: usize = 1150;
/// Time between two packets of a frame: an encoder's pacer does not send it at once.
const PACE: Duration = Duration::from_millis(2);
const AUDIO_PACKET: Duration = Duration::from_millis(20);
const AUDIO_PAYLOAD: usize = 100;
const REPORT: Duration = Duration::from_secs(1);

/// What the camera and the microphone yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CameraSettings {
    /// Video frames per second.
    pub fps: u32,
    /// Video bits per second.
    pub video_bitrate: u32,
}

/// A camera with a microphone. It goes on while a connection is down, as a real one does, and
/// outlives its session.
#[derive(Debug)]
pub(crate) struct Camera {
    settings: CameraSettings,
    audio: Clock,
    video: Clock,
    /// Packets of the frame that is being sent, which are still to come: bytes left.
    rest_of_frame: usize,
}

/// When the next packet is due, and its number.
#[derive(Debug)]
struct Clock {
    due: Instant,
    frame_due: Instant,
    index: u64,
    timestamp: u32,
}

/// A packet as the camera made it.
#[derive(Debug, Clone, Copy)]
struct Made {
    index: u64,
    timestamp: u32,
    first: bool,
    marker: bool,
    key: bool,
    length: usize,
    at: Instant,
}

impl Camera {
    pub(crate) fn new(settings: CameraSettings, now: Instant) -> Self {
        let clock = || Clock {
            due: now,
            frame_due: now,
            // An extended sequence number; away from 0, so that no step back goes below it.
            index: 0x1_0000,
            timestamp: 0,
        };
        Self {
            settings,
            audio: clock(),
            video: clock(),
            rest_of_frame: 0,
        }
    }

    fn clock(&self, kind: Kind) -> &Clock {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    /// The number of the next packet of this kind.
    pub(crate) fn next_index(&self, kind: Kind) -> u64 {
        self.clock(kind).index
    }

    fn next(&self) -> Instant {
        self.audio.due.min(self.video.due)
    }

    /// The next packet of a kind that is due.
    fn make(&mut self, kind: Kind, now: Instant, key: bool) -> Option<Made> {
        match kind {
            Kind::Audio => self.make_audio(now),
            Kind::Video => self.make_video(now, key),
        }
    }

    fn make_audio(&mut self, now: Instant) -> Option<Made> {
        let clock = &mut self.audio;
        let at = Some(clock.due).filter(|due| *due <= now)?;
        clock.due += AUDIO_PACKET;
        clock.timestamp = clock.timestamp.wrapping_add(960);
        clock.index += 1;
        Some(Made {
            index: clock.index - 1,
            timestamp: clock.timestamp,
            first: true,
            marker: false,
            key: false,
            length: AUDIO_PAYLOAD,
            at,
        })
    }

    fn make_video(&mut self, now: Instant, key: bool) -> Option<Made> {
        let frame = Duration::from_secs(1) / self.settings.fps;
        let clock = &mut self.video;
        let at = Some(clock.due).filter(|due| *due <= now)?;
        let first = self.rest_of_frame == 0;
        if first {
            let bytes = (self.settings.video_bitrate / self.settings.fps / 8) as usize;
            self.rest_of_frame = bytes.max(HEAD + 1);
            clock.timestamp = clock.timestamp.wrapping_add(90_000 / self.settings.fps);
            clock.frame_due += frame;
        }
        let length = self.rest_of_frame.clamp(HEAD, MAX_PAYLOAD);
        self.rest_of_frame = self.rest_of_frame.saturating_sub(MAX_PAYLOAD);
        let marker = self.rest_of_frame == 0;
        clock.due = if marker {
            clock.frame_due.max(clock.due)
        } else {
            // A frame is sent before the next one begins, however many packets it has.
            (clock.due + PACE).min(clock.frame_due)
        };
        clock.index += 1;
        Some(Made {
            index: clock.index - 1,
            timestamp: clock.timestamp,
            first,
            marker,
            key,
            length,
            at,
        })
    }
}

#[derive(Debug)]
struct Sent {
    made: Made,
    resent: Option<Instant>,
}

/// One stream of a session.
struct Stream {
    media: Media,
    ssrc: u32,
    rtx_ssrc: u32,
    rtx_sequence: u16,
    key_wanted: bool,
    history: VecDeque<Sent>,
    packets: u32,
    octets: u32,
    timestamp: u32,
}

/// A publisher's side of one session.
pub(crate) struct Publisher {
    pub camera: Camera,
    streams: Vec<Stream>,
    transport_sequence: u16,
    began: Option<Instant>,
    next_report: Instant,
    /// Packets sent again.
    pub resent: u64,
    pub keyframe_requests: u64,
}

impl Publisher {
    pub(crate) fn new(
        camera: Camera,
        media: &[Media],
        (audio, video, video_rtx): (u32, u32, u32),
        now: Instant,
    ) -> Self {
        let streams = media.iter().map(|media| Stream {
            ssrc: match media.kind {
                Kind::Audio => audio,
                Kind::Video => video,
            },
            rtx_ssrc: video_rtx,
            media: media.clone(),
            rtx_sequence: 1,
            key_wanted: true,
            history: VecDeque::new(),
            packets: 0,
            octets: 0,
            timestamp: 0,
        });
        Self {
            streams: streams.collect(),
            camera,
            transport_sequence: 1,
            began: None,
            next_report: now,
            resent: 0,
            keyframe_requests: 0,
        }
    }

    /// When [`Publisher::make`] wants to be called.
    pub(crate) fn next(&self) -> Instant {
        self.camera.next().min(self.next_report)
    }

    /// Makes what is due: RTP and RTCP packets, not yet encrypted. Without a connection nothing
    /// leaves, but the encoder goes on, and what it made can be asked for later.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        connected: bool,
        rtp: &mut Vec<Bytes>,
        reports: &mut Vec<Bytes>,
    ) {
        if connected && self.began.is_none() {
            self.began = Some(now);
        }
        for at in 0..self.streams.len() {
            let kind = self.streams[at].media.kind;
            let key = self.streams[at].key_wanted;
            while let Some(made) = self.camera.make(kind, now, key) {
                let stream = &mut self.streams[at];
                if kind == Kind::Video && made.marker {
                    stream.key_wanted = false;
                }
                if self.began.is_none() {
                    continue;
                }
                stream.timestamp = made.timestamp;
                while stream
                    .history
                    .front()
                    .is_some_and(|old| old.made.at + HISTORY < now)
                {
                    stream.history.pop_front();
                }
                stream.history.push_back(Sent { made, resent: None });
                if connected {
                    stream.packets += 1;
                    stream.octets += made.length as u32;
                    let (ssrc, pt) = (stream.ssrc, stream.media.payloads[0].pt);
                    rtp.push(self.packet(at, ssrc, pt, made.index as u16, &made, None));
                }
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORT;
            if connected {
                reports.extend(self.streams.iter().map(|stream| self.report(stream, now)));
            }
        }
    }

    fn report(&self, stream: &Stream, now: Instant) -> Bytes {
        let elapsed = now.saturating_duration_since(self.began.unwrap_or(now));
        rtcp::write(&[Box::new(SenderReport {
            ssrc: stream.ssrc,
            ntp_time: ((4_000_000_000 + elapsed.as_secs()) << 32)
                | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000),
            rtp_time: stream.timestamp,
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        })])
    }

    /// `original`: the sequence number that an RTX packet repeats (RFC 4588 §4).
    fn packet(
        &mut self,
        at: usize,
        ssrc: u32,
        pt: u8,
        sequence: u16,
        made: &Made,
        original: Option<u16>,
    ) -> Bytes {
        let stream = &self.streams[at];
        let mut header = Header {
            version: 2,
            marker: made.marker,
            payload_type: pt,
            sequence_number: sequence,
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
        let extensions = &stream.media.extensions;
        put(extensions.mid, stream.media.mid.as_bytes());
        put(extensions.abs_send_time, &made.timestamp.to_be_bytes()[1..]);
        if extensions.transport_cc.is_some() {
            put(
                extensions.transport_cc,
                &self.transport_sequence.to_be_bytes(),
            );
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
        }
        let mut payload = BytesMut::with_capacity(made.length + 2);
        payload.extend(original.iter().flat_map(|sequence| sequence.to_be_bytes()));
        payload.extend(start_of_payload(
            &stream.media.payloads[0].codec,
            made.key,
            made.first,
        ));
        payload.put_u64(made.index);
        payload.put_bytes(made.index as u8, made.length - HEAD);
        let payload = payload.freeze();
        Packet { header, payload }
            .marshal()
            .expect("a packet of our own")
            .freeze()
    }

    /// Takes RTCP from the server; retransmissions go to `out`.
    pub(crate) fn handle_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Vec<Bytes>) {
        let Ok(packets) = rtcp::read(data) else {
            return;
        };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                    self.resend(now, nack.media_ssrc, sequence, out);
                }
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>()
                && let Some(stream) = self
                    .streams
                    .iter_mut()
                    .find(|stream| stream.ssrc == pli.media_ssrc)
            {
                stream.key_wanted = true;
                self.keyframe_requests += 1;
            }
        }
    }

    fn resend(&mut self, now: Instant, ssrc: u32, sequence: u16, out: &mut Vec<Bytes>) {
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
        if sent.resent.is_some_and(|last| now < last + RESEND_PAUSE) {
            return;
        }
        sent.resent = Some(now);
        let made = sent.made;
        self.resent += 1;
        out.push(match stream.media.payloads[0].rtx {
            Some(pt) => {
                let (rtx_ssrc, rtx_sequence) = (stream.rtx_ssrc, stream.rtx_sequence);
                stream.rtx_sequence = rtx_sequence.wrapping_add(1);
                self.packet(at, rtx_ssrc, pt, rtx_sequence, &made, Some(sequence))
            }
            None => {
                let pt = stream.media.payloads[0].pt;
                self.packet(at, ssrc, pt, sequence, &made, None)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_camera_keeps_its_rate_whenever_it_is_looked_at() {
        let t = Instant::now();
        let settings = CameraSettings {
            fps: 30,
            video_bitrate: 1_500_000,
        };
        let mut camera = Camera::new(settings, t);
        let (mut bytes, mut frames, mut sounds) = (0, 0, 0);
        for ms in (0..10_000).step_by(7) {
            let now = t + Duration::from_millis(ms);
            while let Some(made) = camera.make(Kind::Video, now, false) {
                bytes += made.length;
                frames += u32::from(made.marker);
            }
            while camera.make(Kind::Audio, now, false).is_some() {
                sounds += 1;
            }
        }
        assert!((299..=301).contains(&frames), "{frames} frames");
        assert!((499..=501).contains(&sounds), "{sounds} audio packets");
        assert!((1_850_000..=1_900_000).contains(&bytes), "{bytes} bytes");
    }
}
