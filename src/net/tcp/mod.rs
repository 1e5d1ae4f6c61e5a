//! ICE over TCP (RFC 6544), for browsers whose network lets no UDP through.
//!
//! The server's candidate is passive (§4.5): browsers open connections to the media port's number.
//! Each connection carries datagrams one after another, each with its length before it (RFC 4571
//! §2). A thread of its own has the connections: it hands datagrams to the media loop and takes
//! those that the loop and the forwarders send. To the core a connection is one more transport
//! address.
//!
//! No connection outlives the process. A browser opens the next one by itself when it has
//! something to send, and its STUN check shows whose it is, as from any new address.

mod connection;
mod frames;
mod queue;
mod thread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use mio::Waker;
use rustix::net::sockopt;

use crate::broadcast::Burst;
use crate::ids::TransportAddress;
use crate::peer::Transmit;

/// Datagrams that wait for the media loop; further ones stay in the kernel.
const INBOX: usize = 1024;
/// Most bytes that wait for the thread; further ones are dropped, as in a full socket buffer.
const OUTBOX: usize = 64 << 20;

/// What the kernel buffers of one connection, in bytes, before its own bookkeeping. What waits
/// longer waits here, where the oldest can be dropped.
const KERNEL_BUFFER: usize = 128 << 10;

/// The same of what has arrived and was not read. Without it the kernel gives a fast sender megabytes.
const KERNEL_INBOX: usize = 192 << 10;

/// Sets what connections inherit from their listener: once the sandbox is closed, nothing more can
/// be set.
///
/// # Errors
/// The system's error.
pub(super) fn prepare(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_send_buffer_size(listener, KERNEL_BUFFER)?;
    sockopt::set_socket_recv_buffer_size(listener, KERNEL_INBOX)?;
    listener.set_nonblocking(true)
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All together.
    pub connections: usize,
    /// From one IP address; 0: any number.
    pub per_address: usize,
}

/// What the thread is told.
enum Order {
    /// Send these datagrams, whose lengths are before them.
    Send {
        to: SocketAddr,
        framed: Vec<u8>,
        datagrams: u64,
    },
    /// A check has passed that came over this connection.
    Keep(SocketAddr),
    /// No peer has this connection any more.
    Release(SocketAddr),
}

/// Counts that others may read.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Open connections.
    pub connections: AtomicUsize,
    /// Datagrams that were not sent, since their connection had no room for them or is gone. All
    /// ways out of the media port share it.
    pub dropped: Arc<AtomicU64>,
    /// Bytes that wait for the thread.
    pub waiting: AtomicUsize,
}

/// How many datagrams wait for the media loop.
#[derive(Default)]
struct Level {
    inside: AtomicUsize,
    /// The thread waits for room.
    waited_for: AtomicBool,
}

impl Level {
    /// Room for further ones. Where there is none, the thread is to be woken when there is.
    fn room(&self) -> usize {
        let room = || INBOX.saturating_sub(self.inside.load(Ordering::SeqCst));
        match room() {
            0 => {
                self.waited_for.store(true, Ordering::SeqCst);
                // The loop may have taken some before it could see that.
                room()
            }
            room => room,
        }
    }

    fn enters(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns whether the thread is to be woken.
    fn leaves(&self) -> bool {
        let before = self.inside.fetch_sub(1, Ordering::SeqCst);
        before <= INBOX / 2 && self.waited_for.swap(false, Ordering::SeqCst)
    }
}

/// The way to the thread, for those that send. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outgoing {
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
    /// The thread has been woken and has not looked yet.
    woken: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

/// The media loop's end.
pub(super) struct Tcp {
    inbox: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    level: Arc<Level>,
    outgoing: Outgoing,
}

impl Tcp {
    /// Starts the thread, which wakes `media` when datagrams have arrived.
    ///
    /// # Errors
    /// The system's error where it has no threads or descriptors left.
    pub(super) fn start(
        listener: TcpListener,
        limits: Limits,
        counts: Arc<Counts>,
        media: Arc<Waker>,
    ) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (came, inbox) = mpsc::sync_channel(INBOX);
        let woken = Arc::<AtomicBool>::default();
        let level = Arc::<Level>::default();
        let to_loop = thread::ToLoop {
            came,
            media,
            level: level.clone(),
        };
        let thread = thread::Connections::new(listener, limits, counts.clone(), to_loop)?;
        let waker = Arc::new(thread.waker()?);
        let seen = woken.clone();
        // A waker that is closed wakes nobody, not even for what it was used for last.
        let held = waker.clone();
        std::thread::Builder::new()
            .name("media-tcp".into())
            .spawn(move || {
                thread.run(&ordered, &seen);
                drop(held);
            })?;
        Ok(Self {
            inbox,
            level,
            outgoing: Outgoing {
                orders,
                waker,
                woken,
                counts,
            },
        })
    }

    /// The next datagram, and where it came from.
    pub(super) fn poll(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let next = self.inbox.try_recv().ok()?;
        if self.level.leaves() {
            let _ = self.outgoing.waker.wake();
        }
        Some(next)
    }

    /// A check that came from there has passed: the connection stays for as long as such checks
    /// come.
    pub(super) fn keep(&self, from: SocketAddr) {
        self.outgoing.order(Order::Keep(from));
    }

    /// No peer has this connection any more.
    pub(super) fn release(&self, from: SocketAddr) {
        self.outgoing.order(Order::Release(from));
    }

    /// Takes the datagrams that go over connections out of `datagrams` and sends them.
    pub(super) fn send(&self, datagrams: &mut Vec<Transmit>) {
        datagrams.retain(|datagram| {
            let is_ours = datagram.to.is_tcp();
            if is_ours {
                self.outgoing.send(datagram.to, [&datagram.data[..]]);
            }
            !is_ours
        });
    }

    pub(super) fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }
}

/// The thread ends with the loop. What arrives from then on waits for the next process, where
/// another process holds the listener.
impl Drop for Tcp {
    fn drop(&mut self) {
        let (gone, _) = mpsc::channel();
        self.outgoing.orders = gone;
        let _ = self.outgoing.waker.wake();
    }
}

impl Outgoing {
    /// Sends a burst over the connection to `to`.
    pub(super) fn burst(&self, to: TransportAddress, burst: &Burst) {
        self.send(to, burst.datagrams());
    }

    fn send<'a>(&self, to: TransportAddress, datagrams: impl IntoIterator<Item = &'a [u8]>) {
        let (mut framed, mut count) = (Vec::new(), 0);
        for datagram in datagrams {
            count += u64::from(frames::write(datagram, &mut framed));
        }
        if count == 0 {
            return;
        }
        let waiting = &self.counts.waiting;
        if waiting.fetch_add(framed.len(), Ordering::Relaxed) > OUTBOX {
            waiting.fetch_sub(framed.len(), Ordering::Relaxed);
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        self.order(Order::Send {
            to: to.socket,
            framed,
            datagrams: count,
        });
    }

    fn order(&self, order: Order) {
        // A thread that has ended belongs to a server that is ending.
        let _ = self.orders.send(order);
        if !self.woken.swap(true, Ordering::AcqRel) {
            let _ = self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
