//! What is kept of a completed handshake of DTLS 1.2: its last flight, in case that was lost. The
//! library's state, which holds the handshake's secrets and takes 13 KiB, is dropped.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::{Completed, DtlsError, Handshake, LINGER};
use super::records::{is_client_key_exchange, last_flight_of_server};

/// Least interval between repetitions of the flight: the client's own flight may arrive in several
/// datagrams. Browsers repeat theirs after 50 ms at the earliest.
const APART: Duration = Duration::from_millis(40);
/// Most repetitions: Firefox repeats a flight seven times in 3 s.
const TIMES: u32 = 8;

/// The flight is repeated unchanged, like a datagram that a network delivers twice: the client
/// accepts each record once (RFC 6347 §4.1.2.6).
pub(super) struct LastFlight {
    flight: Vec<Bytes>,
    /// When it is dropped.
    until: Instant,
    /// It is not repeated before this time.
    next: Instant,
    /// How many repetitions are left.
    left: u32,
}

impl LastFlight {
    /// A flight that was just sent. If the flight before it was repeated at the same time, that one
    /// is left out: both may be in one datagram, and clients drop a datagram that begins with a
    /// message that they know.
    pub(super) fn new(said: &[Bytes], now: Instant) -> Self {
        let last = said.iter().map(|datagram| last_flight_of_server(datagram));
        let flight = last.filter(|part| !part.is_empty());
        Self {
            flight: flight.map(Bytes::copy_from_slice).collect(),
            until: now + LINGER,
            next: now + APART,
            left: TIMES,
        }
    }
}

impl Handshake for LastFlight {
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError> {
        let bytes = self.flight.iter().map(Bytes::len).sum();
        // Anybody can send a short datagram in the browser's name, and must not make the server
        // send more.
        let asks = |datagram: &[u8]| datagram.len() >= bytes && is_client_key_exchange(datagram);
        if datagram.is_some_and(asks) && now >= self.next && self.left > 0 {
            self.next = now + APART;
            self.left -= 1;
            out.extend_from_slice(&self.flight);
        }
        Ok(None)
    }

    fn next_timeout(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests;
