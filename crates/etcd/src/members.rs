//! The members of etcd. They are asked one after the other until one answers, or the time is over.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use rekindle_vault::shared::StoreError;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Pause between two rounds in which no member carried out the request.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a member is waited for in the first round if there are others; twice as long in each
/// further round.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a call takes at most while the last one has had no answer: somebody may wait for it, and
/// it is made only to see whether etcd is back.
const AWAY: Duration = Duration::from_secs(1);

/// Codes of gRPC (<https://grpc.io/docs/guides/status-codes/>).
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// The members, and which of them answered last.
pub(crate) struct Members {
    members: Vec<Member>,
    last: AtomicUsize,
    /// The last call has had no answer.
    away: AtomicBool,
    limit: Duration,
}

struct Member {
    url: String,
    options: ConnectOptions,
    client: Mutex<Option<Client>>,
}

/// The result of a call.
pub(crate) struct Answer<T> {
    pub value: T,
    /// Whether the call was made before without an answer, and may have been carried out then.
    pub repeated: bool,
}

/// Why a member did not carry out a request.
enum Refusal {
    /// Every member would refuse it.
    Final(StoreError),
    /// Another member may carry it out.
    Passing(String),
}

impl Members {
    /// Members at these URLs, each with what a connection to it needs.
    pub(crate) fn new(members: Vec<(String, ConnectOptions)>, limit: Duration) -> Self {
        let member = |(url, options)| Member {
            url,
            options,
            client: Mutex::new(None),
        };
        Self {
            members: members.into_iter().map(member).collect(),
            last: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            limit,
        }
    }

    /// Makes a call that may be made more than once. It is told whether it was made before.
    pub(crate) async fn call<T, F>(
        &self,
        call: impl Fn(Client, bool) -> F,
    ) -> Result<Answer<T>, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let limit = match self.away.load(Ordering::Relaxed) {
            true => AWAY.min(self.limit),
            false => self.limit,
        };
        let deadline = Instant::now() + limit;
        // A request to a leader that dies is lost, and has to be repeated soon; a request to slow
        // disks must be waited for. A single member is given all the time.
        let mut patience = match self.members.len() {
            1 => limit,
            // Within the time each is asked at least once.
            members => PATIENCE.min(limit / u32::try_from(members).unwrap_or(u32::MAX)),
        };
        let first = self.last.load(Ordering::Relaxed);
        let mut repeated = false;
        let mut cause = String::new();
        for attempt in 0.. {
            let index = (first + attempt) % self.members.len();
            let until = deadline.min(Instant::now() + patience);
            match self
                .ask(index, until, |client| call(client, repeated))
                .await
            {
                Ok(value) => {
                    self.last.store(index, Ordering::Relaxed);
                    self.away.store(false, Ordering::Relaxed);
                    return Ok(Answer { value, repeated });
                }
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Passing(why)) => {
                    let member = &self.members[index].url;
                    tracing::debug!(member, why, "a member of etcd does not do what it is asked");
                    cause = format!("{member}: {why}");
                }
            }
            repeated = true;
            if (attempt + 1) % self.members.len() == 0 {
                patience *= 2;
                sleep(PAUSE).await;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        self.away.store(true, Ordering::Relaxed);
        Err(StoreError::Unavailable(format!(
            "no answer within {limit:?} ({cause})"
        )))
    }

    async fn ask<T, F>(
        &self,
        index: usize,
        until: Instant,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let member = &self.members[index];
        let made = async { Ok(call(member.client().await?).await?) };
        timeout_at(until, made).await.unwrap_or_else(|_| {
            // Its connection may be broken.
            *member.slot() = None;
            Err(Refusal::Passing("it takes too long".into()))
        })
    }

    /// Makes a long-lasting call, to the member that answered last. The time limit is for its
    /// beginning.
    pub(crate) async fn last(&self) -> Result<Client, StoreError> {
        let index = self.last.load(Ordering::Relaxed);
        let connected = timeout(self.limit, self.members[index].client()).await;
        match connected {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(Refusal::Final(error))) => Err(error),
            Ok(Err(Refusal::Passing(why))) => Err(StoreError::Unavailable(why)),
            Err(late) => Err(StoreError::Unavailable(late.to_string())),
        }
    }

    /// After a long-lasting call has failed: the next one goes to another member.
    pub(crate) fn pass_on(&self) {
        let next = (self.last.load(Ordering::Relaxed) + 1) % self.members.len();
        self.last.store(next, Ordering::Relaxed);
    }
}

impl Member {
    /// A client of this member alone. It connects when it is used, and again when necessary; a user
    /// authenticates the first time.
    async fn client(&self) -> Result<Client, Refusal> {
        if let Some(client) = &*self.slot() {
            return Ok(client.clone());
        }
        let client = Client::connect([&self.url], Some(self.options.clone())).await?;
        *self.slot() = Some(client.clone());
        Ok(client)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::GRpcStatus(status) => status,
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                return Self::Final(StoreError::Unavailable(error.to_string()));
            }
            error => return Self::Passing(error.to_string()),
        };
        let text = status.message();
        if text.contains("database space exceeded") {
            tracing::error!(
                "etcd has no room ({text}): compact and defragment it or raise its quota, then \
                 disarm its alarm"
            );
            return Self::Final(StoreError::Full(text.into()));
        }
        let text = match std::error::Error::source(status) {
            Some(source) => format!("{text}: {source}"),
            None => text.to_owned(),
        };
        match status.code() as i32 {
            // Users or roles were changed a moment ago.
            code::INVALID_ARGUMENT if text.contains("revision") => Self::Passing(text),
            code::INVALID_ARGUMENT | code::PERMISSION_DENIED | code::UNAUTHENTICATED => {
                Self::Final(StoreError::Unavailable(format!(
                    "etcd refuses this client: {text}; see its users and roles"
                )))
            }
            code::NOT_FOUND | code::OUT_OF_RANGE => Self::Final(StoreError::Unavailable(text)),
            _ => Self::Passing(text),
        }
    }
}
