//! One DTLS handshake, with either library.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::TransportAddress;

use super::agreed::Agreed;
use super::cookie::COOKIE_LEN;
use super::load::Admitted;
use super::srtp::SessionKeys;

/// The library that does the handshakes of this build, for logs and health.
pub const LIBRARY: &str = if cfg!(feature = "boring") {
    "BoringSSL"
} else {
    "dimpl"
};
/// A handshake that takes longer is given up; the browser's page starts another one much earlier.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a completed handshake stays to repeat its last flight, in case that was lost.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Why the DTLS side cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DtlsError {
    /// The library refuses its configuration.
    #[error("the DTLS library refuses its configuration: {0}")]
    Config(Box<dyn std::error::Error + Send + Sync>),
    /// A handshake failed for good; this says nothing about the peer's live keys.
    #[error("the DTLS handshake failed: {0}")]
    Handshake(Box<dyn std::error::Error + Send + Sync>),
    /// A post-quantum key exchange is required, and the peer offers none.
    #[error("the peer offers no post-quantum key exchange, which this server requires")]
    PeerNotPostQuantum,
    /// A post-quantum key exchange is required, and this build has none.
    #[error(
        "a post-quantum key exchange is required, and the DTLS library of this build ({LIBRARY}) \
         has none: use a build with `--features boring`, or leave --require-post-quantum out"
    )]
    NoPostQuantum,
    /// The handshake ended without usable SRTP keys.
    #[error("the DTLS handshake gave no usable SRTP keys")]
    NoKeys,
}

/// What a completed handshake yields.
pub(crate) struct Completed {
    /// The peer's leaf certificate, DER. It has not been compared with any fingerprint yet.
    pub certificate: Vec<u8>,
    /// Fresh keys.
    pub keys: SessionKeys,
    /// How they were agreed on.
    pub agreed: Agreed,
}

/// One DTLS handshake without I/O.
pub(crate) trait Handshake: Send {
    /// Takes a datagram, if there is one, and the time; appends datagrams to send to `out`. Returns
    /// the keys once. After an error the handshake is over and must be dropped.
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError>;

    /// When `drive` is to be called without a datagram.
    fn next_timeout(&self) -> Instant;
}

/// A handshake that has just completed.
pub(crate) struct Done {
    pub(super) completed: Completed,
    /// The address of the other side.
    pub from: TransportAddress,
    /// When it completed.
    pub at: Instant,
    /// Time since its first ClientHello.
    pub took: Duration,
}

impl Done {
    /// The certificate that the other side has proved to be its own, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.completed.certificate
    }
}

/// What a ClientHello has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: its sender may not be at its address.
    Direct,
    /// A good cookie.
    Verified([u8; COOKIE_LEN]),
}

/// A new handshake, and its place among those under way.
pub(crate) type Begun = (Box<dyn Handshake>, Admitted);
