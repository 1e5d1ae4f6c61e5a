//! Names and roles of peers, which all layers share, and how bytes are written as text. They are
//! persisted as `vault::record` says.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod hex;
mod transport_address;

use std::fmt;

use serde::{Deserialize, Serialize};
pub use transport_address::{Transport, TransportAddress};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a peer does on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Sends audio and video (WHIP, RFC 9725).
    Publisher,
    /// Receives audio and video (WHEP).
    Viewer,
}

/// An ICE user name fragment made by this server (RFC 8445 §5.3): 8 to 32 ASCII letters and digits,
/// so that it is safe as a file name and in a URL. It is sent in clear in every STUN request, so it
/// is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ufrag(String);

/// The text is no ICE user name fragment that this server could have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an ICE user name fragment of this server has 8 to 32 ASCII letters and digits")]
pub struct UfragError;

impl Ufrag {
    /// Checks and takes a user name fragment.
    ///
    /// # Errors
    /// [`UfragError`] unless it has 8 to 32 ASCII letters and digits.
    pub fn new(text: impl Into<String>) -> Result<Self, UfragError> {
        let text = text.into();
        let fits =
            (8..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits {
            Ok(Self(text))
        } else {
            Err(UfragError)
        }
    }

    /// The fragment as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Ufrag {
    type Error = UfragError;

    fn try_from(text: String) -> Result<Self, UfragError> {
        Self::new(text)
    }
}

impl From<Ufrag> for String {
    fn from(ufrag: Ufrag) -> String {
        ufrag.0
    }
}

impl std::borrow::Borrow<str> for Ufrag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An ICE password (RFC 8445 §5.3): the key of STUN's MESSAGE-INTEGRITY. Wiped when dropped, never
/// printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct IcePassword(String);

impl IcePassword {
    /// Takes a password.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for MESSAGE-INTEGRITY and for the answer's `a=ice-pwd`.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IcePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IcePassword(..)")
    }
}

/// The server's half of a peer's ICE credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    /// `a=ice-ufrag` of the answer, and the name of the peer.
    pub ufrag: Ufrag,
    /// `a=ice-pwd` of the answer.
    pub pwd: IcePassword,
}
