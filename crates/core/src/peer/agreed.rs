//! How a handshake's keys were agreed on, for the log, the metrics and the page. It contains no
//! secret and no personal data.

use super::srtp::Profile;

/// A DTLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 6347
    Dtls12,
    /// RFC 9147
    Dtls13,
}

/// The group of a key exchange (RFC 8446 §4.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// X25519 and ML-KEM-768 together (draft-ietf-tls-ecdhe-mlkem): safe as long as one of them is.
    X25519MlKem768,
    /// RFC 7748
    X25519,
    /// secp256r1
    P256,
    /// secp384r1
    P384,
}

/// What a completed handshake has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version.
    pub version: Version,
    /// The key exchange; `None` where the library does not report which elliptic curve it was.
    pub group: Option<Group>,
    /// The SRTP protection profile.
    pub profile: Profile,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Dtls12, Self::Dtls13];

    /// Its name, for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        }
    }
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::X25519MlKem768, Self::X25519, Self::P256, Self::P384];

    /// Its name in IANA's registry of TLS groups.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::P256 => "secp256r1",
            Self::P384 => "secp384r1",
        }
    }
}

impl Agreed {
    /// Name of a group that the library does not report.
    pub const OTHER_GROUP: &str = "elliptic curve";

    /// The key exchange's name.
    pub const fn group_name(&self) -> &'static str {
        match self.group {
            Some(group) => group.name(),
            None => Self::OTHER_GROUP,
        }
    }

    /// Whether the key exchange is safe against a quantum computer.
    pub fn is_post_quantum(&self) -> bool {
        self.group == Some(Group::X25519MlKem768)
    }
}
