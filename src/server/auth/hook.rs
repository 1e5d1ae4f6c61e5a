//! A service of the operator's that is asked who may publish and watch, where no token that the
//! server knows decides it.

mod look;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::token;
use crate::ids::Role;
use crate::server::outbound::{Complaint, Endpoint, OutboundError};
pub(super) use look::Look;
use look::MAX_LOOKS;

/// Most questions at once; others wait, within their time.
const MAX_QUESTIONS: usize = 64;
/// Most bytes of an answer, of which the status is all that counts.
const MAX_ANSWER: usize = 4 * 1024;
/// How long an answer is remembered for those who only look at a channel, as the page does again
/// and again. Nobody joins by it.
const MEMORY: Duration = Duration::from_secs(60);
/// How many answers are remembered.
const MAX_REMEMBERED: usize = 4096;

/// Who is asked.
#[derive(Debug)]
pub struct Hook {
    endpoint: Endpoint,
    limit: Duration,
    questions: Semaphore,
    complaint: Complaint,
    allowed: Memory,
    /// What lists of channels were told no about.
    refused: Memory,
    /// Lists that may have questions at the same time.
    looks: Semaphore,
}

/// What was answered of late, and when.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<[u8; 32], Instant>>);

/// The question.
#[derive(Serialize)]
struct Question<'a> {
    r#use: &'static str,
    channel: &'a str,
    /// As it was shown.
    token: Option<&'a str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("it answers {0}, which is neither yes (2xx) nor no (401, 403)")]
    Status(StatusCode),
    #[error("{0}")]
    Outbound(#[from] OutboundError),
}

/// The service cannot say now.
pub(super) struct Unsure;

impl Hook {
    /// Asks at this place, and waits so long for an answer.
    pub fn new(endpoint: Endpoint, limit: Duration) -> Self {
        Self {
            endpoint,
            limit,
            questions: Semaphore::new(MAX_QUESTIONS),
            complaint: Complaint::default(),
            allowed: Memory::default(),
            refused: Memory::default(),
            looks: Semaphore::new(MAX_LOOKS),
        }
    }

    pub(in crate::server) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether this is allowed.
    pub(super) async fn allows(
        &self,
        role: Role,
        channel: &str,
        token: Option<&str>,
    ) -> Result<bool, Unsure> {
        match self.ask(role, channel, token).await {
            Ok(answer) => {
                if self.complaint.works() {
                    let place = self.endpoint.origin();
                    tracing::info!("{place} answers again who may publish and watch");
                }
                let key = key(role, channel, token);
                match answer {
                    true => self.allowed.remember(key),
                    false => self.allowed.forget(&key),
                }
                Ok(answer)
            }
            Err(error) => {
                if let Some(unsaid) = self.complaint.failed(Instant::now()) {
                    let place = self.endpoint.origin();
                    tracing::warn!(
                        unsaid,
                        "{place} does not say who may publish and watch, so nobody is let in by \
                         it: {error}. See whether the service at --auth-url runs and this machine \
                         reaches it. Sessions that are here go on"
                    );
                }
                Err(Unsure)
            }
        }
    }

    /// Whether it said yes a moment ago, which is good for who only looks.
    pub(super) fn remembers(&self, role: Role, channel: &str, token: Option<&str>) -> bool {
        self.allowed.has(&key(role, channel, token))
    }

    async fn ask(&self, role: Role, channel: &str, token: Option<&str>) -> Result<bool, NoAnswer> {
        let question = Question {
            r#use: super::name(role),
            channel,
            token,
        };
        // A structure of texts is always JSON.
        let body = Bytes::from(serde_json::to_vec(&question).unwrap_or_default());
        let exchange = async {
            // It is never closed.
            let _permit = self.questions.acquire().await;
            let post = || {
                self.endpoint
                    .post(&[], body.clone(), self.limit, MAX_ANSWER)
            };
            let mut answer = post().await;
            // A connection that was kept may have been closed by the service while the question was
            // on its way.
            if matches!(answer, Err(OutboundError::Failed(_))) {
                answer = post().await;
            }
            Ok::<_, NoAnswer>(answer?.status)
        };
        let status = timeout(self.limit, exchange)
            .await
            .unwrap_or(Err(OutboundError::Slow(self.limit).into()))?;
        match status {
            status if status.is_success() => Ok(true),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
            status => Err(NoAnswer::Status(status)),
        }
    }
}

impl Memory {
    fn has(&self, key: &[u8; 32]) -> bool {
        let known = self.lock().get(key).copied();
        known.is_some_and(|at| at.elapsed() < MEMORY)
    }

    fn remember(&self, key: [u8; 32]) {
        let mut all = self.lock();
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, at| at.elapsed() < MEMORY);
        }
        if all.len() < MAX_REMEMBERED {
            all.insert(key, Instant::now());
        }
    }

    fn forget(&self, key: &[u8; 32]) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By what an answer is remembered, which is no token. No name of a channel has a space in it.
fn key(role: Role, channel: &str, token: Option<&str>) -> [u8; 32] {
    let shown = if token.is_some() { "token" } else { "none" };
    let token = token.unwrap_or_default();
    token::hash(&format!("{} {channel} {shown} {token}", super::name(role)))
}
