//! Sessions for operators, under handles that reveal nothing of a session's secrets.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};

use super::Sessions;
use crate::ids::{Role, Ufrag};
use crate::vault::PeerRecord;

/// The name of a peer for operators: the same in every boot. Only the server can make it, since it
/// is derived from the ICE password, which it does not reveal. Neither log nor interface may
/// contain a peer's user name fragment, which is the beginning of its session's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Handle(u64);

impl Handle {
    pub(super) fn of(record: &PeerRecord) -> Self {
        let digest = digest(&SHA256, record.ice.pwd.expose().as_bytes());
        let bytes = digest.as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(bytes))
    }

    /// Its first half, as a number: the peer's name in the log.
    pub(in crate::server) fn number(self) -> u64 {
        self.0 >> 32
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Handle {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// A peer of a channel.
pub(in crate::server) struct PeerEntry {
    pub handle: Handle,
    pub role: Role,
    pub connected: bool,
    /// Whether it was taken over from the last boot.
    pub resumed: bool,
    /// When this process took it in.
    pub since: SystemTime,
}

impl Sessions {
    /// Since when a channel is live.
    pub(in crate::server) fn live_since(&self, channel: &str) -> Option<SystemTime> {
        self.lock().channels.get(channel)?.live_since
    }

    /// A channel's peers, the publisher first, and viewers by their handles.
    pub(in crate::server) fn peers(&self, channel: &str) -> Vec<PeerEntry> {
        let inner = self.lock();
        let members = inner.channels.get(channel).into_iter();
        let sessions = members
            .flat_map(|channel| &channel.members)
            .filter_map(|ufrag| inner.sessions.get(ufrag).map(Box::as_ref));
        let entry = |session: &super::Session| PeerEntry {
            handle: session.handle,
            role: session.record.role,
            connected: session.connected,
            resumed: session.resumed,
            since: session.since,
        };
        let mut peers: Vec<_> = sessions.map(entry).collect();
        peers.sort_by_key(|peer| (peer.role == Role::Viewer, peer.handle.0));
        peers
    }

    /// Their user name fragments, the publisher's first.
    pub(in crate::server) fn members(&self, channel: &str) -> Vec<Ufrag> {
        let inner = self.lock();
        let members = inner.channels.get(channel).into_iter();
        let mut members: Vec<_> = members
            .flat_map(|channel| channel.members.iter().cloned())
            .collect();
        // A publisher's sorts before every viewer's.
        members.sort_unstable();
        members
    }

    /// The peer with this handle.
    pub(in crate::server) fn by_handle(&self, handle: Handle) -> Option<Ufrag> {
        let inner = self.lock();
        let mut sessions = inner.sessions.iter();
        let (ufrag, _) = sessions.find(|(_, session)| session.handle == handle)?;
        Some(ufrag.clone())
    }
}
