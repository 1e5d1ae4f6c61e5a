//! Server, browsers, network and records, driven by one clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::broadcast::{Broadcast, Config, Event, Join, Refusal, Routed, Snapshot};
use rekindle::peer::{Dtls, Transmit};
use rekindle::sdp::{self, Local};
use rekindle::vault::{IceCredentials, IcePassword, PeerRecord, Role, Ufrag};

use super::association::{Certificate, sha256};
use super::client::{Browser, Client, Side};
use super::ice::Credentials;
use super::network::{Datagram, Network};
use super::offer::{OfferOptions, Transport, offer};
use super::reading::{Read, Reader, Reading};
use super::receiver::Receiver;
use super::sender::Sender;
use super::{Random, ms};

/// A browser of this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(usize);

/// Reached a browser after its page had given up the attempt that it answers, though the server had heard of a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoiling {
    pub client: Id,
    /// The attempt that it answers, and the one that the browser was in.
    pub answers: u64,
    pub present: u64,
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
    records: BTreeMap<Ufrag, PeerRecord>,
    /// How they are read after a start.
    pub reading: Reading,
    /// Records that cannot be read.
    pub unreadable: BTreeSet<Ufrag>,
    reader: Option<Reader>,
    /// How long the server works on one handshake; others wait for their turn meanwhile.
    pub handshake_time: Duration,
    busy_until: Instant,
    /// When this process first heard of each attempt.
    attempts: HashMap<[u8; 32], (usize, u64)>,
    heard: HashMap<(usize, u64), Instant>,
    /// When the server last sent a DTLS datagram.
    sent: HashMap<Bytes, Instant>,
    pub spoilings: Vec<Spoiling>,
    /// Publishers whose handshakes wait for their turn, and who was served before one of them.
    queued: VecDeque<SocketAddr>,
    pub served_before_publishers: Vec<Ufrag>,
    /// What happened, for whoever has to find out why a test failed; told only where it is wanted.
    pub journal: Option<Vec<String>>,
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
            reading: Reading::AtOnce,
            unreadable: BTreeSet::new(),
            reader: None,
            handshake_time: Duration::ZERO,
            busy_until: start,
            attempts: HashMap::new(),
            heard: HashMap::new(),
            sent: HashMap::new(),
            spoilings: Vec::new(),
            queued: VecDeque::new(),
            served_before_publishers: Vec::new(),
            journal: None,
            events: Vec::new(),
            stray: Vec::new(),
            notices: Vec::new(),
            random,
        };
        world.start_server();
        world
    }

    // The server's life.

    /// Starts a new process: nothing of the old one is there but the identity and the records, which are read from now on.
    pub fn start_server(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        self.boots += 1;
        let dtls = Dtls::new(&self.certificate.der, &self.certificate.key).unwrap();
        let seed = [self.boots; 32];
        let mut server = Broadcast::new(self.config.clone(), Arc::new(dtls), seed, self.now);
        server.await_records();
        self.server = Some(server);
        let names = self.records.keys().cloned().collect();
        self.reader = Some(Reader::new(self.reading, names, &mut self.random, self.now));
        self.heard.clear();
        self.queued.clear();
        self.note(|| "the server starts".into());
        self.read_records();
    }

    /// Gives the server what has been read by now.
    fn read_records(&mut self) {
        let now = self.now;
        while let (Some(server), Some(read)) = (&mut self.server, self.reader.as_mut().and_then(|r| r.poll(now))) {
            let mut out = Vec::new();
            let what = match read {
                Read::All => {
                    server.all_records_read();
                    "all records are read".to_owned()
                }
                Read::Record(ufrag) if self.unreadable.contains(&ufrag) => {
                    server.skip_record(&ufrag);
                    format!("the record of {ufrag} cannot be read")
                }
                Read::Record(ufrag) => match self.records.get(&ufrag) {
                    Some(record) => {
                        server.take_record(now, record, &mut out);
                        format!("the record of {ufrag} is read")
                    }
                    None => format!("there is no record of {ufrag}"),
                },
            };
            self.note(|| what);
            self.after_server(out);
        }
    }

    /// kill -9. Every page learns of it from its closed event stream, one way later.
    pub fn kill(&mut self) {
        self.server = None;
        self.note(|| "the server is killed".into());
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

        // As the server makes them: a publisher's sorts before a viewer's.
        let letter = if role == Role::Publisher { 'P' } else { 'V' };
        let (server_ufrag, server_pwd) = (format!("{letter}{}", self.random.text(11)), self.random.text(24));
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
        let answer = sdp::answer(role, &offer, source, &local).expect("the offer is good");
        let negotiated = sdp::negotiated(role, &offer, &answer).unwrap();
        let join = Join {
            role,
            channel: channel.to_owned(),
            ice: ice.clone(),
            negotiated: negotiated.clone(),
            resumed: false,
            renews: sdp::renews(&offer),
        };
        self.server().join(now, join)?;
        let record = PeerRecord {
            role,
            channel: channel.to_owned(),
            ice: ice.clone(),
            offer,
            answer,
            joined_at: 0,
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
                .chain(self.server_timeout())
                .chain(
                    self.reader
                        .as_ref()
                        .and_then(Reader::next_timeout)
                        .filter(|_| self.is_up()),
                )
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
        self.read_records();
        while self.server_timeout().is_some_and(|at| at <= now) {
            let mut out = Vec::new();
            self.server().handle_timeout(now, &mut out);
            // With one handshake each time it is a publisher's turn, as long as one waits.
            let publishers_turn = self.queued.pop_front().is_some();
            if out
                .iter()
                .any(|transmit| matches!(transmit.data.first(), Some(20..=63)))
            {
                self.busy_until = now + self.handshake_time;
            }
            let before = self.events.len();
            self.after_server(out);
            let begun = self.events[before..].iter().filter_map(|(_, event)| match event {
                Event::Handshake { ufrag } => Some(ufrag),
                _ => None,
            });
            let is_viewer = |ufrag: &&Ufrag| self.records.get(*ufrag).is_some_and(|r| r.role == Role::Viewer);
            let viewers: Vec<Ufrag> = begun.filter(is_viewer).cloned().collect();
            if publishers_turn {
                self.served_before_publishers.extend(viewers);
            }
        }
        for id in 0..self.clients.len() {
            if !self.is_closed(id) && self.clients[id].next_timeout().is_some_and(|at| at <= now) {
                self.clients[id].handle_timeout(now);
            }
        }
        self.flush();
    }

    /// When the server wants to be called next, and can be.
    fn server_timeout(&self) -> Option<Instant> {
        let next = self.server.as_ref().and_then(Broadcast::next_timeout);
        next.map(|next| next.max(self.busy_until))
    }

    fn deliver(&mut self, datagram: Datagram) {
        if datagram.to == self.server_address {
            if self.server.is_some() {
                self.reach_server(&datagram);
            }
            return;
        }
        let at = self
            .clients
            .iter()
            .position(|client| client.address.ip() == datagram.to.ip());
        match at {
            Some(id) => self.reach_client(id, &datagram),
            None => self.stray.push(datagram),
        }
    }

    fn reach_server(&mut self, datagram: &Datagram) {
        let now = self.now;
        let attempt = datagram
            .client_random()
            .and_then(|random| self.attempts.get(&random).copied());
        if let Some((id, number)) = attempt {
            self.heard.entry((id, number)).or_insert(now);
            self.note(|| format!("browser {id}: the ClientHello of attempt {number} is at the server"));
        }
        if self.handshake_time.is_zero() {
            let (_, out) = self.hand_in(datagram.from, &datagram.data);
            return self.after_server(out);
        }
        let mut out = Vec::new();
        let routed = self.server().handle(now, datagram.from, &datagram.data, &mut out);
        if let Some((id, _)) = attempt.filter(|_| routed == Routed::Answered && out.is_empty())
            && self.clients[id].role == Role::Publisher
            && !self.queued.contains(&datagram.from)
        {
            self.queued.push_back(datagram.from);
        }
        self.after_server(out);
    }

    fn reach_client(&mut self, id: usize, datagram: &Datagram) {
        let now = self.now;
        let client = &mut self.clients[id];
        let (before, present) = (client.late_answers.len(), client.handshakes_started);
        client.handle(now, datagram.to, &datagram.data);
        let is = (client.has_failed(), client.is_connected());
        if datagram.is_dtls() {
            let length = datagram.data.len();
            self.note(|| {
                format!(
                    "browser {id}: {length} bytes of DTLS come in attempt {present}; failed: {}, has keys: {}",
                    is.0, is.1
                )
            });
        }
        let client = &self.clients[id];
        let late: Vec<u64> = client.late_answers[before..]
            .iter()
            .map(|(number, _)| *number)
            .collect();
        for answers in late {
            self.note(|| format!("browser {id}: in attempt {present}, an answer to attempt {answers} comes"));
            let heard = |number| self.heard.get(&(id, number)).copied();
            let sent = self.sent.get(&datagram.data).copied();
            // What was sent before the present attempt was heard of cannot be helped, nor that attempts come in another order.
            if let (Some(sent), Some(later), Some(earlier)) = (sent, heard(present), heard(answers))
                && earlier < later
                && later <= sent
            {
                self.spoilings.push(Spoiling {
                    client: Id(id),
                    answers,
                    present,
                });
            }
        }
    }

    /// Gives the server a datagram, and the time for all that it makes it do.
    fn hand_in(&mut self, from: SocketAddr, data: &[u8]) -> (Routed, Vec<Transmit>) {
        let now = self.now;
        let mut out = Vec::new();
        let routed = self.server().handle(now, from, data, &mut out);
        while self.server().next_timeout().is_some_and(|at| at <= now) {
            self.server().handle_timeout(now, &mut out);
        }
        (routed, out)
    }

    /// Whether the thread that reads records has come to its end.
    pub fn has_read_all(&mut self) -> bool {
        self.reader.as_ref().is_some_and(Reader::has_ended)
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let at = self.now - self.start;
        if let Some(journal) = &mut self.journal {
            journal.push(format!("{:>9.3} ms  {}", at.as_secs_f64() * 1000.0, what()));
        }
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
        while let Some(ufrag) = self.server.as_mut().and_then(Broadcast::poll_demand) {
            self.note(|| format!("the record of {ufrag} is demanded"));
            if let Some(reader) = &mut self.reader {
                reader.demand(ufrag);
            }
        }
        for Transmit { to, data } in out {
            if matches!(data.first(), Some(20..=63)) {
                self.sent.insert(data.clone(), self.now);
                let browser = self.clients.iter().position(|client| client.address.ip() == to.ip());
                let first = &data[..data.len().min(14)];
                self.note(|| {
                    format!(
                        "browser {browser:?}: the server sends DTLS, {} bytes, {first:?}",
                        data.len()
                    )
                });
            }
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
            match &event {
                Event::Address { .. } | Event::Source { .. } => {}
                other => {
                    let what = format!("{other:?}");
                    self.note(|| what);
                }
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
                let datagram = Datagram {
                    from,
                    to: self.server_address,
                    data,
                };
                if let Some(random) = datagram.client_random() {
                    let number = self.clients[id].handshakes_started;
                    if self.attempts.insert(random, (id, number)).is_none() {
                        self.note(|| format!("browser {id}: attempt {number} begins"));
                    }
                }
                self.network.send(self.now, datagram);
            }
        }
    }
}

/// The steps of a test that fails are printed; `REKINDLE_STEPS=1` has those of all printed.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("REKINDLE_STEPS").is_some() {
            self.journal.iter().flatten().for_each(|step| eprintln!("{step}"));
        }
    }
}
