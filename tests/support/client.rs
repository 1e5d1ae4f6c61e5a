//! One browser of the tests: a native client whose page renews keys when it says that the server is
//! gone, and what it remembers for them.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle::ids::Role;
use rekindle_client::association::Association;
use rekindle_client::client::{self, Media, Outgoing};
use rekindle_client::connection::{Connection, Session};
use rekindle_client::manner::Manner;
pub use rekindle_client::manner::{Browser, Offer};

use super::Random;
use super::receiver::Receiver;
use super::sender::Sender;

/// The page applies its edited SDP again after so long.
pub const RENEW_AGAIN: Duration = Duration::from_millis(500);

pub enum Side {
    Publisher(Box<Sender>),
    Viewer(Box<Receiver>),
}

pub struct Client {
    pub role: Role,
    native: client::Client<Side>,
    /// The page runs the recovery when the server goes; a plain WHIP client does not.
    pub has_page: bool,
    /// Attempts that the page gave up, if they are to be remembered: what answers one of them is
    /// known by what it makes them do.
    given_up: Vec<(u64, Association)>,
    /// The last attempt that the server has answered.
    answered: u64,
    pub remembers: bool,
    /// Answers to attempts that had been given up, by the number of the attempt.
    pub late_answers: Vec<(u64, Bytes)>,
    /// What each handshake's exporter gave.
    pub exported: Vec<(Vec<u8>, dimpl::SrtpProfile)>,
    renew_at: Option<Instant>,
    /// How long its page waits for an attempt: it knows the round trip.
    pub patience: Duration,
    /// When each handshake completed.
    pub connected_at: Vec<Instant>,
}

/// What a test asks of a browser is asked of its connection above all.
impl Deref for Client {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.native.connection
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.native.connection
    }
}

impl Client {
    pub fn new(
        role: Role,
        address: SocketAddr,
        server: SocketAddr,
        session: Session,
        side: Side,
        random: Random,
        now: Instant,
    ) -> Self {
        let manner = Manner {
            seeded: true,
            ..Manner::of(Browser::Chromium)
        };
        let connection = Connection::new(manner, session, address, server, random, now);
        Self {
            role,
            native: client::Client::new(connection, side),
            has_page: true,
            given_up: Vec::new(),
            answered: 0,
            remembers: false,
            late_answers: Vec::new(),
            exported: Vec::new(),
            renew_at: None,
            patience: RENEW_AGAIN,
            connected_at: Vec::new(),
        }
    }

    pub fn sender(&self) -> &Sender {
        match &self.native.media {
            Side::Publisher(sender) => sender,
            Side::Viewer(_) => panic!("a viewer sends no media"),
        }
    }

    pub fn sender_mut(&mut self) -> &mut Sender {
        match &mut self.native.media {
            Side::Publisher(sender) => sender,
            Side::Viewer(_) => panic!("a viewer sends no media"),
        }
    }

    pub fn receiver(&self) -> &Receiver {
        match &self.native.media {
            Side::Viewer(receiver) => receiver,
            Side::Publisher(_) => panic!("a publisher receives no media"),
        }
    }

    pub fn receiver_mut(&mut self) -> &mut Receiver {
        match &mut self.native.media {
            Side::Viewer(receiver) => receiver,
            Side::Publisher(_) => panic!("a publisher receives no media"),
        }
    }

    /// The page applies its edited SDP: a new association, and again until one is up.
    pub fn renew(&mut self, now: Instant) {
        let (number, answered) = (self.handshakes_started, self.is_answered());
        let given_up = self.native.renew(now);
        if self.remembers && !answered {
            self.given_up.extend(given_up.map(|old| (number, old)));
        }
        self.renew_at = Some(now + self.patience);
        if self.wants_to_move() {
            let address = SocketAddr::new(self.address.ip(), self.address.port() + 1);
            self.move_to(address, now);
        }
    }

    /// A page that gives up: no more renewing.
    pub fn stop_renewing(&mut self) {
        self.renew_at = None;
        self.has_page = false;
    }

    fn is_answered(&self) -> bool {
        self.answered == self.handshakes_started
    }

    /// Takes a datagram from the server.
    pub fn handle(&mut self, now: Instant, to: SocketAddr, data: &[u8]) {
        if to != self.address {
            return;
        }
        let before = self.pending();
        self.native.handle(now, data);
        let said_something = self.pending() > before;
        self.after(now);
        if !matches!(data.first(), Some(20..=63)) {
            return;
        }
        // A HelloVerifyRequest says nothing of who it answers.
        let asks = data.get(13) == Some(&3);
        if said_something && !asks {
            self.answered = self.handshakes_started;
        } else if !said_something && !asks && !self.is_answered() {
            // Once it has the answer to its own ClientHello, it takes all others for repetitions.
            self.look_back(now, data);
        }
    }

    /// Whether a datagram that meant nothing to the present attempt answers one that was given up.
    fn look_back(&mut self, now: Instant, data: &[u8]) {
        let late_answers = &mut self.late_answers;
        self.given_up.retain_mut(|(number, attempt)| {
            // What its own timer makes it say is no answer to anything.
            attempt.drive(now, None);
            attempt.outgoing();
            attempt.drive(now, Some(data));
            let is_answered = !attempt.outgoing().is_empty();
            if is_answered {
                late_answers.push((*number, Bytes::copy_from_slice(data)));
            }
            // From its answer on it repeats its flight whatever comes.
            !is_answered && !attempt.failed
        });
    }

    /// After anything that may have completed a handshake.
    fn after(&mut self, now: Instant) {
        assert_eq!(
            self.counts.wrong_certificate, 0,
            "the server's certificate is the one in its answer"
        );
        if self.handshakes > self.connected_at.len() as u64 {
            let exported = self.native.connection.exported().cloned();
            self.exported.extend(exported);
            self.renew_at = None;
            self.connected_at.push(now);
            self.given_up.clear();
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        [self.native.next_timeout(), self.renew_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew(now);
        }
        self.native.handle_timeout(now);
        self.after(now);
    }
}

impl Media for Side {
    fn connected(&mut self, now: Instant) {
        if let Self::Publisher(sender) = self {
            sender.connected(now);
        }
    }

    fn set_rtt(&mut self, rtt: Duration) {
        if let Self::Viewer(receiver) = self {
            receiver.viewer.set_rtt(rtt);
        }
    }

    fn take_rtp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        match self {
            Self::Publisher(_) => panic!("a publisher gets no media"),
            Self::Viewer(receiver) => {
                receiver.handle_rtp(now, data);
                out.rtcp.extend(receiver.viewer.make(now));
            }
        }
    }

    fn take_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing) {
        match self {
            Self::Publisher(sender) => sender.take_rtcp(now, data, out),
            Self::Viewer(receiver) => receiver.handle_rtcp(now, data),
        }
    }

    fn next_timeout(&self, connected: bool) -> Option<Instant> {
        match self {
            Self::Publisher(sender) => sender.next_timeout(connected),
            Self::Viewer(receiver) => receiver.viewer.next().filter(|_| connected),
        }
    }

    fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing) {
        match self {
            Self::Publisher(sender) => sender.make(now, connected, out),
            Self::Viewer(receiver) if connected => out.rtcp.extend(receiver.viewer.make(now)),
            Self::Viewer(_) => {}
        }
    }
}
