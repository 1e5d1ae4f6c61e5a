//! Browsers, the core, and the network between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use dimpl::{DtlsCertificate, Output, SrtpProfile};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};

use crate::broadcast::egress::tests::video;
use crate::broadcast::rtp::Packet;
use crate::broadcast::{Broadcast, Config, Event, Join, Routed};
use crate::peer::{Dtls, Transmit};
use crate::sdp::{Codec, Extensions, Fingerprint, Kind, Media, Negotiated, Payload, Ssrc};
use crate::vault::{IceCredentials, IcePassword, Role, Ufrag};

pub const MS: Duration = Duration::from_millis(1);
/// The publisher's video stream and its RTX stream.
pub const VIDEO: u32 = 0x1000;
pub const VIDEO_RTX: u32 = 0x1001;
pub const CHANNEL: &str = "main";
/// VP8 payloads that start a keyframe and an interframe.
pub const KEY: &[u8] = &[0x10, 0x00, 9, 9];
pub const DELTA: &[u8] = &[0x10, 0x01, 9, 9];

fn certificate() -> DtlsCertificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&key)
        .unwrap();
    DtlsCertificate {
        certificate: certificate.der().to_vec(),
        private_key: key.serialize_der(),
    }
}

fn copy(certificate: &DtlsCertificate) -> DtlsCertificate {
    DtlsCertificate {
        certificate: certificate.certificate.clone(),
        private_key: certificate.private_key.clone(),
    }
}

/// A browser: one peer's other side.
pub struct Browser {
    pub join: Join,
    pub address: SocketAddr,
    certificate: DtlsCertificate,
    dtls: Option<dimpl::Dtls>,
    sending: Option<Context>,
    receiving: Option<Context>,
    /// What came, decrypted.
    pub rtp: Vec<Packet>,
    pub rtcp: Vec<Bytes>,
}

impl Browser {
    fn new(role: Role, number: u16) -> Self {
        let certificate = certificate();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.certificate);
        let fingerprint = Fingerprint {
            hash: "sha-256".into(),
            digest: digest.as_ref().to_vec(),
        };
        let media = match role {
            Role::Publisher => {
                let ids = Extensions {
                    mid: Some(4),
                    transport_cc: Some(3),
                    ..Default::default()
                };
                video(
                    "1",
                    96,
                    ids,
                    vec![Ssrc {
                        media: VIDEO,
                        rtx: Some(VIDEO_RTX),
                    }],
                )
            }
            Role::Viewer => video(
                "v",
                100,
                Extensions {
                    mid: Some(1),
                    ..Default::default()
                },
                vec![],
            ),
        };
        let opus = Payload {
            pt: 111,
            codec: Codec::Opus,
            rtx: None,
            nack: false,
            pli: false,
            transport_cc: true,
            remb: false,
        };
        let audio = Media {
            kind: Kind::Audio,
            mid: "0".into(),
            payloads: vec![opus],
            ..media.clone()
        };
        let audio = Media {
            ssrcs: Vec::new(),
            ..audio
        };
        Self {
            join: Join {
                role,
                channel: CHANNEL.into(),
                ice: IceCredentials {
                    ufrag: Ufrag::new(format!("ufrag{number:05}")).unwrap(),
                    pwd: IcePassword::new(format!("0123456789abcdefghijk{number:05}")),
                },
                negotiated: Negotiated {
                    fingerprints: vec![fingerprint],
                    media: vec![audio, media],
                    address: None,
                },
                resumed: false,
            },
            address: SocketAddr::from(([192, 0, 2, 1], number)),
            certificate,
            dtls: None,
            sending: None,
            receiving: None,
            rtp: Vec::new(),
            rtcp: Vec::new(),
        }
    }

    pub fn ufrag(&self) -> Ufrag {
        self.join.ice.ufrag.clone()
    }

    pub fn stun(&self) -> Vec<u8> {
        let mut m = Message::new();
        m.new_transaction_id().unwrap();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        m.add(ATTR_USERNAME, format!("{}:browser", self.ufrag()).as_bytes());
        m.add(ATTR_USE_CANDIDATE, &[]);
        let password = self.join.ice.pwd.expose().to_owned();
        MessageIntegrity::new_short_term_integrity_with_provider(password, &AwsLcRsCrypto)
            .add_to(&mut m)
            .unwrap();
        m.raw
    }

    fn start_dtls(&mut self, now: Instant) {
        let mut dtls = dimpl::Dtls::new_auto(Arc::new(dimpl::Config::default()), copy(&self.certificate), now);
        dtls.set_active(true);
        dtls.handle_timeout(now).unwrap();
        self.dtls = Some(dtls);
    }

    /// Takes a datagram of the server's.
    fn receive(&mut self, now: Instant, datagram: &[u8]) {
        match datagram[0] {
            20..=63 => {
                let Some(dtls) = &mut self.dtls else { return };
                dtls.handle_timeout(now).unwrap();
                dtls.handle_packet(datagram).unwrap();
            }
            128..=191 => {
                let Some(context) = &mut self.receiving else { return };
                if (192..=223).contains(&datagram[1]) {
                    self.rtcp.extend(context.decrypt_rtcp(datagram).map(|p| p.freeze()));
                } else {
                    let plain = context
                        .decrypt_rtp(datagram)
                        .expect("the server's packets are authentic");
                    self.rtp.push(Packet::parse(plain.freeze()).unwrap());
                }
            }
            _ => {}
        }
    }

    /// What its DTLS wants to send; takes keys when they are there.
    fn poll(&mut self) -> Vec<Vec<u8>> {
        let (mut out, mut buffer) = (Vec::new(), vec![0; 2048]);
        let Some(dtls) = &mut self.dtls else { return out };
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.push(packet.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let (profile, k, s) = match profile {
                        SrtpProfile::AEAD_AES_256_GCM => (ProtectionProfile::AeadAes256Gcm, 32, 12),
                        SrtpProfile::AEAD_AES_128_GCM => (ProtectionProfile::AeadAes128Gcm, 16, 12),
                        _ => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
                    };
                    let context = |key: &[u8], salt: &[u8]| {
                        Some(Context::new(key, salt, profile, None, None, &AwsLcRsCrypto).unwrap())
                    };
                    self.sending = context(&material[..k], &material[2 * k..2 * k + s]);
                    self.receiving = context(&material[k..2 * k], &material[2 * k + s..2 * k + 2 * s]);
                }
                Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }

    /// Sequence numbers that came on an SSRC, in order of arrival.
    pub fn sequences(&self, ssrc: u32) -> Vec<u16> {
        self.rtp
            .iter()
            .filter(|packet| packet.header.ssrc == ssrc)
            .map(|packet| packet.header.sequence)
            .collect()
    }
}

/// What the network does to a datagram of the server's.
pub type Network = Box<dyn FnMut(&Transmit) -> bool>;

pub struct World {
    pub now: Instant,
    pub core: Broadcast,
    dtls: Arc<Dtls>,
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

    /// The server's process is killed and started again; browsers notice nothing, and lose their keys only by a new handshake.
    pub fn restart(&mut self) {
        self.core = Broadcast::new(Config::default(), self.dtls.clone(), [8; 32], self.now);
        for browser in &mut self.browsers {
            browser.join.resumed = true;
            browser.join.negotiated.address = Some(browser.address);
            browser.dtls = None;
            self.core.join(self.now, browser.join.clone()).unwrap();
        }
    }

    /// A new browser, not yet known to the server.
    pub fn browser(&mut self, role: Role) -> usize {
        let number = self.browsers.len() as u16 + 1;
        self.browsers.push(Browser::new(role, number));
        self.browsers.len() - 1
    }

    /// A new browser that joins and gets keys.
    pub fn connected(&mut self, role: Role) -> usize {
        let id = self.browser(role);
        let ufrag = self.browsers[id].ufrag();
        self.core.reserve(self.now, role, CHANNEL, &ufrag).unwrap();
        self.core.join(self.now, self.browsers[id].join.clone()).unwrap();
        self.check(id);
        self.handshake(id);
        assert!(self.browsers[id].sending.is_some());
        id
    }

    pub fn check(&mut self, id: usize) {
        let stun = self.browsers[id].stun();
        assert_eq!(self.send(id, &stun), Routed::Done);
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

    pub fn send_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Routed {
        let mut out = Vec::new();
        let routed = self.core.handle(self.now, from, datagram, &mut out);
        self.deliver(out);
        routed
    }

    fn deliver(&mut self, mut out: Vec<Transmit>) {
        while !out.is_empty() {
            let mut next = Vec::new();
            for transmit in out {
                if !(self.arrives)(&transmit) {
                    continue;
                }
                let Some(browser) = self.browsers.iter_mut().find(|b| b.address == transmit.to) else {
                    continue;
                };
                browser.receive(self.now, &transmit.data);
                for datagram in browser.poll() {
                    self.core.handle(self.now, browser.address, &datagram, &mut next);
                }
            }
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
