//! Who may publish and who may watch.

use std::path::Path;

use axum::http::HeaderMap;

use super::channel_tokens::Held;
use super::hook::Look;
use super::jwt::{Claims, Moment, Verified};
use super::{ChannelTokens, Hook, Jwt, Token, bearer, name, unauthorized};
use crate::ids::Role;
use crate::server::outbound::Endpoint;
use crate::server::problem::Problem;

const NOT_FOR_THIS: &str = "the token is not for this";

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

/// What a JWT says.
enum Signed {
    Claims(Claims),
    /// It is one of ours, and allows nothing: why.
    Refused(&'static str),
    /// There is none, or it is none of ours.
    Nothing,
}

impl Signed {
    /// `None` where no key is known yet.
    fn of(verified: Verified) -> Option<Self> {
        match verified {
            Verified::Good(claims) => Some(Self::Claims(claims)),
            Verified::Bad(why) => Some(Self::Refused(why)),
            Verified::Foreign => Some(Self::Nothing),
            Verified::Unknown => None,
        }
    }
}

/// What was shown, for who looks at many channels.
pub(in crate::server) struct Looking<'a> {
    /// Whether every channel may be seen.
    all: bool,
    lines: Held,
    signed: Signed,
    shown: bool,
    /// A service that decides is asked about some channels at a time.
    look: Option<Look<'a>>,
}

impl Looking<'_> {
    /// Whether a list of channels has this one: where it may be watched.
    pub(in crate::server) async fn shows(&mut self, channel: &str) -> bool {
        if self.all || self.lines.allow(Role::Viewer, channel) {
            return true;
        }
        match (&self.signed, &mut self.look) {
            (Signed::Claims(claims), _) => claims.allow(Role::Viewer, channel),
            (Signed::Nothing, Some(look)) => look.allows(channel).await,
            _ => false,
        }
    }

    /// Whether the service had to be asked, or a token was shown that nobody knows: it may be a guess.
    pub(in crate::server) fn is_costly(&self) -> bool {
        let is_strange = matches!(self.signed, Signed::Nothing) && !self.lines.is_known();
        match &self.look {
            Some(look) => look.has_asked(),
            None => self.shown && !self.all && is_strange,
        }
    }
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
        let shown = bearer(headers);
        if self.by_token(role, channel, shown) {
            return Ok(());
        }
        let why = match self.by_signature(shown, moment).await? {
            Signed::Claims(claims) if claims.allow(role, channel) => return Ok(()),
            Signed::Claims(_) => Some(NOT_FOR_THIS),
            Signed::Refused(why) => Some(why),
            Signed::Nothing => {
                if let Some(hook) = &self.hook {
                    let asked = hook.allows(role, channel, self.strange(shown)).await;
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
    /// publish there. Returns whether the service had to be asked.
    pub(in crate::server) async fn require_to_look(
        &self,
        channel: &str,
        headers: &HeaderMap,
    ) -> Result<bool, Problem> {
        const EITHER: [Role; 2] = [Role::Publisher, Role::Viewer];
        let shown = bearer(headers);
        if EITHER
            .iter()
            .any(|role| self.by_token(*role, channel, shown))
        {
            return Ok(false);
        }
        let why = match self.by_signature(shown, Moment::Now).await? {
            Signed::Claims(claims) if EITHER.iter().any(|role| claims.allow(*role, channel)) => {
                return Ok(false);
            }
            Signed::Claims(_) => Some(NOT_FOR_THIS),
            Signed::Refused(why) => Some(why),
            Signed::Nothing => {
                if let Some(hook) = &self.hook {
                    let token = self.strange(shown);
                    if EITHER
                        .iter()
                        .any(|role| hook.remembers(*role, channel, token))
                    {
                        return Ok(false);
                    }
                    for role in EITHER {
                        let asked = hook.allows(role, channel, token).await;
                        if asked.map_err(|_| Problem::undecided())? {
                            return Ok(true);
                        }
                    }
                }
                None
            }
        };
        Err(unauthorized(headers, name(Role::Viewer), why))
    }

    /// What is shown, looked at once for all channels.
    pub(in crate::server) fn look<'a>(&'a self, headers: &'a HeaderMap) -> Looking<'a> {
        let shown = bearer(headers);
        let signed = match self.jwt.as_ref().zip(shown) {
            // It may be one of ours, which nobody else is asked about.
            Some((jwt, shown)) => {
                Signed::of(jwt.verify_now(shown)).unwrap_or(Signed::Refused("no key is known yet"))
            }
            None => Signed::Nothing,
        };
        let channels = self.channels.as_ref();
        Looking {
            all: self.by_token_for_all(Role::Viewer, shown),
            lines: channels.map(|all| all.held(shown)).unwrap_or_default(),
            signed,
            shown: shown.is_some(),
            look: self
                .hook
                .as_ref()
                .map(|hook| hook.look(self.strange(shown))),
        }
    }

    /// Whether a token for every channel allows this, or none is needed.
    fn by_token_for_all(&self, role: Role, shown: Option<&str>) -> bool {
        let token = match role {
            Role::Publisher => &self.publish,
            Role::Viewer => &self.watch,
        };
        match token {
            Some(token) => shown.is_some_and(|shown| token.matches(shown)),
            None => !self.is_by_channel(),
        }
    }

    /// Whether a token that the server knows allows this, or none is needed.
    fn by_token(&self, role: Role, channel: &str, shown: Option<&str>) -> bool {
        let channels = self.channels.as_ref();
        self.by_token_for_all(role, shown)
            || channels.is_some_and(|channels| channels.allow(role, channel, shown))
    }

    async fn by_signature(&self, shown: Option<&str>, moment: Moment) -> Result<Signed, Problem> {
        let (Some(jwt), Some(shown)) = (&self.jwt, shown) else {
            return Ok(Signed::Nothing);
        };
        Signed::of(jwt.verify(shown, moment).await).ok_or_else(Problem::undecided)
    }

    /// What the service is told of a token: nothing of one that the server knows, by which others
    /// could do what it is for.
    fn strange<'a>(&self, shown: Option<&'a str>) -> Option<&'a str> {
        shown.filter(|shown| {
            let mut all = [&self.publish, &self.watch].into_iter().flatten();
            let channels = self.channels.as_ref();
            !all.any(|token| token.matches(shown))
                && !channels.is_some_and(|channels| channels.knows(shown))
        })
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
