//! The end of connections when the server stops: no request that a client has sent is lost, and
//! nobody waits for the others.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// For so long after a connection was taken its first request is waited for. A client that connects
/// asks at once; one that does not has connected for later.
const FIRST: Duration = Duration::from_millis(100);
/// For so long a connection between two requests is looked at once more: what lies in the kernel is
/// read.
const BETWEEN: Duration = Duration::from_millis(2);

/// Knows when all has been answered.
pub(super) struct Drain {
    busy: mpsc::Sender<Infallible>,
    idle: mpsc::Receiver<Infallible>,
}

impl Drain {
    pub(super) fn new() -> Self {
        let (busy, idle) = mpsc::channel(1);
        Self { busy, idle }
    }

    /// A connection that has just been taken.
    pub(super) fn talk(&self) -> Talk {
        Talk(Arc::new(Mutex::new(State {
            busy: Some(self.busy.clone()),
            taken: Instant::now(),
            asked: false,
        })))
    }

    /// Completes when every connection has ended or is an event stream. No connection may be taken
    /// any more.
    pub(super) async fn finished(mut self) {
        drop(self.busy);
        self.idle.recv().await;
    }
}

/// One connection. All clones are the same.
#[derive(Clone)]
pub(super) struct Talk(Arc<Mutex<State>>);

struct State {
    /// Dropped when nobody need wait for it any more.
    busy: Option<mpsc::Sender<Infallible>>,
    taken: Instant,
    /// A request has come.
    asked: bool,
}

impl Talk {
    /// A request has come.
    pub(super) fn asked(&self) {
        self.state(|state| state.asked = true);
    }

    /// An answer goes out. An event stream has no end of its own, so nobody waits for it; after any
    /// other answer of a server that is stopping, the client should ask elsewhere (RFC 9112 §9.6).
    pub(super) fn answers(&self, response: &mut Response<Body>, stopping: bool) {
        let stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if stream {
            self.state(|state| drop(state.busy.take()));
        } else if stopping {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
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

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
