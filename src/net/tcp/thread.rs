//! The thread that has the connections.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::connection::{Closed, Connection};
use super::{Counts, Level, Limits, Order};
use crate::net::network;
use crate::net::socket::peer_address;

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);
/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Frames of one connection that are passed on before it is another one's turn.
const SHARE: usize = 32;
/// Orders that are followed before connections are read again.
const ORDERS: usize = 1024;
/// Connections that are accepted in one turn.
const ACCEPTS: usize = 64;
/// How often connections are looked for that nobody uses any more.
const SWEEP: Duration = Duration::from_secs(1);

/// The way to the media loop.
pub(super) struct ToLoop {
    pub came: mpsc::SyncSender<(SocketAddr, Vec<u8>)>,
    pub media: Arc<Waker>,
    pub level: Arc<Level>,
}

/// See the module.
pub(super) struct Connections {
    poll: Poll,
    listener: mio::net::TcpListener,
    /// There may be more to accept.
    acceptable: bool,
    limits: Limits,
    counts: Arc<Counts>,
    to_loop: ToLoop,
    all: Slab<Connection>,
    by_peer: HashMap<SocketAddr, usize>,
    by_address: HashMap<IpAddr, usize>,
    /// Those that may have something to read, in the order of their turns.
    ready: VecDeque<usize>,
    swept: Instant,
    buffer: Box<[u8]>,
}

impl Connections {
    pub(super) fn new(
        listener: TcpListener,
        limits: Limits,
        counts: Arc<Counts>,
        to_loop: ToLoop,
    ) -> io::Result<Self> {
        let mut listener = mio::net::TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            // Some may have come while no server ran.
            acceptable: true,
            limits,
            counts,
            to_loop,
            all: Slab::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            ready: VecDeque::new(),
            swept: Instant::now(),
            buffer: vec![0; READ].into(),
        })
    }

    /// Wakes it when there are orders.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKE)
    }

    /// Runs until nobody can order anything any more.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>, woken: &AtomicBool) {
        let mut events = Events::with_capacity(256);
        let mut busy = false;
        loop {
            let wait = if busy || self.acceptable {
                Duration::ZERO
            } else {
                SWEEP
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "waiting for media over TCP failed; there is none from now on");
                return;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.acceptable = true,
                    WAKE => {}
                    Token(key) => {
                        let Some(connection) = self.all.get_mut(key) else {
                            continue;
                        };
                        if event.is_readable() {
                            connection.readable = true;
                            if !std::mem::replace(&mut connection.queued, true) {
                                self.ready.push_back(key);
                            }
                        }
                        if event.is_writable()
                            && let Err(why) = connection.flush()
                        {
                            self.close(key, why);
                        }
                    }
                }
            }
            let now = Instant::now();
            self.accept(now);
            busy = self.read();
            woken.store(false, Ordering::Release);
            let mut orders = (0..ORDERS).map(|_| orders.try_recv());
            busy |= loop {
                match orders.next() {
                    Some(Ok(order)) => self.follow(now, order),
                    Some(Err(TryRecvError::Empty)) => break false,
                    Some(Err(TryRecvError::Disconnected)) => return,
                    None => break true,
                }
            };
            self.sweep(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        if !self.acceptable {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, peer)) => self.enter(now, stream, peer_address(peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.acceptable = false;
                    return;
                }
                // A client that disconnected while it waited, or no descriptors left: it is tried
                // again with the next sweep.
                Err(error) => {
                    tracing::debug!(%error, "a TCP connection for media could not be taken");
                    self.acceptable = false;
                    return;
                }
            }
        }
    }

    fn enter(&mut self, now: Instant, mut stream: mio::net::TcpStream, peer: SocketAddr) {
        let here = self
            .by_address
            .get(&network(peer.ip()))
            .copied()
            .unwrap_or(0);
        if self.limits.per_address > 0 && here >= self.limits.per_address {
            tracing::debug!("a TCP connection for media is refused: its address has too many");
            return;
        }
        if self.all.len() >= self.limits.connections && !self.make_room() {
            tracing::debug!("a TCP connection for media is refused: there are too many");
            return;
        }
        let entry = self.all.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, Token(key), interest)
        {
            tracing::debug!(%error, "a TCP connection for media could not be taken");
            return;
        }
        entry.insert(Connection::new(now, stream, peer));
        *self.by_address.entry(network(peer.ip())).or_default() += 1;
        if let Some(before) = self.by_peer.insert(peer, key) {
            // The kernel gives a pair of addresses to one connection only: the other end has
            // opened it anew, and the old one has not been told.
            self.close(before, Closed::End);
            self.by_peer.insert(peer, key);
        }
        self.count();
    }

    /// Closes the oldest connection that no check has come over. Returns whether there was one.
    fn make_room(&mut self) -> bool {
        let unproven = self.all.iter().filter(|(_, one)| !one.proven);
        let oldest = unproven.min_by_key(|(_, one)| one.until);
        let Some((key, _)) = oldest else {
            return false;
        };
        self.close(key, "it makes room for another one");
        true
    }

    /// Gives a turn to each connection that has something, as long as the media loop has room for
    /// it: what it has no room for stays in the kernel, whose senders wait then. Returns whether
    /// there may be more to read now.
    fn read(&mut self) -> bool {
        let mut any = false;
        for _ in 0..self.ready.len() {
            let room = self.to_loop.level.room();
            if room == 0 {
                break;
            }
            let Some(key) = self.ready.pop_front() else {
                break;
            };
            let Some(connection) = self.all.get_mut(key) else {
                continue;
            };
            connection.queued = false;
            let (peer, to_loop) = (connection.peer, &self.to_loop);
            let read = connection.read(&mut self.buffer, room.min(SHARE), |datagram| {
                any = true;
                to_loop.level.enters();
                // It has room. A loop that has ended takes nothing.
                let _ = to_loop.came.try_send((peer, datagram.to_vec()));
            });
            match read {
                Ok(false) => {}
                Ok(true) => {
                    connection.queued = true;
                    self.ready.push_back(key);
                }
                Err(why) => self.close(key, why),
            }
        }
        if any {
            // A loop that has ended reads nothing.
            let _ = self.to_loop.media.wake();
        }
        !self.ready.is_empty() && self.to_loop.level.room() > 0
    }

    fn follow(&mut self, now: Instant, order: Order) {
        match order {
            Order::Keep(peer) => {
                if let Some(connection) = self.find(peer).and_then(|key| self.all.get_mut(key)) {
                    connection.keep(now);
                }
            }
            Order::Release(peer) => {
                if let Some(connection) = self.find(peer).and_then(|key| self.all.get_mut(key)) {
                    connection.release(now);
                }
            }
            Order::Send {
                to,
                framed,
                datagrams,
            } => {
                self.counts
                    .waiting
                    .fetch_sub(framed.len(), Ordering::Relaxed);
                let Some((key, connection)) = self
                    .find(to)
                    .and_then(|key| Some((key, self.all.get_mut(key)?)))
                else {
                    tracing::trace!(datagrams, "dropped: their TCP connection is gone");
                    self.dropped(datagrams);
                    return;
                };
                match connection.send(framed, datagrams) {
                    Ok(0) => {}
                    Ok(dropped) => {
                        tracing::trace!(dropped, "dropped: their TCP connection has no room");
                        self.dropped(dropped);
                    }
                    Err(why) => self.close(key, why),
                }
            }
        }
    }

    fn find(&self, peer: SocketAddr) -> Option<usize> {
        self.by_peer.get(&peer).copied()
    }

    /// Closes the connections that nobody uses.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.acceptable = true;
        let over: Vec<usize> = self
            .all
            .iter()
            .filter(|(_, connection)| connection.until <= now)
            .map(|(key, _)| key)
            .collect();
        for key in over {
            self.close(key, "no check came over it for long");
        }
    }

    fn close(&mut self, key: usize, why: impl std::fmt::Display) {
        let Some(mut connection) = self.all.try_remove(key) else {
            return;
        };
        tracing::debug!(%why, proven = connection.proven, "a TCP connection for media is closed");
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.dropped(connection.waiting());
        self.by_peer.remove(&connection.peer);
        if connection.queued {
            self.ready.retain(|other| *other != key);
        }
        let address = network(connection.peer.ip());
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        self.count();
    }

    fn count(&self) {
        self.counts
            .connections
            .store(self.all.len(), Ordering::Relaxed);
    }

    fn dropped(&self, datagrams: u64) {
        self.counts.dropped.fetch_add(datagrams, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("bound");
        let (listener, others) = (bind(), bind());
        let poll = Poll::new().expect("a poll");
        let media = Waker::new(poll.registry(), WAKE).expect("a waker");
        let to_loop = ToLoop {
            came: mpsc::sync_channel(1).0,
            media: Arc::new(media),
            level: Arc::default(),
        };
        let limits = Limits {
            connections: 100,
            per_address: 1,
        };
        let all = Connections::new(listener, limits, Arc::default(), to_loop);
        let mut all = all.expect("connections");
        let at = others.local_addr().expect("an address");
        for (from, here) in [
            ("[2001:db8::1]:1", 1),
            ("[2001:db8::2]:1", 1),
            ("[2001:db8:0:1::1]:1", 2),
        ] {
            let stream = std::net::TcpStream::connect(at).expect("connected");
            let stream = mio::net::TcpStream::from_std(stream);
            all.enter(Instant::now(), stream, from.parse().expect("an address"));
            assert_eq!(all.all.len(), here, "{from}");
        }
    }
}
