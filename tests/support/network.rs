//! The network: every datagram of the world goes through here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use rekindle_client::random::Random;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Bytes,
}

impl Datagram {
    fn is_media(&self) -> bool {
        matches!(self.data.first(), Some(128..=191)) && self.data.len() >= 12
    }

    /// The SSRC and sequence number, if it is an RTP packet (which SRTP leaves readable).
    pub fn rtp(&self) -> Option<(u32, u16)> {
        if !self.is_media() || matches!(self.data[1], 192..=223) {
            return None;
        }
        let ssrc = u32::from_be_bytes(self.data[8..12].try_into().unwrap());
        Some((ssrc, u16::from_be_bytes([self.data[2], self.data[3]])))
    }

    pub fn is_rtcp(&self) -> bool {
        self.is_media() && matches!(self.data[1], 192..=223)
    }

    pub fn is_dtls(&self) -> bool {
        matches!(self.data.first(), Some(20..=63))
    }

    /// Whether this ClientHello shows a cookie.
    pub fn has_cookie(&self) -> bool {
        let session_id = self.data.get(59).map_or(0, |length| usize::from(*length));
        self.data
            .get(60 + session_id)
            .is_some_and(|length| *length > 0)
    }

    /// The random of the ClientHello whose first fragment this is: it tells one attempt from
    /// another.
    pub fn client_random(&self) -> Option<[u8; 32]> {
        let data = &self.data;
        let is_hello = data.len() >= 59 && data[0] == 22 && data[3..5] == [0, 0] && data[13] == 1;
        (is_hello && data[19..22] == [0, 0, 0]).then(|| data[27..59].try_into().unwrap())
    }
}

/// What a way through the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    pub delay: Duration,
    /// Up to so much more, drawn for each datagram: this is what reorders them.
    pub jitter: Duration,
    /// Probability.
    pub loss: f64,
    /// Probability.
    pub duplicate: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
        }
    }
}

/// Lets a datagram through, or loses it.
pub type Filter = Box<dyn FnMut(&Datagram) -> bool>;

pub struct Network {
    server: SocketAddr,
    random: Random,
    ways: BTreeMap<(IpAddr, bool), Conditions>,
    /// For all ways that have none of their own.
    pub default: Conditions,
    /// Asked for every datagram before chance is.
    pub filter: Option<Filter>,
    /// With this probability a copy of a browser's DTLS datagram comes again, up to so much later.
    pub late_copies: (f64, Duration),
    queue: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
    numbered: u64,
    pub lost: u64,
    pub duplicated: u64,
}

impl Network {
    pub fn new(server: SocketAddr, random: Random) -> Self {
        Self {
            server,
            random,
            ways: BTreeMap::new(),
            default: Conditions::default(),
            filter: None,
            late_copies: (0.0, Duration::ZERO),
            queue: BinaryHeap::new(),
            numbered: 0,
            lost: 0,
            duplicated: 0,
        }
    }

    /// Conditions between one host and the server, from it (`up`) or to it.
    pub fn set(&mut self, host: IpAddr, up: bool, conditions: Conditions) {
        self.ways.insert((host, up), conditions);
    }

    /// Conditions of a way.
    pub fn get(&self, host: IpAddr, up: bool) -> Conditions {
        self.ways.get(&(host, up)).copied().unwrap_or(self.default)
    }

    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        let up = datagram.to == self.server;
        let host = if up {
            datagram.from.ip()
        } else {
            datagram.to.ip()
        };
        let way = self.get(host, up);
        let passes = self.filter.as_mut().is_none_or(|filter| filter(&datagram));
        if !passes || self.random.chance(way.loss) {
            self.lost += 1;
            return;
        }
        let copies = if self.random.chance(way.duplicate) {
            2
        } else {
            1
        };
        self.duplicated += copies - 1;
        for _ in 0..copies {
            let extra = way.jitter.mul_f64(self.random.below(1000) as f64 / 1000.0);
            self.enqueue(now + way.delay + extra, datagram.clone());
        }
        let (probability, up_to) = self.late_copies;
        if up && datagram.is_dtls() && probability > 0.0 && self.random.chance(probability) {
            let extra = up_to.mul_f64(self.random.below(1000) as f64 / 1000.0);
            self.duplicated += 1;
            self.enqueue(now + way.delay + extra, datagram);
        }
    }

    fn enqueue(&mut self, at: Instant, datagram: Datagram) {
        self.numbered += 1;
        self.queue.push(Reverse((at, self.numbered, datagram)));
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next datagram that arrives by `now`.
    pub fn arrive(&mut self, now: Instant) -> Option<Datagram> {
        let Reverse((at, ..)) = self.queue.peek()?;
        if *at > now {
            return None;
        }
        self.queue.pop().map(|Reverse((.., datagram))| datagram)
    }
}
