//! One browser's connection, without media: the controlling agent of ICE, DTLS, SRTP. It implements
//! how keys are renewed; its page ([`crate::page`]) decides when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dimpl::SrtpProfile;
use rtc_shared::error::Error;

use crate::association::{Association, Certificate, Keys, Options};
use crate::ice::{self, Credentials};
use crate::manner::{Browser, CHECK_SLOW, Manner, check_pause, first_rto};
use crate::random::Random;

/// Most checks whose response is awaited.
const MAX_TRANSACTIONS: usize = 16;

/// What offer and answer agreed on, besides media.
pub struct Session {
    /// ICE credentials of both sides.
    pub credentials: Credentials,
    /// The client's certificate.
    pub certificate: Certificate,
    /// SHA-256 of the server's certificate, from its answer.
    pub fingerprint: Vec<u8>,
    /// Whether the client begins the DTLS handshakes.
    pub active: bool,
}

/// Counters of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// SRTP without matching keys, or that failed authentication.
    pub undecryptable: u64,
    /// SRTP that arrived twice under the same keys.
    pub replayed: u64,
    /// Handshakes with another certificate than the answer's.
    pub wrong_certificate: u64,
    /// Checks that were answered with success.
    pub checks_answered: u64,
    /// Checks that were answered with an error.
    pub checks_refused: u64,
}

/// The result of a datagram.
#[derive(Debug)]
pub enum Received {
    Nothing,
    /// A check was answered, after this round-trip time.
    RoundTrip(Duration),
    /// Fresh keys are in use.
    Keys,
    /// Authentic, decrypted.
    Rtp(BytesMut),
    /// Authentic, decrypted.
    Rtcp(BytesMut),
}

/// See the module.
pub struct Connection {
    /// The browser that it behaves like.
    pub manner: Manner,
    /// What was agreed on.
    pub session: Session,
    /// The client's address; unspecified where it is not known.
    pub address: SocketAddr,
    /// The server's media address.
    pub server: SocketAddr,
    /// What came under way.
    pub counts: ConnectionCounts,
    /// How many handshakes were begun.
    pub handshakes_started: u64,
    /// How many were completed.
    pub handshakes: u64,
    /// When the present or last handshake began.
    pub hello_at: Option<Instant>,
    /// When the last handshake was complete.
    pub connected_at: Option<Instant>,
    random: Random,
    /// The round-trip time of ICE checks; the shortest, since those at busy moments say little.
    rtt: Option<Duration>,
    ice_up: bool,
    next_check: Option<Instant>,
    /// Checks since the last change of the port.
    checks: u32,
    transactions: Vec<([u8; 12], Instant)>,
    association: Option<Association>,
    keys: Option<Keys>,
    wants_to_move: bool,
    sent_at: Option<Instant>,
    out: Vec<Bytes>,
}

impl Connection {
    /// A connection whose first check is due now.
    pub fn new(
        manner: Manner,
        session: Session,
        address: SocketAddr,
        server: SocketAddr,
        random: Random,
        now: Instant,
    ) -> Self {
        Self {
            manner,
            session,
            address,
            server,
            counts: ConnectionCounts::default(),
            handshakes_started: 0,
            handshakes: 0,
            hello_at: None,
            connected_at: None,
            random,
            rtt: None,
            ice_up: false,
            next_check: Some(now),
            checks: 0,
            transactions: Vec::new(),
            association: None,
            keys: None,
            wants_to_move: false,
            sent_at: None,
            out: Vec::new(),
        }
    }

    /// Whether there are keys.
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// The round-trip time of checks.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When a datagram of a handshake was last sent, where this browser reports it (Firefox does
    /// not, and need not: see [`Connection::mixes`]).
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent_at.filter(|_| self.mixes())
    }

    /// Whether the answer to a ClientHello may reach the attempt after it, since both have the same
    /// port.
    pub fn mixes(&self) -> bool {
        self.manner.browser == Browser::Chromium
    }

    /// Whether the present handshake has failed.
    pub fn has_failed(&self) -> bool {
        self.association.as_ref().is_some_and(|one| one.failed)
    }

    /// Whether a handshake has failed for good.
    pub fn is_broken(&self) -> bool {
        self.keys.is_none() && self.has_failed()
    }

    /// The exporter's output of the present association.
    pub fn exported(&self) -> Option<&(Vec<u8>, SrtpProfile)> {
        self.association.as_ref()?.exported.as_ref()
    }

    /// Datagrams that are to be sent.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// The page applies its edited SDP: a new association. Returns an attempt that had not
    /// completed.
    pub fn renew(&mut self, now: Instant) -> Option<Association> {
        let mut old = self.association.take();
        if self.keys.take().is_some()
            && let Some(mut old) = old.take()
        {
            old.close(now);
            self.out.extend(old.outgoing());
        }
        match self.manner.browser {
            Browser::Chromium if self.ice_up => self.start_handshake(now),
            Browser::Chromium => {}
            Browser::Firefox => {
                self.wants_to_move = true;
                self.restart_checks(now);
            }
        }
        old
    }

    /// Whether a new port is needed, which [`Connection::move_to`] provides.
    pub fn wants_to_move(&self) -> bool {
        self.wants_to_move
    }

    /// The client has another address, and checks from it at once.
    pub fn move_to(&mut self, address: SocketAddr, now: Instant) {
        self.wants_to_move = false;
        self.address = address;
        self.restart_checks(now);
    }

    /// Gives up its keys and begins anew: with a check of a server, which may be another one with
    /// the same session, and then a handshake.
    pub fn begin_anew(&mut self, server: SocketAddr, now: Instant) {
        self.server = server;
        self.keys = None;
        self.association = None;
        self.wants_to_move = false;
        self.restart_checks(now);
    }

    fn restart_checks(&mut self, now: Instant) {
        self.ice_up = false;
        self.transactions.clear();
        self.checks = 0;
        self.next_check = Some(now);
    }

    fn options(&self) -> Options {
        Options {
            offer: self.manner.offer,
            mtu: self.manner.mtu,
            rto: first_rto(self.manner.browser, self.rtt.unwrap_or_default()),
        }
    }

    /// ClientHello datagrams of a handshake that an attacker with this certificate starts from
    /// here.
    pub fn client_hello(&mut self, certificate: &Certificate, now: Instant) -> Vec<Bytes> {
        let seed = self.seed();
        Association::new(certificate, self.options(), seed, now).outgoing()
    }

    /// A check like this client's, but with another password.
    pub fn forged_check(&mut self, pwd: &str) -> Vec<u8> {
        ice::check(&self.session.credentials, pwd, self.random.bytes())
    }

    fn seed(&mut self) -> Option<u64> {
        self.manner.seeded.then(|| self.random.draw())
    }

    fn start_handshake(&mut self, now: Instant) {
        self.handshakes_started += 1;
        self.hello_at = Some(now);
        self.sent_at = Some(now);
        let (options, seed) = (self.options(), self.seed());
        let certificate = &self.session.certificate;
        let mut association = if self.session.active {
            Association::new(certificate, options, seed, now)
        } else {
            Association::passive(certificate, options, now)
        };
        association.remembers = self.manner.remembers_keys;
        self.out.extend(association.outgoing());
        self.association = Some(association);
    }

    /// Takes a datagram from the server.
    pub fn handle(&mut self, now: Instant, data: &[u8]) -> Received {
        // RFC 7983.
        match data.first() {
            Some(0..=3) => self.handle_stun(now, data),
            Some(20..=63) => {
                // The other side may begin before it has answered a check.
                if self.association.is_none() && !self.session.active {
                    self.start_handshake(now);
                }
                if let Some(association) = &mut self.association {
                    association.drive(now, Some(data));
                }
                self.settle(now)
            }
            Some(128..=191) => self.handle_srtp(data),
            _ => Received::Nothing,
        }
    }

    fn handle_stun(&mut self, now: Instant, data: &[u8]) -> Received {
        let credentials = &self.session.credentials;
        if let Some(response) = ice::respond(credentials, self.server, data) {
            self.out.push(response.into());
            return Received::Nothing;
        }
        // A Binding error response (RFC 8489 §5).
        self.counts.checks_refused += u64::from(data.starts_with(&[0x01, 0x11]));
        let success = ice::success(credentials, self.address, data);
        let place = success.and_then(|success| {
            self.transactions
                .iter()
                .position(|(transaction, _)| *transaction == success)
        });
        let Some(place) = place else {
            return Received::Nothing;
        };
        let (_, sent) = self.transactions[place];
        self.transactions.drain(..=place);
        self.counts.checks_answered += 1;
        let rtt = now.saturating_duration_since(sent);
        self.rtt = Some(self.rtt.map_or(rtt, |shortest| shortest.min(rtt)));
        if !std::mem::replace(&mut self.ice_up, true) {
            self.next_check = Some(now + CHECK_SLOW);
            if self.session.active || self.association.is_none() {
                self.start_handshake(now);
            }
        }
        Received::RoundTrip(rtt)
    }

    /// After the association was driven.
    fn settle(&mut self, now: Instant) -> Received {
        let Some(association) = &mut self.association else {
            return Received::Nothing;
        };
        let before = self.out.len();
        self.out.extend(association.outgoing());
        if self.out.len() > before {
            self.sent_at = Some(now);
        }
        match association.keys(&self.session.fingerprint) {
            Some(Ok(keys)) => {
                self.keys = Some(keys);
                self.connected_at = Some(now);
                self.handshakes += 1;
                Received::Keys
            }
            Some(Err(_)) => {
                self.counts.wrong_certificate += 1;
                Received::Nothing
            }
            None => Received::Nothing,
        }
    }

    fn handle_srtp(&mut self, data: &[u8]) -> Received {
        let Some(keys) = &mut self.keys else {
            self.counts.undecryptable += 1;
            return Received::Nothing;
        };
        // RFC 5761 §4.
        let is_rtcp = matches!(data.get(1), Some(192..=223));
        let plain = if is_rtcp {
            keys.receiving.decrypt_rtcp(data).map(Received::Rtcp)
        } else {
            keys.receiving.decrypt_rtp(data).map(Received::Rtp)
        };
        plain.unwrap_or_else(|error| {
            match error {
                Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => {
                    self.counts.replayed += 1;
                }
                _ => self.counts.undecryptable += 1,
            }
            Received::Nothing
        })
    }

    /// Encrypts and sends RTP. Without keys nothing is sent.
    pub fn send_rtp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys
            && let Ok(packet) = keys.sending.encrypt_rtp(packet)
        {
            self.out.push(packet.freeze());
        }
    }

    /// Encrypts and sends RTCP. Without keys nothing is sent.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys
            && let Ok(packet) = keys.sending.encrypt_rtcp(packet)
        {
            self.out.push(packet.freeze());
        }
    }

    /// Sends a datagram without any rules, as an attacker at this address would.
    pub fn inject(&mut self, data: impl Into<Bytes>) {
        self.out.push(data.into());
    }

    /// When [`Connection::handle_timeout`] is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let handshake = self.association.as_ref().filter(|one| !one.failed);
        [self.next_check, handshake.map(|one| one.next)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Received {
        if self.next_check.is_some_and(|at| at <= now) {
            self.send_check(now);
        }
        if let Some(association) = self.association.as_mut().filter(|one| one.next <= now) {
            association.drive(now, None);
        }
        self.settle(now)
    }

    fn send_check(&mut self, now: Instant) {
        let transaction = self.random.bytes();
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.transactions.remove(0);
        }
        self.transactions.push((transaction, now));
        let credentials = &self.session.credentials;
        let check = ice::check(credentials, &credentials.server_pwd, transaction);
        self.out.push(check.into());
        let pause = if self.ice_up {
            CHECK_SLOW
        } else {
            check_pause(self.manner.browser, self.checks)
        };
        self.next_check = Some(now + pause);
        self.checks += 1;
    }

    /// Datagrams to send.
    pub fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }
}
