//! The native clients, each with a port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mio::net::UdpSocket;
use rekindle_client::connection::{Connection, Received};
use rekindle_secrets::stack;
use tokio::sync::mpsc as async_mpsc;

use super::News;
use super::puller::{Begin, Order};
use super::ssrcs::Ssrcs;
use super::upkeep::{Act, Upkeep, Way};
use crate::broadcast::Pulled;
use crate::ids::Ufrag;
use crate::net::Handle;
use crate::net::socket::is_passing;

/// Longest datagram that is accepted, as at the media port.
const MAX_DATAGRAM: usize = 2048;

/// A channel that is pulled from another node.
struct Client {
    ufrag: Ufrag,
    channel: Arc<str>,
    connection: Connection,
    ssrcs: Ssrcs,
    /// The addresses where that node receives media, and the index of the present one.
    servers: Vec<SocketAddr>,
    at: usize,
    /// How many checks had been answered and refused when it last began again.
    answered: u64,
    refused: u64,
    upkeep: Upkeep,
}

/// A port, and the client that uses it.
struct Place {
    port: UdpSocket,
    client: Option<Client>,
}

/// All ports.
pub(super) struct Clients {
    places: Vec<Place>,
    free: Arc<AtomicUsize>,
    media: Handle,
    news: async_mpsc::UnboundedSender<News>,
    /// What is to be passed to the media loop.
    came: Vec<(Arc<str>, Pulled)>,
}

impl Clients {
    pub(super) fn new(
        ports: Vec<UdpSocket>,
        free: Arc<AtomicUsize>,
        media: Handle,
        news: async_mpsc::UnboundedSender<News>,
    ) -> Self {
        let place = |port| Place { port, client: None };
        Self {
            places: ports.into_iter().map(place).collect(),
            free,
            media,
            news,
            came: Vec::new(),
        }
    }

    fn clients(&mut self) -> impl Iterator<Item = &mut Client> {
        self.places
            .iter_mut()
            .filter_map(|place| place.client.as_mut())
    }

    /// Carries out an order.
    pub(super) fn follow(&mut self, now: Instant, order: Order) {
        match order {
            Order::Begin(begin) => {
                let free = self.places.iter_mut().find(|place| place.client.is_none());
                // There is one: they were counted.
                if let Some(place) = free {
                    place.client = Some(Client::new(*begin, now));
                }
            }
            Order::Lead(ufrag, servers) => {
                let mut came = std::mem::take(&mut self.came);
                if let Some(client) = self.clients().find(|client| client.ufrag == ufrag) {
                    (client.servers, client.at) = (servers, 0);
                    client.begin_anew(now, &mut came);
                }
                self.came = came;
            }
            Order::End(ufrag) => {
                let of = |client: &Client| client.ufrag == ufrag;
                let mut places = self.places.iter_mut();
                if let Some(place) = places.find(|place| place.client.as_ref().is_some_and(of)) {
                    place.client = None;
                    self.free.fetch_add(1, Ordering::Relaxed);
                    stack::wipe();
                }
            }
            Order::Tell(channel, packets) => {
                let mut clients = self.clients();
                if let Some(client) = clients.find(|client| *client.channel == *channel) {
                    for packet in packets {
                        client.connection.send_rtcp(&packet);
                    }
                }
            }
        }
    }

    /// Reads all datagrams of a port.
    pub(super) fn receive(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match place.port.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let now = Instant::now();
                    let Some(client) = &mut place.client else {
                        tracing::trace!("a datagram is dropped: its port pulls no channel now");
                        continue;
                    };
                    if from != client.connection.server {
                        tracing::trace!(
                            "a datagram is dropped: it is not from the node that is pulled from"
                        );
                        continue;
                    }
                    if !client.ssrcs.let_in(&buffer[..length]) {
                        tracing::trace!("SRTP is dropped: it belongs to no stream of its channel");
                        continue;
                    }
                    let received = client.connection.handle(now, &buffer[..length]);
                    client.take(now, received, &mut self.came);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "receiving from another node failed");
                    return;
                }
            }
        }
    }

    /// When something is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let clients = self.places.iter().filter_map(|place| place.client.as_ref());
        clients.map(Client::next_timeout).min()
    }

    /// Does what is due.
    pub(super) fn do_what_is_due(&mut self, now: Instant) {
        let clients = self.places.iter_mut().filter_map(|p| p.client.as_mut());
        for client in clients {
            if client.connection.next_timeout().is_some_and(|at| at <= now) {
                let received = client.connection.handle_timeout(now);
                client.take(now, received, &mut self.came);
            }
            let way = client.way();
            let Some(act) = client.upkeep.act(now, way) else {
                continue;
            };
            let ufrag = client.ufrag.clone();
            // An error says that the server is stopping.
            let _ = match act {
                Act::Stuck => self.news.send(News::Stuck(ufrag)),
                Act::Anew if way.connected => self.news.send(News::Silent(ufrag)),
                Act::Anew | Act::Next => Ok(()),
            };
            if act != Act::Stuck {
                client.at += usize::from(act == Act::Next);
                client.begin_anew(now, &mut self.came);
            }
        }
    }

    /// Sends the clients' datagrams, and passes what was received to the media loop.
    pub(super) fn send(&mut self) {
        for place in &mut self.places {
            let Some(client) = &mut place.client else {
                continue;
            };
            for datagram in client.connection.outgoing() {
                // A datagram that is not sent is lost like any other.
                let _ = place.port.send_to(&datagram, client.connection.server);
            }
        }
        if !self.came.is_empty() {
            self.media.pulled(self.came.drain(..));
        }
    }
}

impl Client {
    fn new(begin: Begin, now: Instant) -> Self {
        let Begin {
            ufrag,
            channel,
            connection,
            ssrcs,
            servers,
        } = begin;
        Self {
            ufrag,
            channel,
            connection,
            ssrcs: Ssrcs::new(ssrcs),
            servers,
            at: 0,
            answered: 0,
            refused: 0,
            upkeep: Upkeep::new(now),
        }
    }

    fn way(&self) -> Way {
        let counts = &self.connection.counts;
        Way {
            connected: self.connection.is_connected(),
            answered: counts.checks_answered > self.answered,
            failed: self.connection.has_failed(),
            refused: counts.checks_refused > self.refused,
            addresses: self.servers.len(),
        }
    }

    fn next_timeout(&self) -> Instant {
        let due = self.upkeep.due(self.way());
        let own = self.connection.next_timeout();
        own.map_or(due, |own| own.min(due))
    }

    fn begin_anew(&mut self, now: Instant, came: &mut Vec<(Arc<str>, Pulled)>) {
        let was_connected = self.connection.is_connected();
        if was_connected {
            came.push((self.channel.clone(), Pulled::NoKeys));
        }
        let server = self.servers[self.at % self.servers.len()];
        self.connection.begin_anew(server, now);
        self.ssrcs.begin_anew();
        let counts = &self.connection.counts;
        (self.answered, self.refused) = (counts.checks_answered, counts.checks_refused);
        self.upkeep.begins(now, was_connected);
        stack::wipe();
    }

    fn take(&mut self, now: Instant, received: Received, came: &mut Vec<(Arc<str>, Pulled)>) {
        let pulled = match received {
            Received::Nothing | Received::RoundTrip(_) => return,
            Received::Keys => {
                self.upkeep.connected(now);
                stack::wipe();
                Pulled::Keys
            }
            Received::Rtp(packet) => Pulled::Rtp(packet),
            Received::Rtcp(packet) => Pulled::Rtcp(packet),
        };
        if !matches!(pulled, Pulled::Keys) {
            self.upkeep.heard(now);
        }
        came.push((self.channel.clone(), pulled));
    }
}
