//! A bearer token (RFC 6750 §2.1).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is empty: it would keep nobody out.
    #[error(
        "it is empty; take it out of the settings, or give a token such as `openssl rand -hex 16` \
         prints"
    )]
    Empty,
    /// No client could send it (RFC 6750 §2.1).
    #[error(
        "it has a character that a bearer token cannot have; use letters, digits and - . _ ~ + /"
    )]
    Character,
    /// Its file cannot be read.
    #[error("its file {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It was a pipe at the start, which can be read only once.
    #[error("its file {path} is not a regular file, and cannot be read a second time; start the \
             server anew", path = .0.display())]
    NotAFile(PathBuf),
}

/// Longest token file, in bytes.
const MAX_FILE: u64 = 4096;

/// A bearer token that clients must show. Only its hash is kept, which is enough for a comparison.
pub struct Token {
    sha256: RwLock<[u8; 32]>,
    is_short: bool,
    /// The file that it was read from.
    file: Option<PathBuf>,
}

impl Token {
    /// A random token with at least this many characters cannot be guessed.
    pub const ADVISED_LENGTH: usize = 16;

    /// Takes a token.
    ///
    /// # Errors
    /// [`TokenError`] where it is empty or is no `b64token` (RFC 6750 §2.1).
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let body = text.trim_end_matches('=');
        if body.is_empty() {
            return Err(TokenError::Empty);
        }
        if !body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
        {
            return Err(TokenError::Character);
        }
        Ok(Self {
            sha256: RwLock::new(hash(text)),
            is_short: text.len() < Self::ADVISED_LENGTH,
            file: None,
        })
    }

    /// Takes the first line of a file, without the line break.
    ///
    /// # Errors
    /// [`TokenError`] where it cannot be read, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let token = Self::new(&Self::line(path)?)?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..token
        })
    }

    /// The first line of a file, without the line's end: a token as text, for who shows it.
    ///
    /// # Errors
    /// [`TokenError`] where it cannot be read.
    pub fn line(path: &Path) -> Result<Zeroizing<String>, TokenError> {
        let unreadable = |source: io::Error| TokenError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        let length = text.lines().next().unwrap_or_default().trim_end().len();
        text.truncate(length);
        Ok(text)
    }

    /// Reads its file again, if it has one. Returns whether the token changed; after an error the
    /// old one stays.
    ///
    /// # Errors
    /// Those of [`Token::read`]; [`TokenError::NotAFile`] where reading could wait for ever.
    pub fn read_again(&self) -> Result<bool, TokenError> {
        let Some(path) = &self.file else {
            return Ok(false);
        };
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(TokenError::NotAFile(path.clone()));
        }
        let now = Self::read(path)?.hash();
        let mut sha256 = self.sha256.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *sha256 != now;
        *sha256 = now;
        Ok(changed)
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it has fewer characters than [`Token::ADVISED_LENGTH`].
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    fn hash(&self) -> [u8; 32] {
        *self.sha256.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the token, in a time that depends on neither of the two.
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.hash(), &hash(presented)).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What is kept of a token.
pub(super) fn hash(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_no_client_could_send_is_refused() {
        assert!(matches!(Token::new(""), Err(TokenError::Empty)));
        assert!(matches!(Token::new("=="), Err(TokenError::Empty)));
        assert!(matches!(
            Token::new("two words"),
            Err(TokenError::Character)
        ));
        assert!(matches!(Token::new("tökn"), Err(TokenError::Character)));
        assert!(Token::new("YWJj+/-._~==").is_ok());
    }

    #[test]
    fn a_token_prints_nothing_of_itself() {
        assert_eq!(
            format!("{:?}", Token::new("tell-no-one").expect("a token")),
            "Token(..)"
        );
    }
}
