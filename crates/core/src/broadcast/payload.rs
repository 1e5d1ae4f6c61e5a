//! A DTLS datagram on its way from the socket to a handshake.

use bytes::Bytes;
use rekindle_ids::Role;
use rekindle_sdp::Setup;

/// A datagram that is copied only when it has to be kept.
pub(super) enum Payload<'a> {
    /// In the socket's buffer.
    Received(&'a [u8]),
    /// A copy.
    Kept(Bytes),
}

impl Payload<'_> {
    pub(super) fn data(&self) -> &[u8] {
        match self {
            Self::Received(data) => data,
            Self::Kept(data) => data,
        }
    }

    /// The copy, made now if there is none yet.
    pub(super) fn keep(&mut self) -> Bytes {
        let copy = match self {
            Self::Received(data) => Bytes::copy_from_slice(data),
            Self::Kept(data) => return data.clone(),
        };
        *self = Self::Kept(copy.clone());
        copy
    }
}

/// The result of screening a DTLS datagram, before anything was spent on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Screened {
    /// It is worth nothing.
    Dropped,
    /// A job has the handshakes that it may belong to: it is screened when they are back.
    Waits,
    /// Its sender was asked for a cookie.
    Asked,
    /// The datagrams to hand to the handshakes, in this order, now or when its turn comes.
    Handshake {
        /// Publisher if it is or may be a publisher's.
        role: Role,
        /// What is to be handed in.
        datagrams: Vec<ForHandshake>,
    },
    /// No peer is at the address that it comes from.
    UnknownAddress,
}

/// A datagram that is worth a handshake's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForHandshake {
    /// The datagram.
    pub data: Bytes,
    /// The server's part in the handshakes that it may be for.
    pub setup: Setup,
}
