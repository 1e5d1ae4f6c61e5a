//! Who may publish and who may watch.

use std::path::Path;

use axum::http::HeaderMap;

use super::{ChannelTokens, Token, bearer, require, unauthorized};
use crate::ids::Role;
use crate::server::problem::Problem;

/// The rights of those who use channels.
#[derive(Debug, Default)]
pub struct Rights {
    /// The token for publishers of every channel.
    pub publish: Option<Token>,
    /// The token for viewers of every channel.
    pub watch: Option<Token>,
    /// The tokens for single channels. With them, nothing is allowed that neither they nor the
    /// tokens above allow.
    pub channels: Option<ChannelTokens>,
}

impl Rights {
    /// Whether publishers must show a token.
    pub fn guard_publishing(&self) -> bool {
        self.publish.is_some() || self.channels.is_some()
    }

    /// Allows a request about a channel only where it shows a token that its role needs there.
    pub(in crate::server) fn require(
        &self,
        role: Role,
        channel: &str,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let (token, realm) = match role {
            Role::Publisher => (self.publish.as_ref(), "publish"),
            Role::Viewer => (self.watch.as_ref(), "watch"),
        };
        let Some(channels) = &self.channels else {
            return require(token, headers, realm);
        };
        let general = token.is_some() && require(token, headers, realm).is_ok();
        match general || channels.allow(role, channel, bearer(headers)) {
            true => Ok(()),
            false => Err(unauthorized(headers, realm)),
        }
    }

    /// The files that are read again on SIGHUP.
    pub(in crate::server) fn files(&self) -> impl Iterator<Item = &Path> {
        let tokens = [&self.publish, &self.watch].into_iter().flatten();
        let channels = self.channels.as_ref().map(ChannelTokens::file);
        tokens.filter_map(Token::file).chain(channels)
    }
}
