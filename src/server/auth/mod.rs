//! Who may publish, who may watch, and who may operate: bearer tokens (RFC 6750 §2.1).

mod channel_tokens;
mod rights;
mod token;

use axum::http::{HeaderMap, header};

pub use channel_tokens::{ChannelTokens, ChannelTokensError, Uses};
pub use rights::Rights;
pub use token::{Token, TokenError};

use super::problem::Problem;

/// Allows a request only where it shows the token; without a token every request is allowed.
/// `realm` names what the token is for.
pub(super) fn require(
    token: Option<&Token>,
    headers: &HeaderMap,
    realm: &'static str,
) -> Result<(), Problem> {
    let shows = |token: &Token| bearer(headers).is_some_and(|presented| token.matches(presented));
    if token.is_none_or(shows) {
        return Ok(());
    }
    Err(unauthorized(headers, realm))
}

/// The refusal of a request that shows no token, or one that does not allow this.
fn unauthorized(headers: &HeaderMap, realm: &'static str) -> Problem {
    // RFC 6750 §3.1: no error code where no token was shown.
    let challenge = match headers.contains_key(header::AUTHORIZATION) {
        true => format!("Bearer realm=\"{realm}\", error=\"invalid_token\""),
        false => format!("Bearer realm=\"{realm}\""),
    };
    Problem::unauthorized(realm).with(header::WWW_AUTHENTICATE, challenge)
}

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests;
