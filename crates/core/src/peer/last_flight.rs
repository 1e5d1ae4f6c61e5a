//! What is left of a handshake of DTLS 1.2 that is complete: its last flight, should that have been
//! lost. The library's state, which holds the handshake's secrets and takes 13 KiB, is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::{Completed, DtlsError, Handshake, LINGER};
use super::records::{is_client_key_exchange, last_flight_of_server};

/// The flight is not said again sooner: the client's own flight may have come in several datagrams.
/// Browsers repeat theirs after 50 ms at the soonest.
const APART: Duration = Duration::from_millis(40);
/// Nor more often: Firefox says a flight seven times in 3 s.
const TIMES: u32 = 8;

/// The flight is said again as it was, as a network might that delivers a datagram twice: the client
/// takes each record once (RFC 6347 §4.1.2.6).
pub(super) struct LastFlight {
    flight: Vec<Bytes>,
    /// When it goes.
    until: Instant,
    /// It is not said again before.
    next: Instant,
    /// How often it still may be.
    left: u32,
}

impl LastFlight {
    /// One that was said just now. Where the flight before it was said again in the same moment,
    /// that one is left out: it may stand in one datagram with this one, and clients drop a datagram
    /// that begins with what they know.
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
        // Anybody can write a short one in the browser's name, and must not have it send more.
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
