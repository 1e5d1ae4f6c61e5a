//! Which requests are under way on a connection, and its end when the server stops: no request that
//! a client has sent is lost, and no connection waits for another.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Response, header};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// How long the first request of a new connection is waited for. A client that connects asks at
/// once; one that does not has connected in advance.
const FIRST: Duration = Duration::from_millis(100);
/// How long a connection between two requests is read once more, for data that is in the kernel.
const BETWEEN: Duration = Duration::from_millis(2);
/// How long an HTTP/2 connection may be without a request, as one of HTTP/1.1 may.
const IDLE: Duration = Duration::from_secs(10);
/// How long a client may take to read an answer over HTTP/2. There it can leave one answer unread
/// while it reads others, and the kernel, which detects this for HTTP/1.1, does not see it.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Knows when all requests have been answered.
pub(super) struct Drain {
    busy: mpsc::Sender<Infallible>,
    idle: mpsc::Receiver<Infallible>,
}

impl Drain {
    pub(super) fn new() -> Self {
        let (busy, idle) = mpsc::channel(1);
        Self { busy, idle }
    }

    /// Registers a new connection.
    pub(super) fn talk(&self) -> Talk {
        let state = State {
            busy: Some(self.busy.clone()),
            taken: Instant::now(),
            asked: false,
            next: 0,
            answering: BTreeMap::new(),
            streams: 0,
            quiet_since: Instant::now(),
        };
        Talk(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    /// Completes when every connection has ended or has only event streams. No new connection may
    /// be accepted from then on.
    pub(super) async fn finished(mut self) {
        drop(self.busy);
        self.idle.recv().await;
    }
}

/// One connection. All clones are the same.
#[derive(Clone)]
pub(super) struct Talk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Notified when the state changes.
    changed: Notify,
}

struct State {
    /// Dropped when nobody needs to wait for it any more.
    busy: Option<mpsc::Sender<Infallible>>,
    taken: Instant,
    /// Whether a request has arrived.
    asked: bool,
    /// The number of the next request.
    next: u64,
    /// Requests without a complete answer, and since when; event streams are excluded.
    answering: BTreeMap<u64, Instant>,
    /// Event streams.
    streams: usize,
    /// When the last request ended.
    quiet_since: Instant,
}

impl State {
    fn is_quiet(&self) -> bool {
        self.answering.is_empty() && self.streams == 0
    }
}

impl Talk {
    /// Requests are possible only from now on, after a TLS handshake.
    pub(super) fn opened(&self) {
        self.state(|state| {
            state.taken = Instant::now();
            state.quiet_since = Instant::now();
        });
    }

    /// A request has arrived.
    pub(super) fn asked(&self) -> Asked {
        let number = self.state(|state| {
            state.asked = true;
            state.next += 1;
            state.answering.insert(state.next, Instant::now());
            state.next
        });
        Asked {
            talk: self.clone(),
            number,
            is_stream: false,
        }
    }

    /// Completes when no request is to be expected that was sent before the server stopped.
    pub(super) async fn patience(&self) {
        let (asked, taken) = self.state(|state| (state.asked, state.taken));
        if asked {
            sleep(BETWEEN).await;
        } else {
            sleep_until(taken + FIRST).await;
        }
    }

    /// For a connection whose TLS handshake is under way when the server stops: as long as a
    /// request may follow that the client has decided to send.
    pub(super) async fn handshake_patience(&self) {
        sleep(FIRST).await;
    }

    /// Completes when everything except event streams is answered. Where the connection ends by
    /// itself after its last answer, it must not be dropped before: then this waits until only
    /// event streams are left.
    pub(super) async fn answered(&self, is_http2: bool) {
        self.until(|state| state.answering.is_empty() && (is_http2 || state.streams > 0))
            .await;
    }

    /// Nobody needs to wait for this connection any more: an event stream has no end of its own.
    pub(super) fn rest(&self) {
        self.state(|state| drop(state.busy.take()));
    }

    /// Completes a moment after all is answered and every event stream has ended.
    pub(super) async fn over(&self) {
        self.until(State::is_quiet).await;
        sleep(BETWEEN).await;
    }

    /// Completes when an HTTP/2 connection has been idle for too long, or its client leaves an
    /// answer unread.
    pub(super) async fn overdue(&self) {
        loop {
            let end = self.state(|state| match state.answering.values().next() {
                Some(oldest) => Some(*oldest + ANSWER_TIME),
                None => state.is_quiet().then_some(state.quiet_since + IDLE),
            });
            let end = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => return,
                () = self.0.changed.notified() => {}
            }
        }
    }

    /// Only one task at a time waits for a connection's changes.
    async fn until(&self, done: impl Fn(&State) -> bool) {
        while !self.state(|state| done(state)) {
            self.0.changed.notified().await;
        }
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that is under way until this is dropped.
pub(super) struct Asked {
    talk: Talk,
    number: u64,
    is_stream: bool,
}

impl Asked {
    /// An answer is sent. An event stream has no end of its own, so nobody waits for it. After any
    /// other answer of a server that is stopping, the client should use another connection, which
    /// HTTP/1.1 says here (RFC 9112 §9.6), and HTTP/2 otherwise (RFC 9113 §6.8).
    pub(super) fn answers(
        mut self,
        mut response: Response<Body>,
        stopping: bool,
        is_http2: bool,
    ) -> Response<Body> {
        let headers = response.headers_mut();
        self.is_stream = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_http2 {
            // HTTP/2 has no such header (RFC 9113 §8.2.2).
            headers.remove(header::CONNECTION);
        } else if stopping && !self.is_stream {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.is_stream {
            self.talk.state(|state| {
                state.answering.remove(&self.number);
                state.streams += 1;
            });
            self.talk.0.changed.notify_one();
        }
        response.map(|body| Body::new(Answer { body, _asked: self }))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.talk.state(|state| {
            state.answering.remove(&self.number);
            state.streams -= usize::from(self.is_stream);
            state.quiet_since = Instant::now();
        });
        self.talk.0.changed.notify_one();
    }
}

/// A body that is under way until it is dropped.
struct Answer {
    body: Body,
    _asked: Asked,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
