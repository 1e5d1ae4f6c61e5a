//! Who may publish and who may watch.

use std::path::Path;

use axum::http::HeaderMap;

use super::jwt::{Moment, Verdict};
use super::{ChannelTokens, Hook, Jwt, Token, bearer, name, unauthorized};
use crate::ids::Role;
use crate::server::outbound::Endpoint;
use crate::server::problem::Problem;

/// The rights of those who use channels.
#[derive(Debug, Default)]
pub struct Rights {
    /// The token for publishers of every channel.
    pub publish: Option<Token>,
    /// The token for viewers of every channel.
    pub watch: Option<Token>,
    /// The tokens for single channels. With them, or one of the two below, nothing is allowed that
    /// none of all these allows.
    pub channels: Option<ChannelTokens>,
    /// The keys of those who make JWTs.
    pub jwt: Option<Jwt>,
    /// Who is asked where no token decides.
    pub hook: Option<Hook>,
}

/// What the tokens say.
#[derive(Clone, Copy)]
enum Local {
    Allowed,
    /// A token that is ours does not allow it: why, where that helps.
    Refused(Option<&'static str>),
    /// None of them says anything.
    Undecided,
}

impl Rights {
    /// Whether publishers must show a token.
    pub fn guard_publishing(&self) -> bool {
        self.publish.is_some() || self.is_by_channel()
    }

    /// Whether rights are for single channels, so that nothing is allowed unless something allows
    /// it.
    pub fn is_by_channel(&self) -> bool {
        self.channels.is_some() || self.jwt.is_some() || self.hook.is_some()
    }

    /// Allows a request about a channel only where it shows a token that its role needs there.
    pub(in crate::server) async fn require(
        &self,
        role: Role,
        channel: &str,
        headers: &HeaderMap,
        moment: Moment,
    ) -> Result<(), Problem> {
        let why = match self.local(role, channel, headers, moment).await? {
            Local::Allowed => return Ok(()),
            Local::Refused(why) => why,
            Local::Undecided => {
                if let Some(hook) = &self.hook {
                    let asked = hook.allows(role, channel, bearer(headers)).await;
                    if asked.map_err(|_| Problem::undecided())? {
                        return Ok(());
                    }
                }
                None
            }
        };
        Err(unauthorized(headers, name(role), why))
    }

    /// Allows to learn whether a channel is live and how many watch it: to those who may watch or
    /// publish there.
    pub(in crate::server) async fn require_to_look(
        &self,
        channel: &str,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let (mut undecided, mut reason) = (true, None);
        for role in [Role::Viewer, Role::Publisher] {
            match self.local(role, channel, headers, Moment::Now).await? {
                Local::Allowed => return Ok(()),
                Local::Refused(why) => (undecided, reason) = (false, why),
                Local::Undecided => {}
            }
        }
        if let Some(hook) = self.hook.as_ref().filter(|_| undecided) {
            for role in [Role::Publisher, Role::Viewer] {
                let asked = hook.allows_to_look(role, channel, bearer(headers)).await;
                if asked.map_err(|_| Problem::undecided())? {
                    return Ok(());
                }
            }
        }
        Err(unauthorized(headers, name(Role::Viewer), reason))
    }

    /// Those of these channels that whoever shows this token may watch. A service that decides is
    /// asked about some of them at a time: see [`Hook::look`].
    pub(in crate::server) async fn shown<T>(
        &self,
        channels: impl IntoIterator<Item = (String, T)>,
        headers: &HeaderMap,
    ) -> Vec<(String, T)> {
        let mut look = self.hook.as_ref().map(|hook| hook.look(bearer(headers)));
        let mut shown = Vec::new();
        for (channel, more) in channels {
            let said = self.local(Role::Viewer, &channel, headers, Moment::Now);
            let shows = match (said.await, &mut look) {
                (Ok(Local::Allowed), _) => true,
                (Ok(Local::Undecided), Some(look)) => look.allows(&channel).await,
                _ => false,
            };
            if shows {
                shown.push((channel, more));
            }
        }
        shown
    }

    async fn local(
        &self,
        role: Role,
        channel: &str,
        headers: &HeaderMap,
        moment: Moment,
    ) -> Result<Local, Problem> {
        let token = match role {
            Role::Publisher => &self.publish,
            Role::Viewer => &self.watch,
        };
        let shown = bearer(headers);
        let allowed = match token {
            Some(token) => shown.is_some_and(|shown| token.matches(shown)),
            None => !self.is_by_channel(),
        };
        let channels = self.channels.as_ref();
        if allowed || channels.is_some_and(|channels| channels.allow(role, channel, shown)) {
            return Ok(Local::Allowed);
        }
        let (Some(jwt), Some(shown)) = (&self.jwt, shown) else {
            return Ok(Local::Undecided);
        };
        match jwt.decide(role, channel, shown, moment).await {
            Verdict::Allowed => Ok(Local::Allowed),
            Verdict::Refused(why) => Ok(Local::Refused(why)),
            Verdict::Foreign => Ok(Local::Undecided),
            Verdict::Unknown => Err(Problem::undecided()),
        }
    }

    /// The files that are read again on SIGHUP.
    pub(in crate::server) fn files(&self) -> impl Iterator<Item = &Path> {
        let tokens = [&self.publish, &self.watch].into_iter().flatten();
        let channels = self.channels.as_ref().map(ChannelTokens::file);
        let keys = self.jwt.as_ref().and_then(Jwt::file);
        tokens.filter_map(Token::file).chain(channels).chain(keys)
    }

    /// The places that are asked.
    pub(in crate::server) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let keys = self.jwt.as_ref().and_then(Jwt::endpoint);
        keys.into_iter()
            .chain(self.hook.as_ref().map(Hook::endpoint))
    }
}
