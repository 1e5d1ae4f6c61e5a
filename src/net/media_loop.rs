//! The loop: waits for datagrams, records, tasks and timers, and drives the core with them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc as async_mpsc;

use super::first_sends::FirstSends;
use super::forwarders::Forwarders;
use super::full_state::Writer;
use super::pool::Pool;
use super::pull::Upstream;
use super::resume::Loaded;
use super::socket::{Answered, Socket};
use super::tcp::Tcp;
use super::{Notice, Task, recorded};
use crate::broadcast::{Broadcast, Event, Pulled, Routed};
use crate::ids::{TransportAddress, Ufrag};
use crate::peer::Transmit;
use crate::vault::PeerRecord;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// Batches that are read in one turn, before answers are sent and timers run.
const BATCHES: usize = 4;
/// Datagrams over TCP that are read in one turn.
const TCP_BATCH: usize = 128;
/// Time for due work, mostly handshakes, before newly received datagrams are read: enough for some
/// handshakes.
const TURN: Duration = Duration::from_millis(2);
/// Longest wait: nothing is due later than this without a datagram or a task.
const IDLE: Duration = Duration::from_secs(1);

/// What other threads send to the loop.
pub(super) struct Inbox {
    pub tasks: mpsc::Receiver<Task>,
    /// From the thread that reads records.
    pub loaded: mpsc::Receiver<Loaded>,
    /// From the thread that takes channels from other nodes.
    pub pulled: mpsc::Receiver<(Arc<str>, Pulled)>,
    /// Becomes true when the loop is to end.
    pub stop: Arc<AtomicBool>,
}

/// What the loop sends to other threads.
pub(super) struct Outbox {
    pub notices: async_mpsc::UnboundedSender<Notice>,
    /// To the threads that read records: which one is wanted next.
    pub demand: mpsc::Sender<Ufrag>,
    /// To the thread that takes channels from other nodes, where there is one.
    pub upstream: Option<Upstream>,
}

/// See the module.
pub(super) struct MediaLoop {
    poll: Poll,
    pub(super) socket: Socket,
    pub(super) core: Broadcast,
    inbox: Inbox,
    outbox: Outbox,
    /// Records that the core has taken in and that have not been reported yet.
    resumed: Vec<Arc<PeerRecord>>,
    first_sends: FirstSends,
    forwarders: Forwarders,
    /// Behind those that send by it: its thread ends when nobody can.
    tcp: Option<Tcp>,
    pub(super) writer: Writer,
    /// Threads that do handshakes too.
    pool: Option<Pool>,
}

impl MediaLoop {
    pub(super) fn new(
        mut socket: Socket,
        tcp: impl FnOnce(&Arc<Waker>) -> io::Result<Option<Tcp>>,
        mut core: Broadcast,
        inbox: Inbox,
        outbox: Outbox,
        threads: usize,
    ) -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        poll.registry()
            .register(socket.source(), SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let tcp = tcp(&waker)?;
        let wire = || socket.wire(tcp.as_ref().map(Tcp::outgoing));
        let forwarders = Forwarders::start(&mut core, wire, threads)?;
        Ok((
            Self {
                poll,
                socket,
                core,
                inbox,
                outbox,
                resumed: Vec::new(),
                first_sends: FirstSends::default(),
                forwarders,
                tcp,
                writer: Writer::NONE,
                pool: None,
            },
            waker,
        ))
    }

    /// Shares handshakes with these threads.
    pub(super) fn share_handshakes(&mut self, pool: Pool) {
        self.pool = Some(pool);
    }

    /// Runs until it is told to stop, or the last [`super::Handle`] is gone.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut out = Vec::new();
        let mut more = false;
        loop {
            let wait = if more || self.pool.as_ref().is_some_and(Pool::is_behind) {
                Duration::ZERO
            } else {
                let due = self.core.next_timeout().into_iter();
                let due = due.chain(self.forwarders.due()).min();
                let due = due.map(|at| at.saturating_duration_since(Instant::now()));
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
                self.take(now, loaded, &mut out);
            }
            loop {
                match self.inbox.tasks.try_recv() {
                    Ok(task) => task(&mut self.core, now),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            while let Ok((channel, pulled)) = self.inbox.pulled.try_recv() {
                self.core.pulled(now, &channel, pulled, &mut out);
            }
            more = self.receive(now, &mut out) | self.receive_tcp(now, &mut out);
            while let Some(ufrag) = self.core.poll_demand() {
                // Without a reader all records have been read.
                let _ = self.outbox.demand.send(ufrag);
            }
            self.exchange_jobs(now, &mut out);
            self.do_what_is_due(now, &mut out);
            self.write_sessions(now, &mut out);
            self.send(&mut out);
            self.tell();
        }
    }

    /// Passes to the core what the threads that read records have sent.
    fn take(&mut self, now: Instant, loaded: Loaded, out: &mut Vec<Transmit>) {
        match loaded {
            Loaded::Begun(counters) => self.take_counters(counters),
            Loaded::Record { record, session } => {
                if let Some(session) = session {
                    self.bring(session);
                }
                self.core.take_record(now, recorded(&record), out);
                self.resumed.push(record);
                self.take_sources();
            }
            Loaded::Unreadable(ufrag) => self.core.skip_record(&ufrag),
            Loaded::All { unread, unusable } => {
                self.core.all_records_read();
                // Records are reported first: the end of reading means that all peers are here.
                self.tell();
                let _ = self
                    .outbox
                    .notices
                    .send(Notice::ResumeComplete { unread, unusable });
            }
        }
    }

    /// Reads some batches. Returns whether there may be more.
    fn receive(&mut self, now: Instant, out: &mut Vec<Transmit>) -> bool {
        for _ in 0..BATCHES {
            let core = &mut self.core;
            let any = self
                .socket
                .receive(|from, data| match core.handle(now, from, data, out) {
                    // Media is not reported, since there is much of it.
                    Routed::Checked => Answered::Yes,
                    Routed::Answered => Answered::FirstTime,
                    _ => Answered::No,
                });
            if !any {
                return false;
            }
        }
        true
    }

    /// Takes some datagrams that came over TCP. Returns whether there may be more.
    fn receive_tcp(&mut self, now: Instant, out: &mut Vec<Transmit>) -> bool {
        let Some(tcp) = &self.tcp else {
            return false;
        };
        for _ in 0..TCP_BATCH {
            let Some((from, data)) = tcp.poll() else {
                return false;
            };
            let address = TransportAddress::tcp(from);
            let routed = self.core.handle(now, address, &data, out);
            if routed == Routed::Checked && self.core.has_address(address) {
                tcp.keep(from);
            }
        }
        true
    }

    /// Takes back finished handshake jobs from other threads, and gives them new ones.
    fn exchange_jobs(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        if let Some(pool) = &mut self.pool {
            pool.exchange(now, &mut self.core, out);
        }
    }

    /// Lets the core do what is due, for a limited time.
    fn do_what_is_due(&mut self, start: Instant, out: &mut Vec<Transmit>) {
        if self.core.next_timeout().is_none_or(|at| at > start) {
            return;
        }
        // Reading the batches has taken some time.
        let start = Instant::now();
        let mut now = start;
        while self.core.next_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now, out);
            now = Instant::now();
            self.exchange_jobs(now, out);
            if now.saturating_duration_since(start) >= TURN {
                return;
            }
        }
    }

    fn send(&mut self, out: &mut Vec<Transmit>) {
        self.first_sends.send(out);
        if let Some(tcp) = &self.tcp {
            while let Some(address) = self.core.poll_left() {
                tcp.release(address.socket);
            }
            tcp.send(out);
        }
        self.socket.send(out);
        while let Some((peer, local)) = self.socket.poll_source() {
            self.forwarders.set_source(peer, local);
        }
        self.forwarders.follow(&mut self.core);
    }

    /// Reports the records that were taken in, and then the core's events. The handshakes that
    /// waited for such a record have had their turn by now. So the greeting of an event stream then
    /// says that a ClientHello has arrived, and no page sends another one as well. Where a
    /// supervisor holds the ports while no server runs, the ClientHello often arrives before the
    /// page's request for events.
    fn tell(&mut self) {
        for record in self.resumed.drain(..) {
            let _ = self.outbox.notices.send(Notice::Resumed(record));
        }
        while let Some(event) = self.core.poll_event() {
            if let Event::Connected { role, took, .. } = &event {
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                tracing::debug!(
                    target: "rekindle::resume",
                    step = "keys",
                    ?role,
                    took_us,
                    "keys are in use"
                );
            }
            if let Event::Upstream { channel, packets } = event {
                if let Some(upstream) = &self.outbox.upstream {
                    upstream.tell(channel, packets);
                }
                continue;
            }
            let _ = self.outbox.notices.send(Notice::Event(event));
        }
    }
}
