//! One browser: ICE, DTLS, SRTP, and what it does when its page says that the server is gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::ids::Role;

use rtc_shared::error::Error;

use super::Random;
use super::receiver::Receiver;
use super::sender::Sender;
use rekindle_client::association::{Association, Certificate, Keys, Options};
use rekindle_client::ice::{self, Credentials};

/// Until the first check was answered, and then.
const CHECK_FAST: Duration = Duration::from_millis(50);
const CHECK_SLOW: Duration = Duration::from_millis(2500);
/// The page applies its edited SDP again after so long.
pub const RENEW_AGAIN: Duration = Duration::from_millis(500);

/// How a browser renews its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    /// Same port, ClientHello at once.
    Chromium,
    /// New port, ICE first.
    Firefox,
}

pub enum Side {
    Publisher(Box<Sender>),
    Viewer(Box<Receiver>),
}

pub struct Client {
    pub role: Role,
    pub browser: Browser,
    pub address: SocketAddr,
    pub credentials: Credentials,
    pub certificate: Certificate,
    /// SHA-256 that the answer names.
    pub server_fingerprint: Vec<u8>,
    pub only_12: bool,
    pub mtu: usize,
    /// The page runs the recovery when the server goes; a plain WHIP client does not.
    pub has_page: bool,
    pub side: Side,
    random: Random,
    ice_up: bool,
    next_check: Option<Instant>,
    transactions: Vec<[u8; 12]>,
    association: Option<Association>,
    /// Attempts that the page gave up, if they are to be remembered: what answers one of them is
    /// known by what it makes them do.
    given_up: Vec<(u64, Association)>,
    /// The server has answered the present one.
    is_answered: bool,
    pub remembers: bool,
    /// Answers to attempts that had been given up, by the number of the attempt.
    pub late_answers: Vec<(u64, Bytes)>,
    keys: Option<Keys>,
    /// What each handshake's exporter gave.
    pub exported: Vec<(Vec<u8>, dimpl::SrtpProfile)>,
    renew_at: Option<Instant>,
    /// How long its page waits for an attempt: it knows the round trip.
    pub patience: Duration,
    /// When each handshake completed.
    pub connected_at: Vec<Instant>,
    pub handshakes_started: u64,
    /// SRTP without keys for it, or that did not authenticate.
    pub undecryptable: u64,
    /// SRTP that came twice under the same keys.
    pub replayed: u64,
    pub checks_answered: u64,
    /// Checks that were answered with an error.
    pub checks_refused: u64,
    out: Vec<Bytes>,
}

impl Client {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        role: Role,
        address: SocketAddr,
        credentials: Credentials,
        certificate: Certificate,
        server_fingerprint: Vec<u8>,
        side: Side,
        random: Random,
        now: Instant,
    ) -> Self {
        Self {
            role,
            browser: Browser::Chromium,
            address,
            credentials,
            certificate,
            server_fingerprint,
            only_12: false,
            mtu: 1200,
            has_page: true,
            side,
            random,
            ice_up: false,
            next_check: Some(now),
            transactions: Vec::new(),
            association: None,
            given_up: Vec::new(),
            is_answered: false,
            remembers: false,
            late_answers: Vec::new(),
            keys: None,
            exported: Vec::new(),
            renew_at: None,
            patience: RENEW_AGAIN,
            connected_at: Vec::new(),
            handshakes_started: 0,
            undecryptable: 0,
            replayed: 0,
            checks_answered: 0,
            checks_refused: 0,
            out: Vec::new(),
        }
    }

    /// The present attempt came to a bad end.
    pub fn has_failed(&self) -> bool {
        self.association
            .as_ref()
            .is_some_and(|association| association.failed)
    }

    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    pub fn sender(&self) -> &Sender {
        match &self.side {
            Side::Publisher(sender) => sender,
            Side::Viewer(_) => panic!("a viewer sends no media"),
        }
    }

    pub fn sender_mut(&mut self) -> &mut Sender {
        match &mut self.side {
            Side::Publisher(sender) => sender,
            Side::Viewer(_) => panic!("a viewer sends no media"),
        }
    }

    pub fn receiver(&self) -> &Receiver {
        match &self.side {
            Side::Viewer(receiver) => receiver,
            Side::Publisher(_) => panic!("a publisher receives no media"),
        }
    }

    pub fn receiver_mut(&mut self) -> &mut Receiver {
        match &mut self.side {
            Side::Viewer(receiver) => receiver,
            Side::Publisher(_) => panic!("a publisher receives no media"),
        }
    }

    /// The page applies its edited SDP: a new association, and again until one is up.
    pub fn renew(&mut self, now: Instant) {
        match self.association.take() {
            Some(mut old) if self.keys.is_some() => {
                old.close(now);
                self.out.extend(old.outgoing());
            }
            Some(old) if self.remembers && !self.is_answered => {
                self.given_up.push((self.handshakes_started, old))
            }
            _ => {}
        }
        self.keys = None;
        self.renew_at = Some(now + self.patience);
        match self.browser {
            Browser::Chromium if self.ice_up => self.start_handshake(now),
            Browser::Chromium => {}
            Browser::Firefox => {
                let port = self.address.port() + 1;
                self.move_to(SocketAddr::new(self.address.ip(), port), now);
            }
        }
    }

    /// The browser has another address, and checks it at once.
    pub fn move_to(&mut self, address: SocketAddr, now: Instant) {
        self.address = address;
        self.ice_up = false;
        self.transactions.clear();
        self.next_check = Some(now);
    }

    /// A page that gives up: no more renewing.
    pub fn stop_renewing(&mut self) {
        self.renew_at = None;
        self.has_page = false;
    }

    fn options(&self) -> Options {
        Options {
            only_12: self.only_12,
            mtu: self.mtu,
            // As Chromium.
            rto: Duration::from_millis(50),
        }
    }

    fn start_handshake(&mut self, now: Instant) {
        self.handshakes_started += 1;
        self.is_answered = false;
        let seed = self.random.draw();
        let mut association = Association::new(&self.certificate, self.options(), Some(seed), now);
        self.out.extend(association.outgoing());
        self.association = Some(association);
    }

    /// Takes a datagram from the server.
    pub fn handle(&mut self, now: Instant, to: SocketAddr, data: &[u8]) {
        if to != self.address {
            return;
        }
        match data.first() {
            Some(0..=3) => self.handle_stun(now, data),
            Some(20..=63) => {
                let before = self.out.len();
                if let Some(association) = &mut self.association {
                    association.drive(now, Some(data));
                }
                self.settle(now);
                // A HelloVerifyRequest says nothing of who it answers.
                let asks = data.get(13) == Some(&3);
                if self.out.len() > before {
                    self.is_answered |= !asks;
                } else if !asks && !self.is_answered {
                    // Once it has the answer to its own ClientHello, it takes all others for
                    // repetitions.
                    self.look_back(now, data);
                }
            }
            Some(128..=191) => self.handle_srtp(now, data),
            _ => {}
        }
    }

    /// Whether a datagram that meant nothing to the present attempt answers one that was given up.
    fn look_back(&mut self, now: Instant, data: &[u8]) {
        let late_answers = &mut self.late_answers;
        self.given_up.retain_mut(|(number, attempt)| {
            // What its own timer makes it say is no answer to anything.
            attempt.drive(now, None);
            attempt.outgoing();
            attempt.drive(now, Some(data));
            let is_answered = !attempt.outgoing().is_empty();
            if is_answered {
                late_answers.push((*number, Bytes::copy_from_slice(data)));
            }
            // From its answer on it repeats its flight whatever comes.
            !is_answered && !attempt.failed
        });
    }

    fn handle_stun(&mut self, now: Instant, data: &[u8]) {
        // A Binding error response (RFC 8489 §5).
        self.checks_refused += u64::from(data.starts_with(&[0x01, 0x11]));
        let Some(transaction) = ice::success(&self.credentials, self.address, data) else {
            return;
        };
        let Some(at) = self.transactions.iter().position(|t| *t == transaction) else {
            return;
        };
        self.transactions.drain(..=at);
        self.checks_answered += 1;
        if !std::mem::replace(&mut self.ice_up, true) {
            self.next_check = Some(now + CHECK_SLOW);
            self.start_handshake(now);
        }
    }

    /// After the association was driven.
    fn settle(&mut self, now: Instant) {
        let Some(association) = &mut self.association else {
            return;
        };
        self.out.extend(association.outgoing());
        let Some(keys) = association.keys(&self.server_fingerprint) else {
            return;
        };
        self.exported.extend(association.exported.clone());
        self.keys = Some(keys.expect("the server's certificate is the one in its answer"));
        self.renew_at = None;
        self.connected_at.push(now);
        self.given_up.clear();
        if let Side::Publisher(sender) = &mut self.side {
            sender.start(now);
        }
    }

    fn handle_srtp(&mut self, now: Instant, data: &[u8]) {
        let Some(keys) = &mut self.keys else {
            self.undecryptable += 1;
            return;
        };
        let is_rtcp = matches!(data.get(1), Some(192..=223));
        let plain = if is_rtcp {
            keys.receiving.decrypt_rtcp(data)
        } else {
            keys.receiving.decrypt_rtp(data)
        };
        let plain = match plain {
            Ok(plain) => plain,
            Err(Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..)) => {
                self.replayed += 1;
                return;
            }
            Err(_) => {
                self.undecryptable += 1;
                return;
            }
        };
        match (&mut self.side, is_rtcp) {
            (Side::Publisher(sender), true) => {
                let mut again = Vec::new();
                sender.handle_rtcp(now, &plain, &mut again);
                again.iter().for_each(|packet| self.send_rtp(packet));
            }
            (Side::Publisher(_), false) => panic!("a publisher gets no media"),
            (Side::Viewer(receiver), true) => receiver.handle_rtcp(now, &plain),
            (Side::Viewer(receiver), false) => {
                receiver.handle_rtp(now, &plain);
                self.send_requests(now);
            }
        }
    }

    fn send_rtp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys {
            self.out
                .push(keys.sending.encrypt_rtp(packet).unwrap().freeze());
        }
    }

    /// Encrypts and sends RTCP.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys {
            self.out
                .push(keys.sending.encrypt_rtcp(packet).unwrap().freeze());
        }
    }

    fn send_requests(&mut self, now: Instant) {
        let Side::Viewer(receiver) = &mut self.side else {
            return;
        };
        if self.keys.is_none() {
            return;
        }
        if let Some(packet) = receiver.make(now) {
            self.send_rtcp(&packet);
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let dtls = self
            .association
            .as_ref()
            .filter(|a| !a.failed)
            .map(|a| a.next);
        let media = match &self.side {
            Side::Publisher(sender) => sender.next(),
            Side::Viewer(receiver) => receiver.next().filter(|_| self.keys.is_some()),
        };
        [self.next_check, dtls, media, self.renew_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_some_and(|at| at <= now) {
            let transaction = self.random.bytes();
            self.transactions.push(transaction);
            let check = ice::check(&self.credentials, &self.credentials.server_pwd, transaction);
            self.out.push(check.into());
            self.next_check = Some(now + if self.ice_up { CHECK_SLOW } else { CHECK_FAST });
        }
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew(now);
        }
        if let Some(association) = self.association.as_mut().filter(|a| a.next <= now) {
            association.drive(now, None);
        }
        self.settle(now);
        let connected = self.keys.is_some();
        if let Side::Publisher(sender) = &mut self.side {
            let (mut rtp, mut rtcp) = (Vec::new(), Vec::new());
            sender.make(now, connected, &mut rtp, &mut rtcp);
            rtp.iter().for_each(|packet| self.send_rtp(packet));
            rtcp.iter().for_each(|packet| self.send_rtcp(packet));
        }
        self.send_requests(now);
    }

    /// Datagrams to send.
    pub fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }

    /// A check as this browser would send it, but with another password.
    pub fn forged_check(&mut self, pwd: &str) -> Vec<u8> {
        let transaction = self.random.bytes();
        ice::check(&self.credentials, pwd, transaction)
    }

    /// ClientHello datagrams of a handshake that somebody with this certificate starts.
    pub fn client_hello(&mut self, certificate: &Certificate, now: Instant) -> Vec<Bytes> {
        let seed = self.random.draw();
        Association::new(certificate, self.options(), Some(seed), now).outgoing()
    }

    /// Datagrams to the server outside all rules: what an attacker at this address would send.
    pub fn inject(&mut self, data: impl Into<Bytes>) {
        self.out.push(data.into());
    }
}
