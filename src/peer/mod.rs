//! One browser: ICE-lite, DTLS, SRTP, glued without I/O. Told the time, never asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::sdp::Fingerprint;
use crate::vault::{IceCredentials, Role};

/// What a peer is made from: its record.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Publisher or viewer: decides the DTLS versions offered.
    pub role: Role,
    /// The server's ICE credentials for this peer.
    pub ice: IceCredentials,
    /// What the browser's certificate must match.
    pub fingerprints: Vec<Fingerprint>,
    /// The address that passed a check in an earlier boot.
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
    _setup: PeerSetup,
}

/// The server's DTLS identity and settings, shared by all peers.
pub struct Dtls;

impl Peer {
    /// A peer as its record has it; no keys yet.
    pub fn new(setup: PeerSetup, dtls: Arc<Dtls>, now: Instant) -> Self {
        let _ = (dtls, now);
        Self { _setup: setup }
    }

    /// Takes a datagram. Answers (STUN, DTLS) are appended to `out`.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) -> Received {
        let _ = (now, from, data, out);
        Received::Nothing
    }

    /// Does what is due: DTLS retransmissions, the end of a handshake's lingering.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        let _ = (now, out);
    }

    /// When [`Peer::handle_timeout`] wants to be called next; `None` in steady state.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next event, if any. Poll after every `handle` and `handle_timeout`.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        None
    }

    /// Encrypts an RTP packet; `None` without keys, and for a packet that these keys must not protect (one from before the
    /// sequence number's wrap that lies before the first packet under these keys).
    pub fn protect_rtp(&mut self, packet: &[u8]) -> Option<Transmit> {
        let _ = packet;
        None
    }

    /// Encrypts a compound RTCP packet; `None` without keys.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Transmit> {
        let _ = packet;
        None
    }

    /// Whether SRTP keys of this boot are in use.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// Where media goes.
    pub fn address(&self) -> Option<SocketAddr> {
        None
    }

    /// When an authentic packet (STUN, DTLS or SRTP) last came; `None` if none came in this boot.
    pub fn last_heard(&self) -> Option<Instant> {
        None
    }

    /// The user name fragment of the server in a STUN Binding request, if the datagram is one; nothing is authenticated yet.
    pub fn stun_ufrag(data: &[u8]) -> Option<&str> {
        let _ = data;
        None
    }
}
