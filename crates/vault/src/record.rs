//! The schema: the one place that says what is persisted.
//!
//! The plaintext of every age file in the vault is a [`Header`], then the body for its kind (an
//! [`IdentityRecord`] or a [`PeerRecord`]), then a MAC of [`MAC_LEN`] bytes. Nothing that is not
//! named in this file is on disk. The auditor destructures these types without `..`, so a new field
//! does not compile before it has a class.

use std::fmt;

use rekindle_ids::{IceCredentials, Role};
use serde::{Deserialize, Serialize};

/// What is kept of one peer, so that a later boot can take it over with a fresh DTLS handshake.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Publisher or viewer.
    pub role: Role,
    /// The channel's name.
    pub channel: String,
    /// The server's ICE credentials for this peer.
    pub ice: IceCredentials,
    /// The browser's offer. Its certificate fingerprint is in it, and, as an `a=candidate` line,
    /// the address that last passed a STUN check.
    pub offer: String,
    /// The server's answer.
    pub answer: String,
    /// When the peer joined, in seconds since the Unix epoch.
    pub joined_at: u64,
}

/// Prints the role, and nothing that identifies a person: no address, SDP, ufrag or password.
impl fmt::Debug for PeerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRecord")
            .field("role", &self.role)
            .field("channel", &self.channel)
            .field("offer", &format_args!("{} bytes", self.offer.len()))
            .field("answer", &format_args!("{} bytes", self.answer.len()))
            .field("joined_at", &self.joined_at)
            .finish_non_exhaustive()
    }
}

/// Why a peer's record cannot be one that this server made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitRecord {
    /// The channel's name.
    #[error(
        "a channel's name has 1 to {} bytes and no control characters",
        limits::CHANNEL
    )]
    Channel,
    /// The ICE password (RFC 8445 §5.3: at least 128 bits; RFC 8839 §5.4: 22 to 256 ice-chars).
    #[error("an ICE password has 22 to 256 letters, digits, '+' and '/'")]
    Password,
    /// The offer or the answer.
    #[error("a session description has 1 to {} bytes and no NUL", limits::SDP)]
    Sdp,
}

impl PeerRecord {
    /// Checks the sizes and alphabets of the fields, before writing and after reading.
    ///
    /// # Errors
    /// [`UnfitRecord`] for the first field that does not fit.
    pub fn check(&self) -> Result<(), UnfitRecord> {
        let channel = &self.channel;
        if channel.is_empty()
            || channel.len() > limits::CHANNEL
            || channel.chars().any(char::is_control)
        {
            return Err(UnfitRecord::Channel);
        }
        let pwd = self.ice.pwd.expose();
        let ice_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        if !(22..=256).contains(&pwd.len()) || !pwd.bytes().all(ice_char) {
            return Err(UnfitRecord::Password);
        }
        for sdp in [&self.offer, &self.answer] {
            if sdp.is_empty() || sdp.len() > limits::SDP || sdp.contains('\0') {
                return Err(UnfitRecord::Sdp);
            }
        }
        Ok(())
    }
}

/// Bounds on what is written and read, in bytes. A browser's offer has 3 to 10 KB.
pub(crate) mod limits {
    /// A channel's name.
    pub(crate) const CHANNEL: usize = 128;
    /// The offer and the answer, each.
    pub(crate) const SDP: usize = 96 * 1024;
    /// A peer's age file.
    pub(crate) const PEER_FILE: usize = 256 * 1024;
    /// The age file of the identity.
    pub(crate) const IDENTITY_FILE: usize = 64 * 1024;
    /// The key file.
    pub(crate) const KEY_FILE: usize = 64 * 1024;
    /// The age file of a session's keys, of full-state mode.
    pub(crate) const SESSION_FILE: usize = 4 * 1024;
    /// The age file of all sessions' counters, of full-state mode.
    pub(crate) const COUNTERS_FILE: usize = 64 * 1024 * 1024;
    /// Most earlier certificates in the identity.
    pub(crate) const EARLIER: usize = 15;
}

/// The first bytes of every plaintext.
pub(crate) const MAGIC: [u8; 8] = *b"rekindle";
/// The version of the schema that this program writes, and the only one it reads.
pub(crate) const SCHEMA: u8 = 2;
/// Bytes of the MAC (HMAC-SHA-256) at the end of every plaintext.
pub(crate) const MAC_LEN: usize = 32;
/// Kinds with this bit were written by full-state mode, which keeps session keys. They are refused
/// by name.
pub(crate) const FULL_STATE_BIT: u8 = 0x80;

/// The bytes of full-state mode's kinds of files. A build without that mode has no code for their
/// content; its auditor knows their names.
pub(crate) mod full_state {
    use super::FULL_STATE_BIT;

    /// An identity like any other, of a vault in which session keys are kept.
    pub(crate) const IDENTITY: u8 = 1 | FULL_STATE_BIT;
    /// A peer's session keys.
    pub(crate) const SESSION: u8 = 3 | FULL_STATE_BIT;
    /// The counters of all sessions.
    pub(crate) const COUNTERS: u8 = 4 | FULL_STATE_BIT;
}

/// The kind of a file's content. Those of full-state mode are defined in [`crate::full_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    byte: u8,
    file_limit: usize,
}

impl Kind {
    /// The server's DTLS certificate and key.
    pub(crate) const IDENTITY: Self = Self::new(1, limits::IDENTITY_FILE);
    /// A peer's record.
    pub(crate) const PEER: Self = Self::new(2, limits::PEER_FILE);

    /// The kind's byte in the header, and the largest age file of this kind in bytes.
    pub(crate) const fn new(byte: u8, file_limit: usize) -> Self {
        Self { byte, file_limit }
    }

    /// The kind's byte in the header.
    pub(crate) const fn byte(self) -> u8 {
        self.byte
    }

    /// Whether a file with this byte in its header may be read as this kind. In a build with both
    /// modes, an identity of either is accepted.
    pub(crate) fn is(self, byte: u8) -> bool {
        byte == self.byte
            || self == Self::IDENTITY
                && byte == full_state::IDENTITY
                && crate::full_state::has_code_for(byte)
    }

    /// The largest age file of this kind, in bytes.
    pub(crate) const fn file_limit(self) -> usize {
        self.file_limit
    }
}

/// The first part of every plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`SCHEMA`].
    pub schema: u8,
    /// [`Kind::byte`].
    pub kind: u8,
    /// The boot in which the file was written.
    pub boot: u64,
    /// When it was written, in seconds since the Unix epoch.
    pub written_at: u64,
}

impl Header {
    /// The header of a file written now.
    pub(crate) fn new(kind: Kind, boot: u64, written_at: u64) -> Self {
        Self {
            magic: MAGIC,
            schema: SCHEMA,
            kind: kind.byte(),
            boot,
            written_at,
        }
    }
}

/// The body of `identity.age`: what makes this server the same one in every boot. It borrows, so
/// that no copy is made.
#[derive(Serialize, Deserialize)]
pub(crate) struct IdentityRecord<'a> {
    /// The certificate for new peers.
    #[serde(borrow)]
    pub current: CertificateRecord<'a>,
    /// The certificates of peers that joined before it was made, the latest first, at most
    /// [`limits::EARLIER`].
    #[serde(borrow)]
    pub earlier: Vec<CertificateRecord<'a>>,
}

/// A certificate and its key.
#[derive(Serialize, Deserialize)]
pub(crate) struct CertificateRecord<'a> {
    /// The X.509 certificate, DER.
    pub certificate: &'a [u8],
    /// Its private key, PKCS#8 DER.
    pub private_key: &'a [u8],
}
