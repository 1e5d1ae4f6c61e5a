//! Server, browsers, network and records, driven by one clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::broadcast::{Broadcast, Config, Event, Join, Refusal, Snapshot};
use rekindle::ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle::sdp::{self, Local};
use rekindle::vault::PeerRecord;

use super::client::{Browser, Client, Side};
use super::network::{Datagram, Network};
use super::reading::{Reader, Reading};
use super::receiver::Receiver;
use super::sender::Sender;
use super::workers::Workers;
use super::{Random, ms};
use rekindle_client::association::{Certificate, sha256};
use rekindle_client::connection::Session;
use rekindle_client::ice::Credentials;
use rekindle_client::offer::{OfferOptions, Offered};

/// A browser of this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub(super) usize);

/// Reached a browser after its page had given up the attempt that it answers, though the server had
/// heard of a later one.
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
    pub(super) server: Option<Broadcast>,
    pub(super) boots: u8,
    pub(super) certificate: Certificate,
    pub(super) clients: Vec<Client>,
    pub(super) records: BTreeMap<Ufrag, PeerRecord>,
    /// How they are read after a start.
    pub reading: Reading,
    /// Records that cannot be read.
    pub unreadable: BTreeSet<Ufrag>,
    pub(super) reader: Option<Reader>,
    /// Who does handshakes beside the server's loop.
    pub(super) workers: Workers,
    /// How long the server works on one handshake; others wait for their turn meanwhile.
    pub handshake_time: Duration,
    pub(super) busy_until: Instant,
    /// When this process first heard of each attempt.
    pub(super) attempts: HashMap<[u8; 32], (usize, u64)>,
    pub(super) heard: HashMap<(usize, u64), Instant>,
    /// The same with a cookie.
    pub(super) shown: HashMap<(usize, u64), Instant>,
    /// When the server last sent a DTLS datagram.
    pub(super) sent: HashMap<Bytes, Instant>,
    pub spoilings: Vec<Spoiling>,
    /// Publishers whose handshakes wait for their turn, and who was served before one of them.
    pub(super) queued: VecDeque<SocketAddr>,
    pub served_before_publishers: Vec<Ufrag>,
    /// What happened, for whoever has to find out why a test failed; told only where it is wanted.
    pub journal: Option<Vec<String>>,
    /// All events of all boots.
    pub events: Vec<(Instant, Event)>,
    /// Datagrams to addresses that no browser has: (to, length).
    pub stray: Vec<Datagram>,
    /// Pages that learn at this time that the server is gone.
    pub(super) notices: Vec<(Instant, usize)>,
    pub(super) random: Random,
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
            workers: Workers::new(seed),
            handshake_time: Duration::ZERO,
            busy_until: start,
            attempts: HashMap::new(),
            heard: HashMap::new(),
            shown: HashMap::new(),
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

    /// kill -9. Every page learns of it from its closed event stream, one way later.
    pub fn kill(&mut self) {
        self.server = None;
        self.workers.kill();
        self.note(|| "the server is killed".into());
        for (id, client) in self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.has_page)
        {
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

    /// A publisher and its viewers, connected, with media flowing. `first`: the first sequence
    /// number of each stream.
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
        options: OfferOptions,
        first: Option<u16>,
    ) -> Result<Id, Refusal> {
        let now = self.now;
        let offered = Offered::new(role, options, &mut self.random);
        let offer = offered.sdp.clone();

        // As the server makes them: a publisher's sorts before a viewer's.
        let letter = if role == Role::Publisher { 'P' } else { 'V' };
        let (server_ufrag, server_pwd) = (
            format!("{letter}{}", self.random.text(11)),
            self.random.text(24),
        );
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
            tcp: false,
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
                offered.ssrcs,
                first,
                self.random.fork(),
                now,
            ))),
            Role::Viewer => Side::Viewer(Box::new(Receiver::new(&negotiated))),
        };
        let host = u8::try_from(self.clients.len() + 1).unwrap();
        let address = SocketAddr::from(([192, 0, 2, host], 40_000));
        let session = Session {
            credentials: Credentials {
                own_ufrag: offered.ufrag,
                own_pwd: offered.pwd,
                server_ufrag,
                server_pwd,
            },
            certificate: offered.certificate,
            fingerprint,
            active: true,
        };
        let (server, random) = (self.server_address, self.random.fork());
        let client = Client::new(role, address, server, session, side, random, now);
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
        Ufrag::new(self.clients[id.0].session.credentials.server_ufrag.clone()).unwrap()
    }

    /// All browsers renew their keys in this one's way.
    pub fn all_browsers(&mut self, browser: Browser) {
        self.clients
            .iter_mut()
            .for_each(|client| client.manner.browser = browser);
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

    pub(super) fn is_closed(&self, id: usize) -> bool {
        self.clients[id].address.port() == 0
    }
}
