//! What full-state mode persists in addition to the records of the default mode: session keys, and
//! their counters.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use rekindle_ids::Ufrag;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Limits of what is written and read.
pub mod limits {
    /// Length of master keys and salts of both directions, in bytes: those of the largest profile
    /// (RFC 5764 §4.1.2, RFC 7714 §14.2).
    pub const MATERIAL: usize = 88;
    /// Streams of one session, in each direction.
    pub const STREAMS: usize = 64;
}

/// The keys that a counter is for: a hash of them, so that a counter can never be used with other
/// keys.
pub type SessionId = [u8; 16];

/// Keying material as exported by DTLS (RFC 5764 §4.2). Wiped when dropped, never printed.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Material(pub Vec<u8>);

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

/// The body of `sessions/<ufrag>.age`: the session keys of a peer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The peer.
    pub ufrag: Ufrag,
    /// Number of the DTLS-SRTP profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
    pub profile: u16,
    /// Client key, server key, client salt, server salt.
    pub material: Material,
}

/// The body of `counters.age`: the counters of all sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The server's SSRC as a sender of RTCP. It stays the same, so that its streams continue at
    /// the browsers.
    pub sender: u32,
    /// One for each session that is kept.
    pub sessions: Vec<SessionCounters>,
}

/// The counters of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounters {
    /// The peer.
    pub ufrag: Ufrag,
    /// The keys.
    pub id: SessionId,
    /// The local address that the browser sends to, where the media port has all addresses: it
    /// expects packets from there.
    pub local: Option<IpAddr>,
    /// All SRTCP indices below it may have been used for sending, with any SSRC.
    pub rtcp_ceiling: u32,
    /// SRTP streams sent.
    pub sent: Vec<SentCounter>,
    /// Streams received.
    pub received: Vec<ReceivedCounter>,
}

/// The counter of one SRTP stream that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCounter {
    /// The stream.
    pub ssrc: u32,
    /// The highest 48-bit index that was certainly used.
    pub last: Option<u64>,
    /// All indices below it may have been used.
    pub ceiling: u64,
    /// How many more are reserved when a process starts, without a request: for streams whose
    /// numbers the server can let jump.
    pub ahead: u16,
}

/// The counters of one SSRC that is received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedCounter {
    /// The sender.
    pub ssrc: u32,
    /// The highest 48-bit SRTP index received.
    pub rtp: Option<u64>,
    /// The highest SRTCP index received.
    pub rtcp: Option<u32>,
}

/// SRTCP indices that are reserved ahead. Browsers accept jumps of any size.
pub const RTCP_AHEAD: u32 = 4096;
/// The last SRTCP index (RFC 3711 §3.2.1).
pub const RTCP_LAST: u32 = (1 << 31) - 1;

impl Counters {
    /// What a new process makes durable before it uses any of these keys: a first reservation.
    pub fn raise(&mut self) {
        for session in &mut self.sessions {
            session.rtcp_ceiling = session
                .rtcp_ceiling
                .saturating_add(RTCP_AHEAD)
                .min(RTCP_LAST);
            session.sent.iter_mut().for_each(SentCounter::raise);
        }
    }

    /// The counters by peer.
    pub fn by_peer(&self) -> HashMap<Ufrag, SessionCounters> {
        let sessions = self.sessions.iter().cloned();
        sessions
            .map(|session| (session.ufrag.clone(), session))
            .collect()
    }

    /// Whether this program could have written this.
    pub fn fits(&self) -> bool {
        let index = |index: u64| index < 1 << 48;
        self.sessions.iter().all(|session| {
            session.sent.len() <= limits::STREAMS
                && session.received.len() <= limits::STREAMS
                && session.rtcp_ceiling <= RTCP_LAST
                && session.sent.iter().all(|sent| {
                    index(sent.ceiling) && sent.last.is_none_or(|last| last < sent.ceiling)
                })
                && session.received.iter().all(|got| {
                    got.rtp.is_none_or(index) && got.rtcp.is_none_or(|rtcp| rtcp <= RTCP_LAST)
                })
        })
    }
}

/// A session as a new process takes it over.
#[derive(Debug)]
pub struct Resumed {
    /// Its keys.
    pub session: SessionRecord,
    /// The counters that the last process left.
    pub left: SessionCounters,
    /// Those that this process has made durable since.
    pub now: SessionCounters,
}
