//! Bearer tokens (RFC 6750 §2.1).

use std::fmt;
use std::io;
use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};

use super::problem::Problem;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is empty: it would keep nobody out.
    #[error("it is empty; take it out of the settings, or give a token such as `openssl rand -hex 16` prints")]
    Empty,
    /// No client could send it (RFC 6750 §2.1).
    #[error("it has a character that a bearer token cannot have; use letters, digits and - . _ ~ + /")]
    Character,
    /// Its file cannot be read.
    #[error("its file {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A bearer token that clients must show. Only its hash is kept: that is all a comparison needs.
#[derive(Clone)]
pub struct Token {
    sha256: [u8; 32],
}

impl Token {
    /// From this many characters on, a random token cannot be guessed.
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
        Ok(Self { sha256: hash(text) })
    }

    /// Whether this is the token, in a time that depends on neither of the two.
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.sha256, &hash(presented)).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn hash(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

/// Whether a request shows the token; without a token everybody does.
pub(super) fn shows(token: Option<&Token>, headers: &HeaderMap) -> bool {
    token.is_none_or(|token| bearer(headers).is_some_and(|presented| token.matches(presented)))
}

/// Lets a request through only where it shows the token; `realm` says what for.
pub(super) fn require(token: Option<&Token>, headers: &HeaderMap, realm: &'static str) -> Result<(), Problem> {
    if shows(token, headers) {
        return Ok(());
    }
    // RFC 6750 §3.1: no error code where nothing was shown.
    let challenge = match headers.contains_key(header::AUTHORIZATION) {
        true => format!("Bearer realm=\"{realm}\", error=\"invalid_token\""),
        false => format!("Bearer realm=\"{realm}\""),
    };
    Err(Problem::unauthorized(realm).with(header::WWW_AUTHENTICATE, challenge))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, StatusCode};

    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = Token::new("s3cret-token").expect("a token");
        assert!(shows(Some(&token), &with("Bearer s3cret-token")));
        assert!(shows(Some(&token), &with("bearer  s3cret-token")));
        for wrong in [
            "Bearer s3cret-toke",
            "Bearer s3cret-token2",
            "Bearer ",
            "Basic s3cret-token",
            "s3cret-token",
            "Bearer",
        ] {
            assert!(!shows(Some(&token), &with(wrong)), "{wrong}");
        }
        assert!(!shows(Some(&token), &HeaderMap::new()));
        assert!(shows(None, &HeaderMap::new()));
    }

    #[test]
    fn a_refusal_challenges_for_a_bearer_token() {
        let token = Token::new("t").expect("a token");
        let problem = require(Some(&token), &HeaderMap::new(), "publish").expect_err("refused");
        assert_eq!(problem.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            problem.header(&header::WWW_AUTHENTICATE),
            Some("Bearer realm=\"publish\"")
        );
        let problem = require(Some(&token), &with("Bearer x"), "watch").expect_err("refused");
        assert_eq!(
            problem.header(&header::WWW_AUTHENTICATE),
            Some("Bearer realm=\"watch\", error=\"invalid_token\"")
        );
    }

    #[test]
    fn a_token_that_no_client_could_send_is_refused() {
        assert!(matches!(Token::new(""), Err(TokenError::Empty)));
        assert!(matches!(Token::new("=="), Err(TokenError::Empty)));
        assert!(matches!(Token::new("two words"), Err(TokenError::Character)));
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
