//! Channels: one publisher, many viewers. Forwarding, packet history, NACK/RTX, PLI, RTCP. The
//! caller supplies the time.
//!
//! - Members: `hub` (all of them, timers), `routing` (datagrams to peers), `addresses` (which peer each address belongs to),
//!   `handshaking` (DTLS at an address), `jobs` (its expensive part, for any thread) and `payload`
//!   (a datagram of it), `admission` (after a start: what waits for its record, and which handshake
//!   is next), `membership` (join and leave), `liveness` (who is gone), `member`, `channel`.
//! - From the publisher: `media`, `ingress` (which packets are accepted), `track` (one stream) with
//!   `history`, `nack`, `pli`, `keyframe`, `reception` and `twcc`; `feedback` sends what they
//!   request and report; `pull` takes the place of a publisher that is with another server.
//! - To the viewers: `delivery` (which viewer gets what), `resend` (answers to NACKs), `budget`
//!   (how much work a viewer may cause); `forwarding`, which has the keys for sending to viewers
//!   and can be with other threads, with `mapping` (rewriting), `sent_streams` and `translation`
//!   (plain viewers of another publisher).
//! - On the wire: `rtp`, `rtcp`.
//!
//! Packets keep the publisher's SSRCs, sequence numbers and time stamps, so that a restart loses no
//! state that viewers depend on. The exception are plain viewers whose publisher was replaced,
//! which do not survive a restart anyway. What a viewer gets under one SSRC and sequence number is
//! always the same bytes, since its SRTP keys must not protect two packets under one index.

mod addresses;
mod admission;
mod budget;
mod channel;
mod delivery;
mod feedback;
mod forwarding;
pub mod full_state;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod handshaking;
mod history;
mod hub;
mod ingress;
mod jobs;
mod key_derivation;
mod keyframe;
mod liveness;
mod loss;
mod mapping;
mod media;
mod member;
mod membership;
mod nack;
mod payload;
mod pli;
mod pull;
mod rate;
mod reception;
mod resend;
mod routing;
mod rtcp;
mod rtp;
mod sent_streams;
mod snapshot;
mod timers;
mod track;
mod track_info;
mod translation;
mod turned_away;
mod twcc;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

pub use admission::ReadingOrder;
pub use forwarding::{Burst, Forwarder, Media, Orders, Outlet};
pub use hub::Broadcast;
pub use jobs::{Finished, Job};
pub use liveness::UNHEARD;
pub use loss::Loss;
pub use pull::{Pulled, source};
pub use snapshot::{ChannelSnapshot, Snapshot};

use crate::peer::Agreed;
pub use crate::peer::Failures;
use rekindle_ids::{IceCredentials, Role, Ufrag};
use rekindle_sdp::{Negotiated, Stream};

/// A peer of an earlier boot, as its record has it.
#[derive(Clone, Copy)]
pub struct Recorded<'a> {
    /// Publisher or viewer.
    pub role: Role,
    /// The channel's name.
    pub channel: &'a str,
    /// The server's ICE credentials for this peer.
    pub ice: &'a IceCredentials,
    /// The browser's offer. Its certificate fingerprint is in it, and, as an `a=candidate` line,
    /// the address that last passed a STUN check.
    pub offer: &'a str,
    /// The server's answer.
    pub answer: &'a str,
}

/// A peer that joins, or comes back from its record.
#[derive(Debug, Clone)]
pub struct Join {
    /// Publisher or viewer.
    pub role: Role,
    /// The channel's name.
    pub channel: String,
    /// The server's ICE credentials for this peer.
    pub ice: IceCredentials,
    /// What offer and answer agreed on.
    pub negotiated: Negotiated,
    /// It is from a record of an earlier boot and needs a new handshake.
    pub resumed: bool,
    /// It is known to be a page that can renew its keys: see [`rekindle_sdp::renews`]. For others,
    /// see [`Broadcast::has_page`].
    pub renews: bool,
}

/// Why a peer cannot join now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The channel's publisher is present.
    #[error("this channel already has a publisher")]
    PublisherPresent,
    /// Nobody publishes on the channel yet.
    #[error("nobody publishes on this channel yet")]
    NoPublisher,
    /// The server has as many peers as it takes.
    #[error("the server is full")]
    Full,
    /// The answer names a certificate that the server no longer has.
    #[error("its answer names a certificate that this server no longer has")]
    UnknownCertificate,
}

/// Why a peer was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It left (DELETE).
    Left,
    /// No STUN check for 30 s (RFC 7675), or the resume window ended.
    Silent,
    /// It was heard after a restart but ran no new DTLS handshake in time. A plain client (no page
    /// of ours) cannot, and is removed soon.
    NoRehandshake,
    /// A new publisher took the place of one that had fallen silent.
    Replaced,
    /// Its DTLS handshake cannot be completed: the log says why (RFC 5763 §6.3 has the session torn
    /// down).
    NoHandshake,
    /// It has no post-quantum key exchange, and the server requires one.
    NotPostQuantum,
}

/// What the layers above are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new DTLS handshake has begun.
    Handshake {
        /// Its user name fragment.
        ufrag: Ufrag,
    },
    /// Fresh keys are in use.
    Connected {
        /// Its user name fragment.
        ufrag: Ufrag,
        /// Publisher or viewer.
        role: Role,
        /// It is from a record of an earlier boot, and this is its first handshake in this one.
        resumed: bool,
        /// Time since the ClientHello; zero where keys of an earlier process were taken over
        /// (full-state mode).
        took: Duration,
        /// How the keys were agreed on; `None` where they were taken over.
        agreed: Option<Agreed>,
    },
    /// Its keys are no longer in use: the browser has to run a handshake.
    Disconnected {
        /// Its user name fragment.
        ufrag: Ufrag,
    },
    /// The peer's address changed: its record is to be updated. Only addresses of UDP are reported:
    /// a TCP connection does not outlive the process, and the peer's next one has another port.
    Address {
        /// Its user name fragment.
        ufrag: Ufrag,
        /// Its new address.
        address: SocketAddr,
    },
    /// The peer was removed: its record is to be removed too.
    Gone {
        /// Its user name fragment.
        ufrag: Ufrag,
        /// The cause.
        why: Departure,
    },
    /// No STUN check of a new peer has arrived for [`UNHEARD`] since it joined (true), or one has
    /// arrived later (false).
    Unheard {
        /// Its user name fragment.
        ufrag: Ufrag,
        /// Whether it is still unheard.
        unheard: bool,
    },
    /// RTCP for the server that a channel is [pulled](Broadcast::pull) from.
    Upstream {
        /// The channel.
        channel: String,
        /// Compound RTCP packets, in clear.
        packets: Vec<Bytes>,
    },
    /// The channel's source started (true), ended (false), or was replaced by another one.
    Source {
        /// The channel.
        channel: String,
        /// Whether a publisher's media flows.
        live: bool,
        /// The publisher's streams, as far as they are known; empty without one.
        streams: Vec<Stream>,
    },
}

/// What happens to a new publisher of a channel whose publisher is live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Newcomer {
    /// It is refused.
    #[default]
    Refused,
    /// It takes the place, and the session of the earlier one ends.
    Replaces,
}

/// Settings of the core.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most peers at once.
    pub max_peers: usize,
    /// Most DTLS handshakes under way at once. Publishers have as many places again of their own.
    pub max_handshakes: usize,
    /// How long after a boot the record of a silent peer is kept.
    pub resume_window: Duration,
    /// How long a peer that is heard after a restart may take until its new handshake is complete.
    pub rehandshake_limit: Duration,
    /// What happens when a new publisher wants the channel of a live one.
    pub publisher: Newcomer,
    /// How long a publisher must have been silent before a new one may replace it.
    pub publisher_silence: Duration,
    /// How long after a boot an awaited publisher cannot be replaced: many times what a page needs
    /// to come back.
    pub publisher_grace: Duration,
    /// Consent (RFC 7675): a peer without a valid STUN check for this time is gone.
    pub consent: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_peers: 10_000,
            max_handshakes: 1024,
            resume_window: Duration::from_secs(120),
            rehandshake_limit: Duration::from_secs(10),
            publisher: Newcomer::default(),
            publisher_silence: Duration::from_secs(5),
            publisher_grace: Duration::from_secs(15),
            consent: Duration::from_secs(30),
        }
    }
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub enum Routed {
    /// Handled or dropped.
    Done,
    /// A STUN check that was answered, from the peer that owns its address, as far as is known:
    /// answers reach it on the path of the check.
    Checked,
    /// Media that its peer's keys authenticated.
    Authentic,
    /// DTLS that is answered now or when its turn comes. It may be forged.
    Answered,
    /// A STUN Binding request for an unknown user name fragment. While records of earlier boots are
    /// being read it waits, and its record is demanded: see [`Broadcast::poll_demand`].
    UnknownUfrag,
    /// A datagram other than STUN from an address of no known peer. While records of earlier boots
    /// are being read it waits, if its peer's record can make it useful.
    UnknownAddress,
}

#[cfg(test)]
mod tests;
