//! What signs events, so that who is told knows that they are the server's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

use crate::ids::hex;
use crate::server::{Token, TokenError};

/// The header with the signature.
pub(super) const SIGNATURE: &str = "rekindle-signature";

/// A secret, from a file.
pub struct EventSecret {
    file: PathBuf,
    secret: RwLock<SecretString>,
    is_short: bool,
}

impl EventSecret {
    /// The first line of a file.
    ///
    /// # Errors
    /// Those of a token, which it could be.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let line = Token::line(path)?;
        let is_short = Token::new(&line)?.is_short();
        Ok(Self {
            file: path.to_owned(),
            secret: RwLock::new(SecretString::from(line.as_str())),
            is_short,
        })
    }

    /// Reads the file again. Returns whether the secret changed; after an error the old one stays.
    ///
    /// # Errors
    /// Those of [`Token::read_again`].
    pub(in crate::server) fn read_again(&self) -> Result<bool, TokenError> {
        if std::fs::metadata(&self.file).is_ok_and(|meta| !meta.is_file()) {
            return Err(TokenError::NotAFile(self.file.clone()));
        }
        let line = Token::line(&self.file)?;
        Token::new(&line)?;
        let mut secret = self.secret.write().unwrap_or_else(PoisonError::into_inner);
        let changed = secret.expose_secret() != line.as_str();
        *secret = SecretString::from(line.as_str());
        Ok(changed)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it could be guessed.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// The value of the header for this body: HMAC-SHA256 in hexadecimal digits.
    pub(super) fn sign(&self, body: &[u8]) -> String {
        let secret = self.secret.read().unwrap_or_else(PoisonError::into_inner);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        format!("sha256={}", hex::encode(hmac::sign(&key, body).as_ref()))
    }
}

impl fmt::Debug for EventSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSecret(..)")
    }
}
