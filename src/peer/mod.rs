//! One browser: ICE-lite, DTLS, SRTP, glued without I/O. Told the time, never asks.

mod dtls;
#[cfg(feature = "full-state")]
#[path = "../full_state/peer.rs"]
pub(crate) mod full_state;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshakes;
mod ice;
#[cfg(test)]
mod secrecy;
mod srtp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

pub(crate) use dtls::client_random;
pub use dtls::{Dtls, DtlsError, Identities};
use handshakes::Handshakes;
use srtp::Srtp;
pub use srtp::{Profile, SessionKeys};

use crate::sdp::Fingerprint;
use crate::stack;
use crate::vault::{IceCredentials, Role};

/// How long a STUN check proves an address: a ClientHello from it is taken for so long. Browsers check every 2.5 s at the
/// least while media flows; 30 s is the consent of RFC 7675 §5.1.
const PROOF: Duration = Duration::from_secs(30);
/// Addresses whose proof is remembered, the latest first.
const MAX_PROVEN: usize = 4;

/// What a peer is made from: its record.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Publisher or viewer: decides the DTLS versions offered.
    pub role: Role,
    /// The server's ICE credentials for this peer.
    pub ice: IceCredentials,
    /// What the browser's certificate must match.
    pub fingerprints: Vec<Fingerprint>,
    /// The address that passed a check in an earlier boot. A ClientHello is taken from it without a new check, since the browser sends
    /// one before its next check is due.
    pub address: Option<SocketAddr>,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The datagram.
    pub data: Bytes,
}

/// What a datagram turned out to be, once checked.
#[derive(Debug)]
pub enum Received {
    /// Nothing for the layer above: answered, swallowed or dropped.
    Nothing,
    /// A STUN check passed: `from` belongs to this peer from now on.
    Checked,
    /// An authenticated RTP packet, decrypted.
    Rtp(BytesMut),
    /// An authenticated compound RTCP packet, decrypted.
    Rtcp(BytesMut),
}

/// What became of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A ClientHello has begun a new handshake.
    Handshake,
    /// A DTLS handshake completed and fresh SRTP keys are in use, in both directions.
    Connected {
        /// The peer had keys of this boot already: a false alarm of the page, or a second restart of its own.
        renewed: bool,
        /// From the first ClientHello of this handshake.
        took: Duration,
    },
    /// The address that media goes to changed.
    Address(SocketAddr),
}

/// One browser.
pub struct Peer {
    setup: PeerSetup,
    dtls: Arc<Dtls>,
    /// Addresses that passed a check lately, and when.
    proven: Vec<(SocketAddr, Instant)>,
    /// The address that the browser nominated last (RFC 8445 §8.1.1), where that is not in use yet.
    nominated: Option<SocketAddr>,
    handshakes: Handshakes,
    srtp: Option<Srtp>,
    last_heard: Option<Instant>,
    last_check: Option<Instant>,
    begun: Option<PeerEvent>,
    connected: Option<PeerEvent>,
    moved: Option<PeerEvent>,
    /// In full-state mode: see [`Peer::keep_sessions`].
    #[cfg(feature = "full-state")]
    keeps: Option<full_state::Wanted>,
}

impl Peer {
    /// A peer as its record has it; no keys yet.
    pub fn new(setup: PeerSetup, dtls: Arc<Dtls>, now: Instant) -> Self {
        let proven = setup.address.map(|address| (address, now)).into_iter().collect();
        Self {
            setup,
            dtls,
            proven,
            nominated: None,
            handshakes: Handshakes::default(),
            srtp: None,
            last_heard: None,
            last_check: None,
            begun: None,
            connected: None,
            moved: None,
            #[cfg(feature = "full-state")]
            keeps: None,
        }
    }

    /// Takes a datagram. Answers (STUN, DTLS) are appended to `out`. The first byte tells the protocol (RFC 7983 §7).
    pub fn handle(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) -> Received {
        match data.first() {
            Some(0..=3) => self.handle_stun(now, from, data, out),
            Some(20..=63) => {
                self.handle_dtls(now, from, data, out);
                Received::Nothing
            }
            Some(128..=191) => self.handle_srtp(now, from, data),
            _ => Received::Nothing,
        }
    }

    fn handle_stun(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) -> Received {
        let Some(checked) = ice::check(data, from, &self.setup.ice) else {
            return Received::Nothing;
        };
        out.push(Transmit {
            to: from,
            data: checked.response.into(),
        });
        if checked.refused {
            return Received::Nothing;
        }
        self.last_heard = Some(now);
        self.last_check = Some(now);
        self.proven.retain(|(address, _)| *address != from);
        self.proven.insert(0, (from, now));
        self.proven.truncate(MAX_PROVEN);
        if self.srtp.is_none() {
            if checked.nominated || self.setup.address.is_none() {
                self.move_to(from);
            }
        } else if checked.nominated {
            self.nominated = Some(from).filter(|from| self.setup.address != Some(*from));
        }
        Received::Checked
    }

    fn handle_dtls(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) {
        let random = dtls::client_random(data);
        if random.is_some() && !self.is_proven(now, from) {
            return;
        }
        let begun = &mut self.begun;
        let start = || {
            *begun = Some(PeerEvent::Handshake);
            self.dtls.handshake(self.setup.role, now)
        };
        let done = self.handshakes.handle(now, from, random, data, start, out);
        self.finish(done);
        stack::wipe();
    }

    fn is_proven(&self, now: Instant, from: SocketAddr) -> bool {
        self.proven
            .iter()
            .any(|(address, at)| *address == from && now.saturating_duration_since(*at) <= PROOF)
    }

    /// Puts a completed handshake's keys to use, if it was the right browser's.
    fn finish(&mut self, done: Option<handshakes::Done>) {
        let Some(done) = done else { return };
        if !matches_all(&done.completed.certificate, &self.setup.fingerprints) {
            tracing::warn!("a DTLS handshake ended with a certificate that the offer does not name; ignored");
            return;
        }
        let Some(srtp) = Srtp::new(done.completed.keys) else {
            return;
        };
        #[cfg(feature = "full-state")]
        let srtp = full_state::kept(srtp, self.keeps.as_ref());
        let renewed = self.srtp.replace(srtp).is_some();
        self.last_heard = Some(done.at);
        self.move_to(done.from);
        self.connected = Some(PeerEvent::Connected {
            renewed,
            took: done.took,
        });
    }

    /// Live media moves to a nominated address only once an authentic packet comes from there: a check alone can be replayed from
    /// anywhere, and has no replay protection (RFC 8489 §16.2.2).
    fn handle_srtp(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> Received {
        let Some(srtp) = &mut self.srtp else {
            return Received::Nothing;
        };
        // RFC 5761 §4: RTCP packet types as seen in the second byte.
        let rtcp = matches!(data.get(1), Some(192..=223));
        let plain = if rtcp {
            srtp.unprotect_rtcp(data)
        } else {
            srtp.unprotect_rtp(data)
        };
        let Some(plain) = plain else { return Received::Nothing };
        self.last_heard = Some(now);
        if self.nominated == Some(from) {
            self.nominated = None;
            self.move_to(from);
        }
        if rtcp {
            Received::Rtcp(plain)
        } else {
            Received::Rtp(plain)
        }
    }

    fn move_to(&mut self, address: SocketAddr) {
        if self.setup.address != Some(address) {
            self.setup.address = Some(address);
            self.moved = Some(PeerEvent::Address(address));
        }
    }

    /// Does what is due: DTLS retransmissions, the end of a handshake's lingering.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        let done = self.handshakes.handle_timeout(now, out);
        self.finish(done);
        stack::wipe();
    }

    /// When [`Peer::handle_timeout`] wants to be called next; `None` in steady state.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.handshakes.next_timeout()
    }

    /// The next event, if any. Poll after every `handle` and `handle_timeout`.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        let begun = self.begun.take();
        begun.or_else(|| self.moved.take()).or_else(|| self.connected.take())
    }

    /// Encrypts an RTP packet; `None` without keys, and for a packet that these keys must not protect (one from before the
    /// sequence number's wrap that lies before the first packet under these keys).
    pub fn protect_rtp(&mut self, packet: &[u8]) -> Option<Transmit> {
        let data = self.srtp.as_mut()?.protect_rtp(packet)?.freeze();
        Some(Transmit {
            to: self.setup.address?,
            data,
        })
    }

    /// Encrypts a compound RTCP packet; `None` without keys.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Transmit> {
        let data = self.srtp.as_mut()?.protect_rtcp(packet)?.freeze();
        Some(Transmit {
            to: self.setup.address?,
            data,
        })
    }

    /// Whether SRTP keys of this boot are in use.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// The SRTP profile in use.
    pub fn profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(Srtp::profile)
    }

    /// Where media goes.
    pub fn address(&self) -> Option<SocketAddr> {
        self.setup.address
    }

    /// When an authentic packet (STUN, DTLS or SRTP) last came; `None` if none came in this boot.
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// When a STUN check last passed: the consent of RFC 7675; `None` if none did in this boot.
    pub fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// The user name fragment of the server in a STUN Binding request, if the datagram is one; nothing is authenticated yet.
    pub fn stun_ufrag(data: &[u8]) -> Option<&str> {
        ice::request_ufrag(data)
    }
}

/// Its keys wipe themselves; what handling them has left on the stack is overwritten here.
impl Drop for Peer {
    fn drop(&mut self) {
        stack::wipe();
    }
}

/// Whether a certificate has every one of these fingerprints (RFC 8122 §5); false for an empty list.
fn matches_all(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
    let matches = |f: &Fingerprint| {
        let algorithm: &'static Algorithm = match f.hash.as_str() {
            "sha-256" => &SHA256,
            "sha-384" => &SHA384,
            "sha-512" => &SHA512,
            _ => return false,
        };
        digest(algorithm, certificate).as_ref() == f.digest
    };
    !fingerprints.is_empty() && fingerprints.iter().all(matches)
}

#[cfg(test)]
pub(crate) mod tests;
