//! The threads beside the media loop that send to viewers, one for each further processor.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::gather::Gather;
use super::wire::Wire;
use crate::broadcast::{Broadcast, Forwarder, Orders};

/// A message to such a thread.
#[derive(Default)]
struct Message {
    orders: Orders,
    /// The local address from which each of these peers is sent to from now on.
    sources: Vec<(SocketAddr, IpAddr)>,
}

/// A forwarder and its sockets and timers.
struct Sender {
    forwarder: Forwarder,
    wire: Wire,
    gather: Gather,
}

impl Sender {
    fn take(&mut self, message: &mut Message) {
        for (peer, local) in message.sources.drain(..) {
            self.wire.set_source(peer, local);
        }
        self.wire.begin();
        self.forwarder.follow(&mut message.orders, &mut self.wire);
    }

    /// When waiting packets are to be sent, if there are any.
    fn due(&self) -> Option<Instant> {
        let since = self.forwarder.waiting_since()?;
        Some(if self.forwarder.has_whole_frames() {
            since
        } else {
            self.gather.due(since)
        })
    }

    /// Sends waiting packets, if it is time.
    fn send_due(&mut self) {
        if self.due().is_some_and(|at| at <= Instant::now()) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let start = Instant::now();
        self.wire.begin();
        self.forwarder.flush(&mut self.wire);
        self.gather.sent(start, Instant::now());
    }
}

/// Another thread's forwarder.
struct Remote {
    inbox: mpsc::Sender<Message>,
    /// Emptied messages, for reuse.
    used: mpsc::Receiver<Message>,
    next: Message,
    thread: JoinHandle<()>,
}

/// All forwarders: the first one is the media loop's own, which the loop drives.
pub(super) struct Forwarders {
    own: Sender,
    message: Message,
    others: Vec<Remote>,
}

impl Forwarders {
    /// Takes the core's forwarders and starts their threads. Each of them, and the loop's own, gets
    /// a wire.
    pub(super) fn start(
        core: &mut Broadcast,
        wire: impl Fn() -> io::Result<Wire>,
        count: usize,
    ) -> io::Result<Self> {
        let mut senders = Vec::new();
        for forwarder in core.forwarders(count) {
            senders.push(Sender {
                forwarder,
                wire: wire()?,
                gather: Gather::default(),
            });
        }
        let own = senders.remove(0);
        let others = senders.into_iter().enumerate();
        let others = others.map(|(at, sender)| Remote::start(at + 1, sender));
        Ok(Self {
            own,
            message: Message::default(),
            others: others.collect::<io::Result<_>>()?,
        })
    }

    /// Sends to a peer from this local address from now on.
    pub(super) fn set_source(&mut self, peer: SocketAddr, local: IpAddr) {
        self.message.sources.push((peer, local));
        for other in &mut self.others {
            other.next.sources.push((peer, local));
        }
    }

    /// Passes the core's orders on, those for other threads first, and carries out the loop's own.
    pub(super) fn follow(&mut self, core: &mut Broadcast) {
        for (at, other) in self.others.iter_mut().enumerate() {
            core.poll_orders(at + 1, &mut other.next.orders);
            other.send();
        }
        core.poll_orders(0, &mut self.message.orders);
        self.own.take(&mut self.message);
        self.own.send_due();
    }

    /// When [`Forwarders::follow`] is to be called at the latest.
    pub(super) fn due(&mut self) -> Option<Instant> {
        self.own.due()
    }
}

/// The loop has ended: what was ordered is still sent, and the threads end.
impl Drop for Forwarders {
    fn drop(&mut self) {
        let others = std::mem::take(&mut self.others);
        // All threads are told before one is waited for.
        let threads: Vec<_> = others.into_iter().map(|other| other.thread).collect();
        for thread in threads {
            // A thread that panicked has logged it.
            let _ = thread.join();
        }
    }
}

impl Remote {
    fn start(number: usize, sender: Sender) -> io::Result<Self> {
        let (inbox, messages) = mpsc::channel();
        let (recycle, used) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || run(sender, &messages, &recycle))?;
        Ok(Self {
            inbox,
            used,
            next: Message::default(),
            thread,
        })
    }

    fn send(&mut self) {
        if self.next.orders.is_empty() && self.next.sources.is_empty() {
            return;
        }
        let next = self.used.try_recv().unwrap_or_default();
        let message = std::mem::replace(&mut self.next, next);
        // A thread that ended has panicked and logged it.
        let _ = self.inbox.send(message);
    }
}

/// Carries out orders, and sends waiting packets when it is time, until the loop ends.
fn run(mut sender: Sender, messages: &mpsc::Receiver<Message>, used: &mpsc::Sender<Message>) {
    loop {
        let received = match sender.due() {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match received {
            Ok(message) => {
                // All that came while this thread was sending goes out together.
                let others = std::iter::from_fn(|| messages.try_recv().ok());
                for mut message in std::iter::once(message).chain(others) {
                    sender.take(&mut message);
                    // The loop has ended: nobody uses it again.
                    let _ = used.send(message);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return sender.flush(),
        }
        sender.send_due();
    }
}
