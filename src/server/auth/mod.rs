//! Who may publish, who may watch, and who may operate: bearer tokens (RFC 6750 §2.1), of which the
//! server knows some, and others are signed by or asked of somebody whom the operator has named.

mod channel_tokens;
mod hook;
mod jwt;
mod pattern;
mod rights;
mod token;

use axum::http::{HeaderMap, header};

pub use channel_tokens::{ChannelTokens, ChannelTokensError, Uses};
pub use hook::Hook;
pub(super) use jwt::Moment;
pub use jwt::{Jwt, JwtChecks, JwtError, KeySetError, KeysPlace, NewJwt, make_key_file};
pub use pattern::ChannelPattern;
pub use rights::Rights;
pub use token::{Token, TokenError};

use super::problem::Problem;
use crate::ids::Role;

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
    Err(unauthorized(headers, realm, None))
}

/// The refusal of a request that shows no token, or one that does not allow this: why, where that is
/// known.
fn unauthorized(headers: &HeaderMap, realm: &'static str, why: Option<&'static str>) -> Problem {
    // RFC 6750 §3.1: no error code where no token was shown.
    let mut challenge = format!("Bearer realm=\"{realm}\"");
    if headers.contains_key(header::AUTHORIZATION) {
        challenge += ", error=\"invalid_token\"";
    }
    if let Some(why) = why {
        challenge += &format!(", error_description=\"{why}\"");
    }
    Problem::unauthorized(realm).with(header::WWW_AUTHENTICATE, challenge)
}

/// What a role does: the name of a right.
fn name(role: Role) -> &'static str {
    match role {
        Role::Publisher => "publish",
        Role::Viewer => "watch",
    }
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
