//! A peer against a DTLS client of its own, in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{DtlsCertificate, Output};
use rekindle_ids::{IcePassword, Role, Ufrag};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};

use super::*;
use crate::Protocol;

const PWD: &str = "0123456789abcdefghijklmn";

/// A certificate as a browser makes one.
pub(crate) fn certificate() -> DtlsCertificate {
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

fn address(port: u16) -> TransportAddress {
    TransportAddress::udp(([192, 0, 2, 1], port))
}

/// A browser's DTLS side.
struct Client {
    dtls: dimpl::Dtls,
    keys: Option<(Vec<u8>, Profile)>,
    failed: bool,
}

impl Client {
    fn new(certificate: &DtlsCertificate, auto: bool, now: Instant) -> Self {
        let config = Arc::new(dimpl::Config::default());
        let copy = DtlsCertificate {
            certificate: certificate.certificate.clone(),
            private_key: certificate.private_key.clone(),
        };
        let mut dtls = if auto {
            dimpl::Dtls::new_auto(config, copy, now)
        } else {
            dimpl::Dtls::new_12(config, copy, now)
        };
        dtls.set_active(true);
        dtls.handle_timeout(now).unwrap();
        Self {
            dtls,
            keys: None,
            failed: false,
        }
    }

    fn take(&mut self, now: Instant, datagram: &[u8]) {
        if self.failed
            || self
                .dtls
                .handle_timeout(now)
                .and_then(|()| self.dtls.handle_packet(datagram))
                .is_err()
        {
            self.failed = true;
        }
    }

    fn poll(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut buffer = vec![0; 2048];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(p) => out.push(p.to_vec()),
                Output::KeyingMaterial(m, p) => {
                    let profile = match p {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        _ => Profile::Aes128CmSha1_80,
                    };
                    self.keys = Some((m.to_vec(), profile));
                }
                Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }
}

/// A peer, and the handshakes at the addresses that it has checked from or that its record names.
struct Pair {
    now: Instant,
    peer: Peer,
    role: Role,
    dtls: Dtls,
    cookies: Cookies,
    handshakes: HashMap<TransportAddress, Handshakes>,
    certificate: DtlsCertificate,
}

impl Pair {
    fn new(role: Role, known: Option<TransportAddress>) -> Self {
        let (server, browser) = (certificate(), certificate());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &browser.certificate);
        let setup = PeerSetup {
            ice: IceCredentials {
                ufrag: Ufrag::new("serverUF").unwrap(),
                pwd: IcePassword::new(PWD.into()),
            },
            fingerprints: vec![Fingerprint {
                hash: "sha-256".into(),
                digest: digest.as_ref().to_vec(),
            }],
            setup: Default::default(),
            address: known,
        };
        let now = Instant::now();
        Self {
            now,
            peer: Peer::new(setup),
            role,
            dtls: Dtls::new(&server.certificate, &server.private_key).unwrap(),
            cookies: Cookies::new(&[3; 32], now),
            handshakes: known
                .into_iter()
                .map(|known| (known, Handshakes::default()))
                .collect(),
            certificate: browser,
        }
    }

    /// What the core does with a datagram, for its only peer.
    fn handle(&mut self, from: TransportAddress, data: &[u8], out: &mut Vec<Transmit>) -> Received {
        match Protocol::of(data) {
            Some(Protocol::Stun) => return self.peer.handle_stun(self.now, from, data, out),
            Some(Protocol::Dtls) => {}
            _ => return self.peer.handle_srtp(self.now, from, data),
        }
        let Some(handshakes) = self.handshakes.get_mut(&from) else {
            return Received::Nothing;
        };
        let (now, cookies) = (self.now, &self.cookies);
        let is_expected = |certificate: &[u8]| self.peer.is_of(certificate);
        for datagram in handshakes.screen(now, from, data, cookies, is_expected, out) {
            let shown = cookies.shown(now, from, &datagram);
            let start = |begin| self.dtls.begin(self.role, begin, now);
            let done =
                handshakes.handle(now, from, &datagram.into_owned().into(), shown, start, out);
            if let Some(done) = done.filter(|done| self.peer.is_of(done.certificate())) {
                self.peer.take_keys(done);
            }
        }
        Received::Nothing
    }

    fn check(&mut self, from: TransportAddress, nominate: bool) -> Vec<Transmit> {
        let mut m = Message::new();
        m.new_transaction_id().unwrap();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        m.add(ATTR_USERNAME, b"serverUF:browser");
        if nominate {
            m.add(ATTR_USE_CANDIDATE, &[]);
        }
        MessageIntegrity::new_short_term_integrity_with_provider(PWD.into(), &AwsLcRsCrypto)
            .add_to(&mut m)
            .unwrap();
        let mut out = Vec::new();
        self.handle(from, &m.raw, &mut out);
        self.handshakes.entry(from).or_default();
        out
    }

    /// Lets datagrams flow both ways until nothing moves. `lose` drops the server's n-th datagram.
    fn shake(&mut self, client: &mut Client, from: TransportAddress, lose: Option<usize>) {
        let mut sent = 0;
        loop {
            let mut out = Vec::new();
            for datagram in client.poll() {
                self.handle(from, &datagram, &mut out);
            }
            if out.is_empty() {
                return;
            }
            for transmit in out {
                assert_eq!(transmit.to, from);
                if Some(sent) != lose {
                    client.take(self.now, &transmit.data);
                }
                sent += 1;
            }
        }
    }

    /// Passes time on both sides, in steps of 50 ms.
    fn wait(&mut self, client: &mut Client, from: TransportAddress, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            let mut out = Vec::new();
            let handshakes = self.handshakes.get_mut(&from).expect("a known address");
            if handshakes.next_timeout().is_some_and(|at| at <= self.now) {
                let done = handshakes.handle_timeout(self.now, from, &mut out);
                assert!(
                    done.is_none(),
                    "a handshake does not complete by time alone"
                );
            }
            for transmit in out {
                client.take(self.now, &transmit.data);
            }
            let _ = client.dtls.handle_timeout(self.now);
            self.shake(client, from, None);
        }
    }

    fn connected(&mut self) -> Option<bool> {
        std::iter::from_fn(|| self.peer.poll_event()).find_map(|event| match event {
            PeerEvent::Connected { renewed, .. } => Some(renewed),
            PeerEvent::Address(_) => None,
        })
    }

    /// Whether a packet that the client encrypts arrives, and the other way round.
    fn media_flows(&mut self, client: &Client, from: TransportAddress, sequence: u16) -> bool {
        let (material, profile) = client.keys.as_ref().unwrap();
        let keys = SessionKeys::new(*profile, material).unwrap();
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3]);
        // `receiving` is keyed with the client's half: what a client sends with.
        let encrypted = keys.receiving().unwrap().encrypt_rtp(&packet).unwrap();
        let mut out = Vec::new();
        let arrived =
            matches!(self.handle(from, &encrypted, &mut out), Received::Rtp(p) if p == packet);
        let Some(sent) = protect(&mut self.peer, &packet) else {
            return false;
        };
        arrived
            && keys
                .sending()
                .unwrap()
                .decrypt_rtp(&sent)
                .is_ok_and(|p| p == packet)
    }
}

/// Encrypts an RTP packet.
fn protect(peer: &mut Peer, packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = packet.to_vec();
    let sending = peer.srtp.as_mut()?.sending.as_mut()?;
    sending.protect_rtp(&mut out, 0)?;
    Some(out)
}

fn connect(pair: &mut Pair, from: TransportAddress, auto: bool) -> Client {
    pair.check(from, true);
    let certificate = DtlsCertificate {
        certificate: pair.certificate.certificate.clone(),
        private_key: pair.certificate.private_key.clone(),
    };
    let mut client = Client::new(&certificate, auto, pair.now);
    pair.shake(&mut client, from, None);
    client
}

#[test]
fn a_viewer_gets_aes_256_gcm_and_media_flows_both_ways() {
    let mut pair = Pair::new(Role::Viewer, None);
    let client = connect(&mut pair, address(1), true);
    assert_eq!(pair.connected(), Some(false));
    assert_eq!(pair.peer.profile(), Some(Profile::AeadAes256Gcm));
    assert!(pair.media_flows(&client, address(1), 1));
}

#[test]
fn a_publisher_connects_with_dtls_1_3_and_with_1_2() {
    for auto in [true, false] {
        let mut pair = Pair::new(Role::Publisher, None);
        let client = connect(&mut pair, address(1), auto);
        assert_eq!(pair.connected(), Some(false), "auto {auto}");
        let version = if auto {
            dimpl::ProtocolVersion::DTLS1_3
        } else {
            dimpl::ProtocolVersion::DTLS1_2
        };
        assert_eq!(client.dtls.protocol_version(), Some(version));
        assert!(pair.media_flows(&client, address(1), 1));
    }
}

#[test]
fn a_client_hello_from_an_unproven_address_gets_no_byte_back() {
    let mut pair = Pair::new(Role::Viewer, None);
    pair.check(address(1), true);
    let mut client = Client::new(&certificate(), true, pair.now);
    let mut out = Vec::new();
    for datagram in client.poll() {
        pair.handle(address(2), &datagram, &mut out);
    }
    assert!(out.is_empty());
}

#[test]
fn a_recorded_address_may_start_a_handshake_before_its_next_check() {
    let mut pair = Pair::new(Role::Viewer, Some(address(1)));
    let mut client = Client::new(&pair.certificate, true, pair.now);
    pair.shake(&mut client, address(1), None);
    assert_eq!(pair.connected(), Some(false));
}

#[test]
fn another_certificate_never_gets_keys_and_live_keys_stay() {
    let mut pair = Pair::new(Role::Viewer, None);
    let good = connect(&mut pair, address(1), true);
    assert_eq!(pair.connected(), Some(false));
    let mut stranger = Client::new(&certificate(), true, pair.now);
    pair.shake(&mut stranger, address(1), None);
    assert_eq!(pair.connected(), None);
    assert!(pair.media_flows(&good, address(1), 2));
}

#[test]
fn a_second_handshake_renews_the_keys_only_once_it_is_complete() {
    let mut pair = Pair::new(Role::Publisher, None);
    let old = connect(&mut pair, address(1), true);
    assert_eq!(pair.connected(), Some(false));
    // Half a handshake.
    let mut new = Client::new(&pair.certificate, true, pair.now);
    let hello = new.poll();
    let mut out = Vec::new();
    for datagram in &hello {
        pair.handle(address(1), datagram, &mut out);
    }
    assert!(!out.is_empty());
    assert!(
        pair.media_flows(&old, address(1), 2),
        "a hello alone changes nothing"
    );
    for transmit in out {
        new.take(pair.now, &transmit.data);
    }
    pair.shake(&mut new, address(1), None);
    assert_eq!(pair.connected(), Some(true));
    assert!(pair.media_flows(&new, address(1), 3));
    assert!(
        !pair.media_flows(&old, address(1), 4),
        "the old keys are gone"
    );
}

#[test]
fn a_new_handshake_may_come_from_a_new_port() {
    let mut pair = Pair::new(Role::Viewer, Some(address(1)));
    connect(&mut pair, address(2), true);
    assert_eq!(pair.connected(), Some(false));
    assert_eq!(pair.peer.address(), Some(address(2)));
}

#[test]
fn media_follows_a_browser_whose_nat_has_forgotten_it_though_its_checks_nominate_nothing() {
    let mut pair = Pair::new(Role::Publisher, None);
    let client = connect(&mut pair, address(1), true);
    assert!(pair.media_flows(&client, address(1), 1));

    // A second path of the browser's, which it checks while it sends by the first one.
    pair.check(address(2), false);
    assert!(pair.media_flows(&client, address(2), 2));
    assert_eq!(
        pair.peer.address(),
        Some(address(1)),
        "it was there a moment ago"
    );

    // From now on everything comes from elsewhere.
    pair.now += LEFT;
    assert!(pair.media_flows(&client, address(3), 3));
    assert_eq!(
        pair.peer.address(),
        Some(address(1)),
        "nothing has checked from there"
    );
    pair.check(address(3), false);
    assert_eq!(
        pair.peer.address(),
        Some(address(1)),
        "a check alone may be somebody's replay"
    );
    assert!(pair.media_flows(&client, address(3), 4));
    assert_eq!(pair.peer.address(), Some(address(3)));
}

#[test]
fn each_lost_flight_of_the_server_is_repeated() {
    for role in [Role::Viewer, Role::Publisher] {
        for lose in 0..4 {
            let mut pair = Pair::new(role, Some(address(1)));
            let mut client = Client::new(&pair.certificate, true, pair.now);
            pair.shake(&mut client, address(1), Some(lose));
            pair.wait(&mut client, address(1), Duration::from_secs(4));
            assert!(
                client.keys.is_some(),
                "{role:?}, server datagram {lose} lost"
            );
            assert!(pair.peer.is_connected());
            assert!(pair.media_flows(&client, address(1), 5));
        }
    }
}

/// A record of a ClientHello, cut in two fragments by hand; the first one has this number.
fn halves(whole: &[u8], sequence: u8) -> [Vec<u8>; 2] {
    let body = &whole[25..];
    let fragment = |sequence: u8, from: usize, to: usize| {
        let mut record = whole[..25].to_vec();
        record[10] = sequence;
        record[11..13].copy_from_slice(&((12 + to - from) as u16).to_be_bytes());
        record[20..22].copy_from_slice(&(from as u16).to_be_bytes());
        record[23..25].copy_from_slice(&((to - from) as u16).to_be_bytes());
        record.extend(&body[from..to]);
        record
    };
    [
        fragment(sequence, 0, 100),
        fragment(sequence + 1, 100, body.len()),
    ]
}

#[test]
fn the_two_halves_of_a_client_hello_may_arrive_in_either_order() {
    let mut pair = Pair::new(Role::Viewer, Some(address(1)));
    let mut client = Client::new(&pair.certificate, true, pair.now);
    let [first, second] = halves(&client.poll()[0], 0);
    let mut out = Vec::new();
    pair.handle(address(1), &second, &mut out);
    assert!(out.is_empty());
    pair.handle(address(1), &first, &mut out);
    assert!(!out.is_empty(), "the early half was kept");
}

#[test]
fn half_a_client_hello_of_the_attempt_before_is_no_part_of_the_next_one() {
    let mut pair = Pair::new(Role::Viewer, Some(address(1)));
    let mut old = Client::new(&pair.certificate, true, pair.now);
    let hello = old.poll();
    for sequence in [0, 2] {
        pair.now += Duration::from_millis(50);
        let mut out = Vec::new();
        for half in halves(&hello[0], sequence) {
            pair.handle(address(1), &half, &mut out);
        }
        assert!(!out.is_empty(), "answered, and again");
    }
    let mut client = Client::new(&pair.certificate, true, pair.now);
    let mut out = Vec::new();
    for half in halves(&client.poll()[0], 0) {
        pair.handle(address(1), &half, &mut out);
    }
    for transmit in out {
        client.take(pair.now, &transmit.data);
    }
    pair.shake(&mut client, address(1), None);
    assert!(pair.peer.is_connected() && client.keys.is_some());
    assert!(pair.media_flows(&client, address(1), 5));
}

#[test]
fn a_flood_of_client_hellos_is_cut_short_and_the_browser_still_gets_through() {
    for (role, auto) in [
        (Role::Viewer, true),
        (Role::Publisher, true),
        (Role::Publisher, false),
    ] {
        let mut pair = Pair::new(role, Some(address(1)));
        let (mut bytes_in, mut out) = (0, Vec::new());
        for _ in 0..100 {
            let mut flood = Client::new(&certificate(), auto, pair.now);
            for datagram in flood.poll() {
                bytes_in += datagram.len();
                pair.handle(address(1), &datagram, &mut out);
            }
            pair.now += Duration::from_millis(2);
        }
        let bytes_out: usize = out.iter().map(|transmit| transmit.data.len()).sum();
        assert!(
            bytes_out < bytes_in,
            "{bytes_out} bytes out for {bytes_in} in"
        );
        // At once, since its cookie shows that it is where it says; whichever of the answers it
        // takes for its own.
        let mut client = Client::new(&pair.certificate, auto, pair.now);
        let hello = client.poll();
        client.take(
            pair.now,
            &out.last().expect("an answer to somebody else").data,
        );
        for datagram in hello {
            pair.handle(address(1), &datagram, &mut out);
        }
        pair.shake(&mut client, address(1), None);
        assert_eq!(pair.connected(), Some(false), "{role:?}, auto {auto}");
        assert!(pair.media_flows(&client, address(1), 1));
    }
}

#[test]
fn forged_alerts_and_forged_parts_of_a_flight_cost_a_handshake_nothing() {
    let record = |content: u8, epoch: u8, body: &[u8]| {
        let mut record = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 9, 9];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    };
    let message = |kind: u8, sequence: u8, body: &[u8]| {
        let length = [0, 0, body.len() as u8];
        let header = [&[kind], &length[..], &[0, sequence, 0, 0, 0], &length].concat();
        record(22, 0, &[&header[..], body].concat())
    };
    let forged = [
        record(21, 0, &[2, 40]),
        record(21, 0, &[1, 0]),
        record(21, 1, &[7; 18]),
        record(20, 0, &[1]),
        record(26, 0, &[0; 18]),
        record(99, 0, &[0; 18]),
        message(11, 1, &[0, 0, 6, 0, 0, 3, 1, 2, 3]),
        message(16, 2, &[32; 33]),
        message(15, 3, &[4, 3, 0, 4, 1, 2, 3, 4]),
        message(20, 4, &[9; 12]),
        message(11, 2, &[0, 0, 0]),
        vec![0x2f, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        vec![22; 13],
        vec![23; 700],
    ];
    for (role, auto) in [
        (Role::Viewer, true),
        (Role::Publisher, true),
        (Role::Publisher, false),
    ] {
        let mut pair = Pair::new(role, Some(address(1)));
        let mut client = Client::new(&pair.certificate, auto, pair.now);
        let mut to_server = client.poll();
        for _ in 0..6 {
            let mut out = Vec::new();
            for datagram in std::mem::take(&mut to_server) {
                for forged in &forged {
                    pair.handle(address(1), forged, &mut out);
                }
                pair.handle(address(1), &datagram, &mut out);
            }
            for transmit in out {
                client.take(pair.now, &transmit.data);
            }
            to_server = client.poll();
        }
        assert_eq!(pair.connected(), Some(false), "{role:?}, auto {auto}");
        assert!(pair.media_flows(&client, address(1), 1));
    }
}

#[test]
fn packets_of_unknown_streams_cannot_fill_the_memory_and_do_not_disturb() {
    let mut pair = Pair::new(Role::Publisher, None);
    let client = connect(&mut pair, address(1), true);
    for ssrc in 0..10_000_u32 {
        let mut forged = vec![0x80, 96, 0, 1, 0, 0, 0, 9];
        forged.extend(ssrc.to_be_bytes());
        forged.extend([0; 40]);
        assert!(matches!(
            pair.handle(address(1), &forged, &mut Vec::new()),
            Received::Nothing
        ));
    }
    assert!(pair.media_flows(&client, address(1), 9));
}

#[test]
fn a_packet_from_before_the_wrap_is_not_protected_under_keys_that_began_after_it() {
    let mut pair = Pair::new(Role::Viewer, None);
    connect(&mut pair, address(1), true);
    let packet = |sequence: u16| {
        let mut p = vec![0x80, 96];
        p.extend(sequence.to_be_bytes());
        p.extend([0, 0, 0, 9, 0, 0, 0, 7, 1]);
        p
    };
    assert!(protect(&mut pair.peer, &packet(3)).is_some());
    assert!(protect(&mut pair.peer, &packet(65_530)).is_none());
    assert!(protect(&mut pair.peer, &packet(1)).is_some());
    assert!(protect(&mut pair.peer, &packet(4)).is_some());
}
