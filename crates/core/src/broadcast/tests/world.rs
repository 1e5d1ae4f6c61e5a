//! The core, browsers, and the network between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BufMut;
use rekindle_ids::{Role, TransportAddress};
use rekindle_sdp::{Kind, Ssrc, Stream};

use super::browser::Browser;
use crate::broadcast::rtp::Packet;
use crate::broadcast::{Broadcast, Config, Event, Routed};
use crate::peer::tests::certificate;
use crate::peer::{Dtls, Transmit};

pub const MS: Duration = Duration::from_millis(1);
/// The publisher's video stream and its RTX stream.
pub const VIDEO: u32 = 0x1000;
pub const VIDEO_RTX: u32 = 0x1001;
pub const CHANNEL: &str = "main";
/// VP8 payloads that start a keyframe and an interframe.
pub const KEY: &[u8] = &[0x10, 0x00, 9, 9];
pub const DELTA: &[u8] = &[0x10, 0x01, 9, 9];

/// What the network does to a datagram of the server's.
pub type Network = Box<dyn FnMut(&Transmit) -> bool>;

/// What a viewer got, by its SRTP index. RFC 3711 §9.1: no index of a stream protects two packets.
#[derive(Default)]
pub struct Indices {
    seen: HashMap<(u32, u64), Vec<u8>>,
    highest: HashMap<u32, u64>,
    /// How many packets came.
    pub total: usize,
}

impl Indices {
    /// Takes what came, and panics at an index that was used twice. The viewer's SRTP has followed:
    /// it has opened the packets.
    pub fn take(&mut self, packets: Vec<Packet>, step: u32) {
        for packet in packets {
            let header = packet.header;
            self.total += 1;
            let first = 0x1_0000 + u64::from(header.sequence);
            let top = self.highest.entry(header.ssrc).or_insert(first);
            let index = top
                .saturating_add_signed(i64::from(header.sequence.wrapping_sub(*top as u16) as i16));
            *top = index.max(*top);
            let before = self
                .seen
                .insert((header.ssrc, index), packet.payload().to_vec());
            let same = before.is_none_or(|before| before == packet.payload());
            assert!(same, "step {step}: {header:?}");
        }
    }

    /// New keys: indices start anew.
    pub fn forget(&mut self) {
        (self.seen, self.highest) = Default::default();
    }
}

pub struct World {
    pub now: Instant,
    pub core: Broadcast,
    pub dtls: Arc<Dtls>,
    pub browsers: Vec<Browser>,
    pub events: Vec<Event>,
    /// Whether a datagram of the server's arrives.
    pub arrives: Network,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let now = Instant::now();
        let server = certificate();
        let dtls = Arc::new(Dtls::new(&server.certificate, &server.private_key).unwrap());
        let core = Broadcast::new(config, dtls.clone(), [7; 32], now);
        Self {
            now,
            core,
            dtls,
            browsers: Vec::new(),
            events: Vec::new(),
            arrives: Box::new(|_| true),
        }
    }

    /// The server's process is killed and started again; browsers notice nothing, and lose their
    /// keys only by a new handshake.
    pub fn restart(&mut self) {
        self.core = Broadcast::new(Config::default(), self.dtls.clone(), [8; 32], self.now);
        for browser in &mut self.browsers {
            browser.join.resumed = true;
            browser.join.negotiated.address = browser.address.as_udp();
            browser.dtls = None;
            self.core.join(self.now, browser.join.clone()).unwrap();
        }
    }

    /// A new browser, not yet known to the server.
    pub fn browser(&mut self, role: Role) -> usize {
        let number = self.browsers.len() as u16 + 1;
        let mut browser = Browser::new(role, number);
        browser.join.negotiated.certificate = self.dtls.sha256();
        self.browsers.push(browser);
        self.browsers.len() - 1
    }

    /// A new browser that joins and gets keys.
    pub fn connected(&mut self, role: Role) -> usize {
        self.connected_to(CHANNEL, role)
    }

    /// The same on this channel.
    pub fn connected_to(&mut self, channel: &str, role: Role) -> usize {
        let id = self.browser(role);
        self.browsers[id].join.channel = channel.to_owned();
        let ufrag = self.browsers[id].ufrag();
        self.core.reserve(self.now, role, channel, &ufrag).unwrap();
        self.core
            .join(self.now, self.browsers[id].join.clone())
            .unwrap();
        self.check(id);
        self.handshake(id);
        assert!(self.browsers[id].sending.is_some());
        id
    }

    /// Of each channel: its name, whether it is live, and its connected viewers.
    pub fn standings(&self) -> Vec<(String, bool, usize)> {
        let channels = self.core.snapshot(self.now).channels.into_iter();
        channels
            .map(|one| (one.name, one.live, one.viewers))
            .collect()
    }

    pub fn check(&mut self, id: usize) {
        let stun = self.browsers[id].stun();
        assert_eq!(self.send(id, &stun), Routed::Checked);
    }

    pub fn handshake(&mut self, id: usize) {
        self.browsers[id].start_dtls(self.now);
        let hello = self.browsers[id].poll();
        for datagram in hello {
            self.send(id, &datagram);
        }
    }

    /// A datagram from a browser, and all that follows at once.
    pub fn send(&mut self, id: usize, datagram: &[u8]) -> Routed {
        let from = self.browsers[id].address;
        self.send_from(from, datagram)
    }

    pub fn send_from(&mut self, from: TransportAddress, datagram: &[u8]) -> Routed {
        let mut out = Vec::new();
        let routed = self.core.handle(self.now, from, datagram, &mut out);
        self.take_turns(&mut out);
        self.deliver(out);
        routed
    }

    /// Nobody waits for a turn.
    fn take_turns(&mut self, out: &mut Vec<Transmit>) {
        while self.core.next_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now, out);
        }
    }

    pub fn deliver(&mut self, mut out: Vec<Transmit>) {
        while !out.is_empty() {
            let mut next = Vec::new();
            for transmit in out {
                if !(self.arrives)(&transmit) {
                    continue;
                }
                let Some(browser) = self.browsers.iter_mut().find(|b| b.address == transmit.to)
                else {
                    continue;
                };
                browser.receive(self.now, &transmit.data);
                for datagram in browser.poll() {
                    self.core
                        .handle(self.now, browser.address, &datagram, &mut next);
                }
            }
            self.take_turns(&mut next);
            out = next;
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
    }

    pub fn encrypted_rtp(&mut self, id: usize, packet: &[u8]) -> Vec<u8> {
        self.browsers[id]
            .sending
            .as_mut()
            .unwrap()
            .encrypt_rtp(packet)
            .unwrap()
            .to_vec()
    }

    /// An RTP packet from a browser.
    pub fn rtp(&mut self, id: usize, packet: &[u8]) {
        let data = self.encrypted_rtp(id, packet);
        self.send(id, &data);
    }

    /// A video packet of a publisher's.
    pub fn video(&mut self, id: usize, sequence: u16, payload: &[u8]) {
        self.rtp(id, &video_packet(sequence, payload));
    }

    pub fn rtcp(&mut self, id: usize, packet: &[u8]) {
        let data = self.browsers[id]
            .sending
            .as_mut()
            .unwrap()
            .encrypt_rtcp(packet)
            .unwrap();
        self.send(id, &data);
    }

    /// Passes time; the core's timers go off when it wants. Browsers check as they do, every 2 s.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now || self.now - at < Duration::from_secs(1));
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.core.handle_timeout(self.now, &mut out);
            self.deliver(out);
        }
        self.now = end;
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

pub fn video_packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 96];
    packet.put_u16(sequence);
    packet.put_u32(u32::from(sequence) * 3000);
    packet.put_u32(VIDEO);
    // MID "1", transport-wide number.
    packet.put_slice(&[
        0xBE,
        0xDE,
        0,
        2,
        0x40,
        b'1',
        0x31,
        (sequence >> 8) as u8,
        sequence as u8,
        0,
        0,
        0,
    ]);
    packet.put_slice(payload);
    packet
}

/// The same packet again as RTX (RFC 4588).
pub fn rtx_packet(rtx_sequence: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = video_packet(sequence, &[]);
    packet[1] = 97;
    packet[2..4].copy_from_slice(&rtx_sequence.to_be_bytes());
    packet[8..12].copy_from_slice(&VIDEO_RTX.to_be_bytes());
    packet.put_u16(sequence);
    packet.put_slice(payload);
    packet
}

/// The publisher's streams as viewers are told of them.
pub fn streams() -> Vec<Stream> {
    let ssrc = Ssrc {
        media: VIDEO,
        rtx: Some(VIDEO_RTX),
    };
    vec![Stream {
        kind: Kind::Video,
        ssrc,
    }]
}

/// The event that tells whether the source is there.
pub fn source(live: bool) -> Event {
    let streams = if live { streams() } else { vec![] };
    Event::Source {
        channel: CHANNEL.into(),
        live,
        streams,
    }
}
