//! A session's events, as server-sent events (HTML Living Standard §9.2), announced as the WHEP
//! drafts do.
//!
//! The end of the stream is the fastest way for a page to learn that the server is gone: the kernel
//! closes the connection when the process dies.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

mod frame;

pub(super) use frame::{Frame, Hello, Kinds, reason};

/// Interval between comments on an idle stream, for proxies that close silent connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Most events that a slow client may be behind. A stream that falls further behind is ended, and
/// the page opens a new one.
pub(super) const BACKLOG: usize = 16;
/// The events at the start of a session, and the next ones: they are sent for all sessions of a
/// stream at once.
const OPENING: usize = 6;
/// How long a page's EventSource waits before it reconnects, in milliseconds. It finds a restarted
/// server quickly, and ten thousand of them do not overload one that is starting.
const RETRY: u32 = 500;

/// What is sent on a stream: an event, and before it, where several sessions share the stream, a
/// line that names the session.
pub(super) struct Told {
    session: Option<Bytes>,
    pub(super) frame: Frame,
}

/// The sending end of an event stream, for one session.
#[derive(Clone)]
pub(super) struct Tap {
    frames: mpsc::Sender<Told>,
    session: Option<Bytes>,
    /// Set when the client has fallen behind: the whole stream ends, since nobody could tell what
    /// is missing.
    behind: Arc<AtomicBool>,
}

impl Tap {
    /// The same stream, for the session with this id.
    pub(super) fn of(&self, id: &str) -> Self {
        Self {
            session: Some(format!("session: {id}\n").into()),
            ..self.clone()
        }
    }

    /// Whether other sessions may share the stream.
    pub(super) fn is_shared(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed() || self.behind.load(Ordering::Relaxed)
    }

    /// Appends frames to the stream. Returns false once the stream is of no use any more.
    pub(super) fn tell(&self, frames: &[Frame]) -> bool {
        let told = |frame: &Frame| Told {
            session: self.session.clone(),
            frame: frame.clone(),
        };
        let all = !self.is_closed()
            && frames
                .iter()
                .all(|frame| self.frames.try_send(told(frame)).is_ok());
        if !all {
            self.behind.store(true, Ordering::Relaxed);
        }
        all
    }
}

/// The body of an event stream. It ends when all its sessions do, when the server stops, and when
/// the client falls behind.
pub(super) struct EventStream {
    frames: mpsc::Receiver<Told>,
    behind: Arc<AtomicBool>,
    kinds: Kinds,
    heartbeat: Interval,
}

impl EventStream {
    /// A stream for this many sessions, and its sending end.
    pub(super) fn new(sessions: usize, kinds: Kinds) -> (Tap, Self) {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Each session starts with some events, all at once.
        let (sender, frames) = mpsc::channel(BACKLOG + OPENING * sessions.saturating_sub(1));
        let behind = Arc::<AtomicBool>::default();
        let tap = Tap {
            frames: sender,
            session: None,
            behind: behind.clone(),
        };
        let stream = Self {
            frames,
            behind,
            kinds,
            heartbeat,
        };
        (tap, stream)
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Poll::Ready(told) = self.frames.poll_recv(cx) {
            if self.behind.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            match told {
                Some(Told { session, frame }) if self.kinds.has(frame.kind) => {
                    let text = session.map_or(frame.text.clone(), |session| {
                        [session, frame.text].concat().into()
                    });
                    return Poll::Ready(Some(Ok(text)));
                }
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
        match self.heartbeat.poll_tick(cx) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n")))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
