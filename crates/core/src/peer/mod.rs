//! One browser: ICE-lite, DTLS and SRTP together, without I/O. The caller supplies the time.

mod active;
mod agreed;
mod cookie;
mod dtls;
mod failures;
mod flight;
pub(crate) mod full_state;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod handshakes;
mod ice;
mod last_flight;
mod load;
mod pressure;
mod records;
#[cfg(test)]
mod secrecy;
mod sending;
mod srtp;
mod transform;
mod verified;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

pub use agreed::{Agreed, Group, Version};
pub(crate) use cookie::Cookies;
pub use dtls::{Dtls, Identities};
pub use failures::Failures;
pub(crate) use flight::Fault;
pub(crate) use handshake::{Begin, Done};
pub use handshake::{DtlsError, LIBRARY};
pub(crate) use handshakes::{ALERT, Handshakes};
pub(crate) use records::{client_random, is_client_hello};
pub(crate) use sending::Sending;
use srtp::Srtp;
pub use srtp::{Profile, SessionKeys};

use rekindle_ids::{IceCredentials, TransportAddress};
use rekindle_sdp::{Fingerprint, Setup};
use rekindle_secrets::stack;

use crate::Protocol;

/// Most checks that are remembered, the latest first.
const MAX_CHECKS: usize = 16;
/// Most addresses that the browser has nominated and that no media came from yet.
const MAX_NOMINATED: usize = 8;

/// So long after something came from the address that media goes to, checks from elsewhere count as
/// nominations: the browser may be behind a NAT that has forgotten it. It does not know, and the
/// checks by which it keeps its consent need not nominate (RFC 7675 §5.1; Firefox's do not).
const LEFT: Duration = Duration::from_millis(200);

/// What a peer is made from: its record.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// The server's ICE credentials for this peer.
    pub ice: IceCredentials,
    /// The fingerprints of the browser's certificate.
    pub fingerprints: Vec<Fingerprint>,
    /// The server's role in its DTLS handshake.
    pub setup: Setup,
    /// Where its media was sent in an earlier boot.
    pub address: Option<TransportAddress>,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The destination.
    pub to: TransportAddress,
    /// The datagram.
    pub data: Bytes,
}

/// What a datagram turned out to be, once checked.
#[derive(Debug)]
pub enum Received {
    /// Nothing for the layer above: answered, absorbed or dropped.
    Nothing,
    /// A STUN check was answered. Its source may be forged: only DTLS or SRTP from there proves
    /// whose address it is.
    Answered {
        /// It passed, and is no copy of a check from another address: the peer may be there.
        claims: bool,
        /// The peer nominates this pair (RFC 8445 §8.1.1).
        nominates: bool,
    },
    /// An authenticated RTP packet, decrypted.
    Rtp(BytesMut),
    /// An authenticated compound RTCP packet, decrypted.
    Rtcp(BytesMut),
}

/// What happened to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A DTLS handshake completed and fresh SRTP keys are in use, in both directions.
    Connected {
        /// Whether the peer had keys of this boot already: a false alarm of the page, or a restart
        /// of its own.
        renewed: bool,
        /// Time since the first ClientHello of this handshake.
        took: Duration,
        /// How they were agreed on; `None` where keys of an earlier process were taken over.
        agreed: Option<Agreed>,
    },
    /// The address that media goes to changed.
    Address(TransportAddress),
}

/// One browser. Its handshakes are not here: they belong to an address until they are complete.
pub struct Peer {
    setup: PeerSetup,
    /// Transactions of the latest checks, and the address that each first came from.
    checks: VecDeque<([u8; 12], Arc<TransportAddress>)>,
    /// Addresses that the browser nominated (RFC 8445 §8.1.1) since media last came from a
    /// nominated one, the latest last.
    nominated: Vec<TransportAddress>,
    srtp: Option<Srtp>,
    last_heard: Option<Instant>,
    /// When it was last heard from the address that media goes to.
    last_there: Option<Instant>,
    last_check: Option<Instant>,
    connected: Option<PeerEvent>,
    moved: Option<PeerEvent>,
    /// In full-state mode: see [`Peer::keep_sessions`].
    keeps: Option<full_state::Wanted>,
}

impl Peer {
    /// A peer from its record, without keys.
    pub fn new(setup: PeerSetup) -> Self {
        Self {
            setup,
            checks: VecDeque::new(),
            nominated: Vec::new(),
            srtp: None,
            last_heard: None,
            last_there: None,
            last_check: None,
            connected: None,
            moved: None,
            keeps: None,
        }
    }

    /// Takes a STUN datagram. The response is appended to `out`.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        from: TransportAddress,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Received {
        let Some(checked) = ice::check(data, from, &self.setup.ice) else {
            return Received::Nothing;
        };
        out.push(Transmit {
            to: from,
            data: checked.response.into(),
        });
        if checked.refused {
            return Received::Answered {
                claims: false,
                nominates: false,
            };
        }
        if !self.is_first(checked.transaction, from) {
            tracing::trace!(
                "a STUN check came before from another address: answered, nothing else"
            );
            return Received::Answered {
                claims: false,
                nominates: false,
            };
        }
        self.last_heard = Some(now);
        self.last_check = Some(now);
        let has_left = self.has_left(now, from);
        if (checked.nominated || has_left) && self.srtp.is_some() {
            self.nominated.retain(|address| *address != from);
            self.nominated.push(from);
            if self.nominated.len() > MAX_NOMINATED {
                self.nominated.remove(0);
            }
        }
        Received::Answered {
            claims: true,
            nominates: checked.nominated,
        }
    }

    /// Something authentic came from this address. Whether nothing has come lately from the one that
    /// media goes to.
    fn has_left(&mut self, now: Instant, from: TransportAddress) -> bool {
        if self.setup.address == Some(from) {
            self.last_there = Some(now);
            return false;
        }
        self.last_there
            .is_none_or(|then| now.saturating_duration_since(then) >= LEFT)
    }

    /// Whether a check is not a copy of another one, sent with another source address: STUN has no
    /// replay protection (RFC 8489 §16.2.2).
    fn is_first(&mut self, transaction: [u8; 12], from: TransportAddress) -> bool {
        if let Some((_, first)) = self.checks.iter().find(|(known, _)| *known == transaction) {
            return **first == from;
        }
        // Nearly all come from one address, which is kept once.
        let before = self.checks.front().map(|(_, first)| first);
        let from = match before.filter(|first| ***first == from) {
            Some(first) => first.clone(),
            None => Arc::new(from),
        };
        self.checks.truncate(MAX_CHECKS - 1);
        self.checks.push_front((transaction, from));
        true
    }

    /// Whether the server is to begin its DTLS handshake, and none has been completed.
    pub(crate) fn awaits_hello(&self) -> bool {
        self.setup.setup == Setup::Active && self.srtp.is_none()
    }

    /// Whether the offer names this certificate (DER).
    pub(crate) fn is_of(&self, certificate: &[u8]) -> bool {
        matches(certificate, &self.setup.fingerprints)
    }

    /// Uses the keys of a completed handshake from now on. The caller has checked that the offer
    /// [names its certificate](Peer::is_of).
    pub(crate) fn take_keys(&mut self, done: Done) {
        let Done {
            completed,
            from,
            at,
            took,
        } = done;
        let agreed = completed.agreed;
        let Some(srtp) = Srtp::new(completed.keys) else {
            return;
        };
        let srtp = full_state::kept(srtp, self.keeps.as_ref());
        let renewed = self.srtp.replace(srtp).is_some();
        // A check may have arrived while the handshake was worked on.
        self.last_heard = self.last_heard.max(Some(at));
        self.nominated.clear();
        self.last_there = Some(at);
        self.move_to(from);
        self.connected = Some(PeerEvent::Connected {
            renewed,
            took,
            agreed: Some(agreed),
        });
    }

    /// Takes an SRTP or SRTCP packet.
    ///
    /// Live media moves to a nominated address only once an authentic packet comes from there: a
    /// check alone can be replayed from anywhere, since STUN has no replay protection (RFC 8489
    /// §16.2.2).
    pub fn handle_srtp(&mut self, now: Instant, from: TransportAddress, data: &[u8]) -> Received {
        let Some(srtp) = &mut self.srtp else {
            return Received::Nothing;
        };
        let rtcp = Protocol::of(data) == Some(Protocol::Rtcp);
        let plain = if rtcp {
            srtp.unprotect_rtcp(data)
        } else {
            srtp.unprotect_rtp(data)
        };
        let Some(plain) = plain else {
            return Received::Nothing;
        };
        self.last_heard = Some(now);
        self.has_left(now, from);
        if let Some(place) = self.nominated.iter().position(|address| *address == from) {
            // Earlier nominations are dropped.
            self.nominated.drain(..=place);
            self.last_there = Some(now);
            self.move_to(from);
        }
        if rtcp {
            Received::Rtcp(plain)
        } else {
            Received::Rtp(plain)
        }
    }

    fn move_to(&mut self, address: TransportAddress) {
        if self.setup.address != Some(address) {
            self.setup.address = Some(address);
            self.moved = Some(PeerEvent::Address(address));
        }
    }

    /// The next event, if any. To be polled after every call that changes the peer.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.moved.take().or_else(|| self.connected.take())
    }

    /// Gives away the half of its keys for sending, once for each handshake: from then on
    /// [`Peer::protect_rtcp`] sends nothing.
    pub(crate) fn take_sending(&mut self) -> Option<Box<Sending>> {
        self.srtp.as_mut()?.sending.take()
    }

    /// Encrypts a compound RTCP packet; `None` without keys.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Transmit> {
        let sending = self.srtp.as_mut()?.sending.as_mut()?;
        let data = sending.protect_rtcp(packet)?.freeze();
        Some(Transmit {
            to: self.setup.address?,
            data,
        })
    }

    /// The credentials of its checks.
    pub(crate) fn credentials(&self) -> IceCredentials {
        self.setup.ice.clone()
    }

    /// Whether SRTP keys of this boot are in use.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// The SRTP profile in use.
    pub fn profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(Srtp::profile)
    }

    /// Where media is sent.
    pub fn address(&self) -> Option<TransportAddress> {
        self.setup.address
    }

    /// When an authentic packet (STUN, DTLS or SRTP) last arrived; `None` if none did in this boot.
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// When a STUN check last passed, from anywhere; `None` if none did in this boot.
    pub fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// When it was last heard from the address that media goes to: the consent of that path; `None`
    /// if it was not in this boot.
    pub fn last_there(&self) -> Option<Instant> {
        self.last_there
    }

    /// The server's user name fragment in a STUN Binding request, if the datagram is one; nothing
    /// is authenticated yet.
    pub fn stun_ufrag(data: &[u8]) -> Option<&str> {
        ice::request_ufrag(data)
    }
}

/// The answer to a check of a peer that was removed: an error, if its password is right.
pub(crate) fn refuse(
    check: &[u8],
    from: TransportAddress,
    ice: &IceCredentials,
) -> Option<Transmit> {
    let data = ice::refuse(check, ice)?.into();
    Some(Transmit { to: from, data })
}

/// Its keys wipe themselves; what handling them has left on the stack is overwritten here.
impl Drop for Peer {
    fn drop(&mut self) {
        stack::wipe();
    }
}

/// Whether these fingerprints name a certificate (RFC 8122 §5): for each hash function in the list,
/// one fingerprint must match. False for an empty list.
fn matches(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
    let is_own = |f: &Fingerprint| {
        let algorithm: &'static Algorithm = match f.hash.as_str() {
            "sha-256" => &SHA256,
            "sha-384" => &SHA384,
            "sha-512" => &SHA512,
            _ => return false,
        };
        digest(algorithm, certificate).as_ref() == f.digest
    };
    let of_its_hash = |f: &Fingerprint| {
        fingerprints
            .iter()
            .any(|other| other.hash == f.hash && is_own(other))
    };
    !fingerprints.is_empty() && fingerprints.iter().all(of_its_hash)
}

#[cfg(test)]
pub(crate) mod tests;
