//! Tells a service of the operator's what happens: who joins and leaves a channel, and when its
//! source comes and goes. In order, one at a time, and nobody waits for it: where the service falls
//! behind, events are dropped and counted.

mod secret;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::http::HeaderValue;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::outbound::{Complaint, Endpoint};

pub use secret::EventSecret;
use secret::SIGNATURE;

/// Most events that wait.
const QUEUE: usize = 1024;
/// How long the service may take for each.
const LIMIT: Duration = Duration::from_secs(5);
/// Before each attempt.
const PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
];
/// Most bytes of an answer, of which the status is all that counts.
const MAX_ANSWER: usize = 4 * 1024;
/// Most channels in `up`.
pub(super) const MAX_CHANNELS: usize = 1000;

/// Who is told, and by what it knows that it is this server that tells.
#[derive(Debug)]
pub struct EventHook {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What signs the bodies.
    pub secret: Option<Arc<EventSecret>>,
}

/// What happens. Peers are named as for operators, who can end their sessions under that name.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Happening {
    /// The server is up and knows all its sessions: these are all there are, and those that are not
    /// back yet are awaited.
    Up {
        sessions: usize,
        channels: Vec<ChannelHere>,
        /// How many channels are not listed, since there are too many.
        more_channels: usize,
    },
    /// A session has been started.
    Join(Member),
    /// A session of another node goes on here.
    Adopt(Member),
    /// A session has ended.
    Leave {
        #[serde(flatten)]
        member: Member,
        reason: &'static str,
    },
    /// A channel's source has come or gone.
    Source {
        channel: String,
        live: bool,
        /// Whether it is the one from before the restart.
        again: bool,
    },
}

/// A channel that has sessions.
#[derive(Debug, Serialize)]
pub(super) struct ChannelHere {
    pub channel: String,
    pub publisher: bool,
    pub viewers: usize,
    pub live: bool,
}

/// A peer of a channel.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    pub r#use: &'static str,
    pub channel: String,
    pub peer: String,
}

struct Event {
    sequence: u64,
    at: SystemTime,
    what: Happening,
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    /// Without a gap, unless events were dropped; from 1 in each process.
    sequence: u64,
    boot: u64,
    process: &'a str,
    /// Milliseconds since 1970.
    time: u64,
    #[serde(flatten)]
    what: &'a Happening,
}

/// How many events were told, and how many were not.
#[derive(Debug, Default)]
pub(super) struct EventCounts {
    pub delivered: AtomicU64,
    pub dropped: AtomicU64,
    complaint: Complaint,
}

/// Takes events, and never waits.
#[derive(Debug)]
pub(super) struct Announcer {
    queue: mpsc::Sender<Event>,
    sequence: AtomicU64,
    counts: Arc<EventCounts>,
}

impl Announcer {
    pub(super) fn counts(&self) -> &EventCounts {
        &self.counts
    }

    /// This happens now. Events are told in the order of the calls.
    pub(super) fn tell(&self, what: Happening) {
        let event = Event {
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            at: SystemTime::now(),
            what,
        };
        if self.queue.try_send(event).is_err() {
            self.counts.dropped(&"the service falls behind");
        }
    }
}

impl EventCounts {
    fn dropped(&self, why: &dyn std::fmt::Display) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = self.complaint.failed(Instant::now()) {
            tracing::warn!(
                unsaid,
                "an event was not told to --events-url and is lost: {why}. See whether the service \
                 runs and this machine reaches it"
            );
        }
    }
}

impl EventHook {
    /// What takes events, and the task that tells them, of this boot and process. The task ends
    /// when nothing takes events any more.
    pub(super) fn start(
        self,
        boot: u64,
        process: String,
    ) -> (Announcer, impl Future<Output = ()> + use<>) {
        let (queue, mut events) = mpsc::channel(QUEUE);
        let counts = Arc::<EventCounts>::default();
        let announcer = Announcer {
            queue,
            sequence: AtomicU64::new(0),
            counts: counts.clone(),
        };
        let task = async move {
            while let Some(event) = events.recv().await {
                let body = event.body(boot, &process);
                match self.deliver(body).await {
                    Ok(()) => {
                        counts.delivered.fetch_add(1, Ordering::Relaxed);
                        if counts.complaint.works() {
                            tracing::info!("events are told to --events-url again");
                        }
                    }
                    Err(why) => counts.dropped(&why),
                }
            }
        };
        (announcer, task)
    }

    async fn deliver(&self, body: Bytes) -> Result<(), String> {
        let signature = self.secret.as_ref().and_then(|secret| {
            let value = HeaderValue::from_str(&secret.sign(&body)).ok()?;
            Some((SIGNATURE, value))
        });
        let headers: Vec<_> = signature.into_iter().collect();
        let mut why = String::new();
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            let posted = self
                .endpoint
                .post(&headers, body.clone(), LIMIT, MAX_ANSWER);
            why = match posted.await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) => format!("it answers {}", answer.status),
                Err(error) => error.to_string(),
            };
        }
        Err(why)
    }
}

impl Event {
    fn body(&self, boot: u64, process: &str) -> Bytes {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH);
        let body = Body {
            sequence: self.sequence,
            boot,
            process,
            time: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            what: &self.what,
        };
        // A structure of texts and numbers is always JSON.
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_in_the_queue_is_counted_and_leaves_a_gap() {
        let (queue, mut events) = mpsc::channel(2);
        let announcer = Announcer {
            queue,
            sequence: AtomicU64::new(0),
            counts: Arc::default(),
        };
        let tell = || {
            announcer.tell(Happening::Source {
                channel: "a".to_owned(),
                live: true,
                again: false,
            });
        };
        for _ in 0..5 {
            tell();
        }
        assert_eq!(announcer.counts().dropped.load(Ordering::Relaxed), 3);
        let mut next = || events.try_recv().expect("an event").sequence;
        assert_eq!((next(), next()), (1, 2));
        tell();
        assert_eq!(next(), 6);
    }
}
