//! Server, browsers, network and records, driven by one clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle::broadcast::{Broadcast, Config, Event, Join, Refusal, Routed, Snapshot};
use rekindle::peer::{Dtls, Transmit};
use rekindle::sdp::{self, Local};
use rekindle::vault::{IceCredentials, IcePassword, Role, Ufrag};

use super::association::{Certificate, sha256};
use super::client::{Browser, Client, Side};
use super::ice::Credentials;
use super::network::{Datagram, Network};
use super::offer::{OfferOptions, Transport, offer};
use super::receiver::Receiver;
use super::sender::Sender;
use super::{Random, ms};

/// A browser of this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(usize);

/// What the vault would hold of a peer.
#[derive(Clone)]
struct Record {
    role: Role,
    channel: String,
    ice: IceCredentials,
    offer: String,
    answer: String,
}

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub network: Network,
    pub config: Config,
    pub server_address: SocketAddr,
    server: Option<Broadcast>,
    boots: u8,
    certificate: Certificate,
    clients: Vec<Client>,
    records: BTreeMap<Ufrag, Record>,
    /// After a start, records are read only when a packet names them.
    pub lazy_records: bool,
    /// All events of all boots.
    pub events: Vec<(Instant, Event)>,
    /// Datagrams to addresses that no browser has: (to, length).
    pub stray: Vec<Datagram>,
    /// Pages that learn at this time that the server is gone.
    notices: Vec<(Instant, usize)>,
    random: Random,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let start = Instant::now();
        let server_address = SocketAddr::from(([198, 51, 100, 1], 3478));
        let mut world = Self {
            start,
            now: start,
            network: Network::new(server_address, random.fork()),
            config: Config::default(),
            server_address,
            server: None,
            boots: 0,
            certificate: Certificate::new(),
            clients: Vec::new(),
            records: BTreeMap::new(),
            lazy_records: false,
            events: Vec::new(),
            stray: Vec::new(),
            notices: Vec::new(),
            random,
        };
        world.start_server();
        world
    }

    // The server's life.

    /// Starts a new process: nothing of the old one is there but the identity and the records. Publishers first.
    pub fn start_server(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        self.boots += 1;
        let dtls = Dtls::new(&self.certificate.der, &self.certificate.key).unwrap();
        let seed = [self.boots; 32];
        self.server = Some(Broadcast::new(self.config.clone(), Arc::new(dtls), seed, self.now));
        if self.lazy_records {
            return;
        }
        for role in [Role::Publisher, Role::Viewer] {
            let of_role: Vec<Ufrag> = self
                .records
                .iter()
                .filter(|(_, r)| r.role == role)
                .map(|(ufrag, _)| ufrag.clone())
                .collect();
            of_role.iter().for_each(|ufrag| self.join_from_record(ufrag));
        }
    }

    fn join_from_record(&mut self, ufrag: &Ufrag) {
        let record = self.records[ufrag].clone();
        let negotiated = sdp::negotiated(record.role, &record.offer, &record.answer).unwrap();
        let join = Join {
            role: record.role,
            channel: record.channel,
            ice: record.ice,
            negotiated,
            resumed: true,
            renews: sdp::renews(&record.offer),
        };
        self.server.as_mut().unwrap().join(self.now, join).unwrap();
    }

    /// kill -9. Every page learns of it from its closed event stream, one way later.
    pub fn kill(&mut self) {
        self.server = None;
        for (id, client) in self.clients.iter().enumerate().filter(|(_, client)| client.has_page) {
            let delay = self.network.get(client.address.ip(), false).delay;
            self.notices.push((self.now + delay, id));
        }
    }

    /// kill -9, and a new process after `down`.
    pub fn restart(&mut self, down: Duration) {
        self.kill();
        self.run(down);
        self.start_server();
    }

    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    pub fn server(&mut self) -> &mut Broadcast {
        self.server.as_mut().expect("the server runs")
    }

    pub fn snapshot(&mut self) -> Snapshot {
        let now = self.now;
        self.server().snapshot(now)
    }

    // Browsers.

    /// A publisher and its viewers, connected, with media flowing. `first`: the first sequence number of each stream.
    pub fn broadcast(seed: u64, viewers: usize, first: Option<u16>) -> (Self, Id, Vec<Id>) {
        let mut world = Self::new(seed);
        let publisher = world.publish_with("news", OfferOptions::new(Role::Publisher), first);
        world.run_until_connected(&[publisher]);
        let viewers: Vec<_> = (0..viewers).map(|_| world.watch("news")).collect();
        world.run_until_connected(&viewers);
        world.run(ms(500));
        (world, publisher, viewers)
    }

    pub fn publish(&mut self, channel: &str) -> Id {
        self.publish_with(channel, OfferOptions::new(Role::Publisher), None)
    }

    /// `first`: the first sequence number of each stream.
    pub fn publish_with(&mut self, channel: &str, options: OfferOptions, first: Option<u16>) -> Id {
        self.join(Role::Publisher, channel, options, first)
            .expect("the publisher is taken")
    }

    pub fn watch(&mut self, channel: &str) -> Id {
        self.watch_with(channel, OfferOptions::new(Role::Viewer))
    }

    pub fn watch_with(&mut self, channel: &str, options: OfferOptions) -> Id {
        self.join(Role::Viewer, channel, options, None)
            .expect("the viewer is taken")
    }

    /// What an HTTP POST with an offer does, all in one.
    pub fn join(
        &mut self,
        role: Role,
        channel: &str,
        mut options: OfferOptions,
        first: Option<u16>,
    ) -> Result<Id, Refusal> {
        let now = self.now;
        let mut draw = || self.random.next() as u32;
        let ssrcs = *options.ssrcs.get_or_insert_with(|| (draw(), draw(), draw()));
        if role == Role::Viewer {
            options.ssrcs = None;
        }
        let certificate = Certificate::new();
        let (own_ufrag, own_pwd) = (self.random.text(4), self.random.text(24));
        let transport = Transport {
            ufrag: &own_ufrag,
            pwd: &own_pwd,
            fingerprint: &certificate.sha256(),
        };
        let offer = offer(role, &options, &transport);

        let (server_ufrag, server_pwd) = (self.random.text(12), self.random.text(24));
        let ice = IceCredentials {
            ufrag: Ufrag::new(server_ufrag.clone()).unwrap(),
            pwd: IcePassword::new(server_pwd.clone()),
        };
        let source = self.server().reserve(now, role, channel, &ice.ufrag)?;
        let fingerprint = sha256(&self.certificate.der);
        let local = Local {
            ice: &ice,
            fingerprint_sha256: fingerprint.as_slice().try_into().unwrap(),
            addresses: &[self.server_address],
            session_id: 1,
        };
        let source = (role == Role::Viewer).then_some(&source);
        let sdp::Answer {
            text: answer,
            negotiated,
        } = sdp::answer(role, &offer, source, &local).expect("the offer is good");
        let join = Join {
            role,
            channel: channel.to_owned(),
            ice: ice.clone(),
            negotiated: negotiated.clone(),
            resumed: false,
            renews: sdp::renews(&offer),
        };
        self.server().join(now, join)?;
        let record = Record {
            role,
            channel: channel.to_owned(),
            ice: ice.clone(),
            offer,
            answer,
        };
        self.records.insert(ice.ufrag, record);

        let side = match role {
            Role::Publisher => Side::Publisher(Box::new(Sender::new(
                &negotiated,
                ssrcs,
                first,
                self.random.fork(),
                now,
            ))),
            Role::Viewer => Side::Viewer(Box::new(Receiver::new(&negotiated))),
        };
        let host = u8::try_from(self.clients.len() + 1).unwrap();
        let address = SocketAddr::from(([192, 0, 2, host], 40_000));
        let credentials = Credentials {
            own_ufrag,
            own_pwd,
            server_ufrag,
            server_pwd,
        };
        let client = Client::new(
            role,
            address,
            credentials,
            certificate,
            fingerprint,
            side,
            self.random.fork(),
            now,
        );
        self.clients.push(client);
        Ok(Id(self.clients.len() - 1))
    }

    /// All browsers that there were.
    pub fn all(&self) -> Vec<Id> {
        (0..self.clients.len()).map(Id).collect()
    }

    pub fn client(&self, id: Id) -> &Client {
        &self.clients[id.0]
    }

    pub fn client_mut(&mut self, id: Id) -> &mut Client {
        &mut self.clients[id.0]
    }

    pub fn ufrag(&self, id: Id) -> Ufrag {
        Ufrag::new(self.clients[id.0].credentials.server_ufrag.clone()).unwrap()
    }

    /// All browsers renew their keys in this one's way.
    pub fn all_browsers(&mut self, browser: Browser) {
        self.clients.iter_mut().for_each(|client| client.browser = browser);
    }

    /// The browser says goodbye (DELETE) and is closed.
    pub fn leave(&mut self, id: Id) {
        let (ufrag, now) = (self.ufrag(id), self.now);
        self.server().leave(now, &ufrag);
        self.close(id);
    }

    /// The browser is closed without a word.
    pub fn close(&mut self, id: Id) {
        let client = &mut self.clients[id.0];
        // Nothing reaches or leaves it any more.
        client.address = SocketAddr::from(([0, 0, 0, 0], 0));
        client.has_page = false;
    }

    fn is_closed(&self, id: usize) -> bool {
        self.clients[id].address.port() == 0
    }

    // Time.

    /// Lets the world run for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_while(end, |_| true);
        self.now = end;
    }

    /// Lets the world run until this holds, for 30 s at most; how long it took.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Duration {
        let begin = self.now;
        let end = begin + Duration::from_secs(30);
        self.run_while(end, |world| !holds(world));
        assert!(self.now < end, "not within 30 s: {what}");
        self.now - begin
    }

    pub fn run_until_connected(&mut self, ids: &[Id]) -> Duration {
        self.run_until("all are connected", |world| {
            ids.iter().all(|id| world.client(*id).is_connected())
        })
    }

    fn run_while(&mut self, end: Instant, mut on: impl FnMut(&mut Self) -> bool) {
        // What a test has put into a client's hands is to go out first.
        self.flush();
        while on(self) {
            let clients = (0..self.clients.len()).filter(|id| !self.is_closed(*id));
            let next = clients
                .filter_map(|id| self.clients[id].next_timeout())
                .chain(self.network.next())
                .chain(self.server.as_ref().and_then(Broadcast::next_timeout))
                .chain(self.notices.iter().map(|(at, _)| *at))
                .min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    return;
                }
            }
            self.step();
        }
    }

    /// Does all that is due now, the network first.
    fn step(&mut self) {
        let now = self.now;
        while let Some(datagram) = self.network.arrive(now) {
            self.deliver(datagram);
            self.flush();
        }
        let (due, later) = std::mem::take(&mut self.notices)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.notices = later;
        let due: Vec<(Instant, usize)> = due;
        for (_, id) in due {
            if self.clients[id].has_page {
                self.clients[id].renew(now);
            }
        }
        if let Some(server) = self
            .server
            .as_mut()
            .filter(|s| s.next_timeout().is_some_and(|at| at <= now))
        {
            let mut out = Vec::new();
            server.handle_timeout(now, &mut out);
            self.after_server(out);
        }
        for id in 0..self.clients.len() {
            if !self.is_closed(id) && self.clients[id].next_timeout().is_some_and(|at| at <= now) {
                self.clients[id].handle_timeout(now);
            }
        }
        self.flush();
    }

    fn deliver(&mut self, datagram: Datagram) {
        let now = self.now;
        if datagram.to == self.server_address {
            if self.server.is_some() {
                let (_, out) = self.hand_in(datagram.from, &datagram.data);
                self.after_server(out);
            }
            return;
        }
        match self
            .clients
            .iter_mut()
            .find(|client| client.address.ip() == datagram.to.ip())
        {
            Some(client) => client.handle(now, datagram.to, &datagram.data),
            None => self.stray.push(datagram),
        }
    }

    /// Gives the server a datagram, as its loop does: what it does not know may be in the vault.
    fn hand_in(&mut self, from: SocketAddr, data: &[u8]) -> (Routed, Vec<Transmit>) {
        let now = self.now;
        let mut out = Vec::new();
        let routed = self.server().handle(now, from, data, &mut out);
        if let Routed::UnknownUfrag(ufrag) = &routed
            && self.records.contains_key(ufrag)
        {
            self.join_from_record(ufrag);
            let routed = self.server().handle(now, from, data, &mut out);
            return (routed, out);
        }
        (routed, out)
    }

    /// A datagram from anywhere, at once, and what the server answers to it (which is not delivered).
    pub fn attack(&mut self, from: SocketAddr, data: &[u8]) -> (Routed, Vec<Transmit>) {
        let (routed, out) = self.hand_in(from, data);
        self.after_server(Vec::new());
        (routed, out)
    }

    /// A datagram from anywhere in this browser's name: what the server answers to it reaches the browser.
    pub fn spoof(&mut self, victim: Id, data: &[u8]) {
        let from = self.client(victim).address;
        let (_, out) = self.hand_in(from, data);
        self.after_server(out);
    }

    fn after_server(&mut self, out: Vec<Transmit>) {
        for Transmit { to, data } in out {
            self.network.send(
                self.now,
                Datagram {
                    from: self.server_address,
                    to,
                    data,
                },
            );
        }
        while let Some(event) = self.server.as_mut().and_then(Broadcast::poll_event) {
            match &event {
                Event::Address { ufrag, address } => {
                    if let Some(record) = self.records.get_mut(ufrag) {
                        record.offer = sdp::with_address(&record.offer, *address);
                    }
                }
                Event::Gone { ufrag, .. } => {
                    self.records.remove(ufrag);
                }
                _ => {}
            }
            self.events.push((self.now, event));
        }
    }

    fn flush(&mut self) {
        for id in 0..self.clients.len() {
            let from = self.clients[id].address;
            let out = self.clients[id].outgoing();
            if self.is_closed(id) {
                continue;
            }
            for data in out {
                self.network.send(
                    self.now,
                    Datagram {
                        from,
                        to: self.server_address,
                        data,
                    },
                );
            }
        }
    }
}
