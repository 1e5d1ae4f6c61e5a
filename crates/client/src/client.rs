//! A whole client: a connection, and its media. It takes datagrams and the time, and returns
//! datagrams.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::association::Association;
use crate::connection::{Connection, Received};

/// Packets to send, not yet encrypted.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// RTP.
    pub rtp: Vec<Bytes>,
    /// Compound RTCP.
    pub rtcp: Vec<Bytes>,
}

/// What a client sends or receives.
pub trait Media {
    /// Fresh keys are in use.
    fn connected(&mut self, _now: Instant) {}

    /// The round-trip time of a check.
    fn set_rtt(&mut self, _rtt: Duration) {}

    /// Takes authentic RTP.
    fn take_rtp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing);

    /// Takes authentic RTCP.
    fn take_rtcp(&mut self, now: Instant, data: &[u8], out: &mut Outgoing);

    /// When [`Media::make`] is to be called next.
    fn next_timeout(&self, connected: bool) -> Option<Instant>;

    /// Makes what is due. Without a connection nothing is sent, whatever is made.
    fn make(&mut self, now: Instant, connected: bool, out: &mut Outgoing);
}

/// See the module.
pub struct Client<M> {
    /// ICE, DTLS, SRTP.
    pub connection: Connection,
    /// Its media.
    pub media: M,
}

impl<M: Media> Client<M> {
    /// A client in a session that has just begun.
    pub fn new(connection: Connection, media: M) -> Self {
        Self { connection, media }
    }

    /// Takes a datagram from the server.
    pub fn handle(&mut self, now: Instant, data: &[u8]) {
        let mut out = Outgoing::default();
        match self.connection.handle(now, data) {
            Received::Nothing => return,
            Received::RoundTrip(rtt) => self.media.set_rtt(rtt),
            Received::Keys => self.media.connected(now),
            Received::Rtp(packet) => self.media.take_rtp(now, &packet, &mut out),
            Received::Rtcp(packet) => self.media.take_rtcp(now, &packet, &mut out),
        }
        self.send(&out);
    }

    /// The page applies its edited SDP: see [`Connection::renew`].
    pub fn renew(&mut self, now: Instant) -> Option<Association> {
        self.connection.renew(now)
    }

    /// When [`Client::handle_timeout`] is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let media = self.media.next_timeout(self.connection.is_connected());
        [self.connection.next_timeout(), media]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Received::Keys = self.connection.handle_timeout(now) {
            self.media.connected(now);
        }
        let mut out = Outgoing::default();
        self.media
            .make(now, self.connection.is_connected(), &mut out);
        self.send(&out);
    }

    fn send(&mut self, out: &Outgoing) {
        out.rtp
            .iter()
            .for_each(|packet| self.connection.send_rtp(packet));
        out.rtcp
            .iter()
            .for_each(|packet| self.connection.send_rtcp(packet));
    }

    /// Datagrams to send.
    pub fn outgoing(&mut self) -> Vec<Bytes> {
        self.connection.outgoing()
    }
}
