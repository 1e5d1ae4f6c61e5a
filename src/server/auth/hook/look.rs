//! A list of channels, of which a service decides who may see which. Each look at the list could
//! be as many questions as there are channels, and every page looks again and again.

use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::{Hook, key};
use crate::ids::Role;

/// Most questions of one look. The next one asks about further channels: what was answered is
/// remembered meanwhile.
const MAX_QUESTIONS: usize = 20;
/// Most lists that ask at the same time, one question at a time each: most of the questions that may
/// be open at once are left to those who join.
pub(super) const MAX_LOOKS: usize = 8;

/// One look at the list, by whoever shows this token.
pub(in crate::server::auth) struct Look<'a> {
    hook: &'a Hook,
    token: Option<&'a str>,
    /// No question is begun later: who looks waits no longer than for two of them.
    until: Instant,
    questions: usize,
    turn: Option<SemaphorePermit<'a>>,
}

impl Hook {
    pub(in crate::server::auth) fn look<'a>(&'a self, token: Option<&'a str>) -> Look<'a> {
        Look {
            hook: self,
            token,
            until: Instant::now() + self.limit,
            questions: 0,
            turn: None,
        }
    }
}

impl Look<'_> {
    /// Whether there were questions.
    pub(in crate::server::auth) fn has_asked(&self) -> bool {
        self.questions > 0
    }

    /// Whether this channel may be watched, as far as it is known or is answered in time.
    pub(in crate::server::auth) async fn allows(&mut self, channel: &str) -> bool {
        let key = key(Role::Viewer, channel, self.token);
        if self.hook.allowed.has(&key) {
            return true;
        }
        if self.questions >= MAX_QUESTIONS || self.hook.refused.has(&key) {
            return false;
        }
        self.questions += 1;
        if self.turn.is_none() {
            let turn = timeout_at(self.until, self.hook.looks.acquire()).await;
            // It is never closed.
            self.turn = turn.ok().and_then(Result::ok);
        }
        if self.turn.is_none() || Instant::now() >= self.until {
            self.questions = MAX_QUESTIONS;
            return false;
        }
        match self.hook.allows(Role::Viewer, channel, self.token).await {
            Ok(true) => true,
            Ok(false) => {
                self.hook.refused.remember(key);
                false
            }
            // Nothing more is asked of a service that cannot answer.
            Err(_) => {
                self.questions = MAX_QUESTIONS;
                false
            }
        }
    }
}
