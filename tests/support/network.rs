//! The world's network: a way of its own between each host and the server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use rekindle_client::network;
pub use rekindle_client::network::Conditions;
use rekindle_client::random::Random;

#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Lets a datagram through, or loses it.
pub type Filter = Box<dyn FnMut(&Datagram) -> bool>;

pub struct Network {
    server: SocketAddr,
    network: network::Network<Datagram>,
    ways: BTreeMap<(IpAddr, bool), Conditions>,
    /// For all ways that have none of their own.
    pub default: Conditions,
    /// Asked for every datagram before chance is.
    pub filter: Option<Filter>,
    /// With this probability a copy of a browser's DTLS datagram comes again, up to so much later.
    pub late_copies: (f64, Duration),
    /// Datagrams that the filter held back.
    held_back: u64,
}

impl Network {
    pub fn new(server: SocketAddr, random: Random) -> Self {
        Self {
            server,
            network: network::Network::new(random),
            ways: BTreeMap::new(),
            default: Conditions::default(),
            filter: None,
            late_copies: (0.0, Duration::ZERO),
            held_back: 0,
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

    /// Datagrams that did not arrive.
    pub fn lost(&self) -> u64 {
        self.held_back + self.network.lost
    }

    /// Copies that were made.
    pub fn duplicated(&self) -> u64 {
        self.network.duplicated
    }

    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        let up = datagram.to == self.server;
        let host = if up { datagram.from } else { datagram.to };
        let mut way = self.get(host.ip(), up);
        if up && datagram.is_dtls() {
            way.late_copy = self.late_copies;
        }
        let passes = self.filter.as_mut().is_none_or(|filter| filter(&datagram));
        if passes {
            self.network.send(now, &way, datagram);
        } else {
            self.held_back += 1;
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.network.next()
    }

    /// The next datagram that arrives by `now`.
    pub fn arrive(&mut self, now: Instant) -> Option<Datagram> {
        self.network.arrive(now)
    }
}
