//! An account of the operator's with the authority, to which the server's is bound (RFC 8555
//! §7.3.4). Some authorities make no account without.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::ExternalAccountKey;
use zeroize::Zeroizing;

use crate::server::{Token, TokenError};

/// Fewest bytes of a key for HMAC-SHA256 (RFC 7518 §3.2).
const MIN_KEY: usize = 32;

/// The identifier and the MAC key that the authority has given to the operator. Of use once, when the
/// server's account is made.
pub struct ExternalAccount {
    id: String,
    key: Zeroizing<Vec<u8>>,
}

/// Why a file holds none. Nothing of its content is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalAccountError {
    /// It cannot be read.
    #[error("the account's key of --acme-eab-file cannot be used: {0}")]
    Unreadable(#[from] TokenError),
    /// It is something else.
    #[error(
        "{}, which --acme-eab-file names, is not what it should be: one line with the key's identifier, \
         a space, and the MAC key in base64url, {MIN_KEY} bytes or more, as the authority has given \
         them", .0.display()
    )]
    Malformed(PathBuf),
}

impl ExternalAccount {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ExternalAccountError`].
    pub fn read(path: &Path) -> Result<Self, ExternalAccountError> {
        Self::parse(&Token::line(path)?)
            .ok_or_else(|| ExternalAccountError::Malformed(path.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, key) = text.trim_end().split_once(' ')?;
        // Some authorities show it with its padding.
        let key = URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('='));
        let key = Zeroizing::new(key.ok()?);
        (!id.is_empty() && key.len() >= MIN_KEY).then(|| Self {
            id: id.to_owned(),
            key,
        })
    }

    pub(super) fn key(&self) -> ExternalAccountKey {
        ExternalAccountKey::new(self.id.clone(), &self.key)
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalAccount(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_identifier_and_a_key_that_is_long_enough() {
        let key = URL_SAFE_NO_PAD.encode([7; 32]);
        let read = |text: &str| ExternalAccount::parse(text).map(|account| account.id);
        assert_eq!(read(&format!("kid-1 {key}\n")).as_deref(), Some("kid-1"));
        assert_eq!(read(&format!("kid-1 {key}=\n")).as_deref(), Some("kid-1"));
        let short = URL_SAFE_NO_PAD.encode([7; 31]);
        for bad in [
            "",
            "kid-1",
            "kid-1 ",
            &key,
            &format!("kid-1 {short}"),
            "kid-1 %%",
            &format!(" {key}"),
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        let account = ExternalAccount::parse(&format!("kid-1 {key}")).expect("an account");
        assert_eq!(format!("{account:?}"), "ExternalAccount(..)");
    }
}
