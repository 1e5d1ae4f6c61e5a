//! The loop: waits for datagrams, tasks and timers, and drives the core with them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc as async_mpsc;

use super::resume::{Loaded, Resume};
use super::socket::{Answered, Socket};
use super::timeline::Timeline;
use super::turns::{Taken, Turns};
use super::{Notice, Task};
use crate::broadcast::{Broadcast, Routed};
use crate::peer::Transmit;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// Batches taken in one turn, before answers go out and timers run.
const BATCHES: usize = 4;
/// For so long handshakes are worked on, before what has come meanwhile is taken: some handshakes.
const TURN: Duration = Duration::from_millis(2);
/// Longest wait: nothing is due later than that without a datagram or a task.
const IDLE: Duration = Duration::from_secs(1);

/// What others have for the loop.
pub(super) struct Inbox {
    pub tasks: mpsc::Receiver<Task>,
    pub loaded: mpsc::Receiver<Loaded>,
    /// Turns true when the loop is to end.
    pub stop: Arc<AtomicBool>,
}

/// See the module.
pub(super) struct MediaLoop {
    poll: Poll,
    socket: Socket,
    core: Broadcast,
    inbox: Inbox,
    notices: async_mpsc::UnboundedSender<Notice>,
    resume: Resume,
    turns: Turns,
    timeline: Option<Timeline>,
    #[cfg(feature = "full-state")]
    writer: Option<super::full_state::Writer>,
}

impl MediaLoop {
    pub fn new(
        mut socket: Socket,
        core: Broadcast,
        inbox: Inbox,
        notices: async_mpsc::UnboundedSender<Notice>,
        resume: Resume,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        poll.registry().register(socket.source(), SOCKET, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        Ok((
            Self {
                poll,
                socket,
                core,
                inbox,
                notices,
                resume,
                turns: Turns::default(),
                timeline: Timeline::new(),
                #[cfg(feature = "full-state")]
                writer: None,
            },
            waker,
        ))
    }

    /// Full-state mode: sessions are kept by this writer.
    #[cfg(feature = "full-state")]
    pub fn keep_sessions(mut self, writer: super::full_state::Writer) -> Self {
        self.core.keep_sessions();
        self.resume.take_media();
        self.writer = Some(writer);
        self
    }

    /// Runs until it is told to stop, or the last [`super::Handle`] is gone.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut out = Vec::new();
        let mut more = false;
        loop {
            let wait = if more {
                Duration::ZERO
            } else {
                let due = self
                    .core
                    .next_timeout()
                    .map(|at| at.saturating_duration_since(Instant::now()));
                due.unwrap_or(IDLE).min(IDLE)
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "waiting for datagrams failed; the media loop ends");
                return;
            }
            if self.inbox.stop.load(Ordering::Relaxed) {
                return;
            }
            let now = Instant::now();
            while let Ok(loaded) = self.inbox.loaded.try_recv() {
                self.resume.take(now, loaded, &mut self.core, &mut self.turns, &mut out);
                #[cfg(feature = "full-state")]
                for (peer, local) in self.resume.sources.drain(..) {
                    self.socket.set_source(peer, local);
                }
            }
            loop {
                match self.inbox.tasks.try_recv() {
                    Ok(task) => task(&mut self.core, now),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            more = self.receive(now, &mut out);
            self.take_turns(&mut out);
            more |= !self.turns.is_empty();
            if self.core.next_timeout().is_some_and(|at| at <= now) {
                self.core.handle_timeout(now, &mut out);
            }
            #[cfg(feature = "full-state")]
            if let Some(writer) = &self.writer {
                let socket = &self.socket;
                writer.turn(now, &mut self.core, |peer| socket.source_of(peer), &mut out);
            }
            self.send(now, &mut out);
            self.resume.tell();
            while let Some(event) = self.core.poll_event() {
                if let Some(timeline) = &mut self.timeline {
                    timeline.event(now, &event);
                }
                let _ = self.notices.send(Notice::Event(event));
            }
        }
    }

    fn send(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        if let Some(timeline) = &mut self.timeline {
            timeline.rest(now);
            timeline.sends(out);
        }
        self.socket.send(out);
    }

    /// Takes some batches; whether there may be more.
    fn receive(&mut self, now: Instant, out: &mut Vec<Transmit>) -> bool {
        for _ in 0..BATCHES {
            let (core, resume, turns) = (&mut self.core, &mut self.resume, &mut self.turns);
            let any = self.socket.receive(|from, data| {
                let routed = match turns.take(core, now, from, data, out) {
                    Taken::Answered => return Answered::FirstTime,
                    Taken::Dropped => return Answered::No,
                    Taken::UnknownAddress => Routed::UnknownAddress,
                    Taken::No => core.handle(now, from, data, out),
                };
                match routed {
                    // Media is no news, and there is much of it.
                    Routed::Authentic if matches!(data.first(), Some(0..=3)) => Answered::Yes,
                    Routed::Authentic | Routed::Done => Answered::No,
                    unknown => {
                        resume.keep(from, data, unknown);
                        Answered::No
                    }
                }
            });
            if !any {
                return false;
            }
        }
        true
    }

    /// Goes on with handshakes, for a while.
    fn take_turns(&mut self, out: &mut Vec<Transmit>) {
        if self.turns.is_empty() {
            return;
        }
        let start = Instant::now();
        let mut now = start;
        while now.saturating_duration_since(start) < TURN
            && let Some((from, datagrams)) = self.turns.next()
        {
            for part in datagrams {
                self.core.shake(now, from, &part, out);
            }
            now = Instant::now();
        }
    }
}
