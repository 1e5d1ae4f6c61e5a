//! Handshakes wait for their turn. One costs as much as a thousand packets of media, and after a restart all come at once: media and
//! STUN are taken as they come, publishers' handshakes before viewers' (all their viewers wait for them), and of two attempts of one
//! browser only the later one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::broadcast::{Broadcast, ForHandshake, Screened};
use crate::peer::{self, Transmit};
use crate::vault::Role;

/// Datagrams of one address that wait; a flight has fewer.
const MAX_OF_ADDRESS: usize = 8;
/// Addresses that have datagrams waiting. What comes beyond is lost, as on any busy path, and browsers repeat it.
const MAX_ADDRESSES: usize = 16_384;

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is no DTLS.
    No,
    /// It is worth nothing.
    Dropped,
    /// It belongs to nobody who is known yet.
    UnknownAddress,
    /// It waits and will be answered, or has been.
    Answered,
}

/// See the module.
#[derive(Default)]
pub(super) struct Turns {
    publishers: VecDeque<SocketAddr>,
    viewers: VecDeque<SocketAddr>,
    lines: HashMap<SocketAddr, Line>,
}

#[derive(Default)]
struct Line {
    /// The ClientHello that the attempt began with, where it is among the datagrams.
    random: Option<[u8; 32]>,
    datagrams: Vec<ForHandshake>,
}

impl Turns {
    /// Lets a datagram wait, if it is DTLS (RFC 7983 §7) that is worth it.
    pub fn take(
        &mut self,
        core: &mut Broadcast,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Taken {
        if !matches!(data.first(), Some(20..=63)) {
            return Taken::No;
        }
        match core.screen(now, from, data, out) {
            Screened::Dropped => Taken::Dropped,
            Screened::UnknownAddress => Taken::UnknownAddress,
            Screened::Asked => Taken::Answered,
            Screened::Handshake { role, datagrams } => {
                for datagram in datagrams {
                    self.wait(role, from, datagram);
                }
                Taken::Answered
            }
        }
    }

    fn wait(&mut self, role: Role, from: SocketAddr, part: ForHandshake) {
        let full = self.lines.len() >= MAX_ADDRESSES;
        let line = match self.lines.entry(from) {
            Entry::Occupied(line) => line.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(place) => {
                match role {
                    Role::Publisher => self.publishers.push_back(from),
                    Role::Viewer => self.viewers.push_back(from),
                }
                place.insert(Line::default())
            }
        };
        if let Some(random) = peer::client_random(&part.data) {
            match line.random {
                // Said again. The second ClientHello has the same random, and goes on from the first one.
                Some(known) if known == random && line.datagrams.contains(&part) => return,
                Some(known) if known == random => {}
                // The browser has given that attempt up.
                Some(_) => line.datagrams.clear(),
                None => {}
            }
            line.random = Some(random);
        }
        if line.datagrams.len() < MAX_OF_ADDRESS {
            line.datagrams.push(part);
        }
    }

    /// Takes the next address with all that it has sent.
    pub fn next(&mut self) -> Option<(SocketAddr, Vec<ForHandshake>)> {
        let from = self.publishers.pop_front().or_else(|| self.viewers.pop_front())?;
        let line = self.lines.remove(&from)?;
        Some((from, line.datagrams))
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sdp::Setup;

    fn part(data: &[u8]) -> ForHandshake {
        ForHandshake {
            data: Bytes::copy_from_slice(data),
            setup: Setup::Passive,
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// The first fragment of a ClientHello.
    pub fn hello(random: u8) -> Vec<u8> {
        let mut data = vec![0; 60];
        data[0] = 22;
        data[13] = 1;
        data[27..59].fill(random);
        data
    }

    #[test]
    fn publishers_come_before_viewers_and_each_in_the_order_of_arrival() {
        let mut turns = Turns::default();
        let wait = |turns: &mut Turns, role, port, data: &'static [u8]| {
            turns.wait(role, address(port), part(data));
        };
        wait(&mut turns, Role::Viewer, 1, b"\x16a");
        wait(&mut turns, Role::Viewer, 2, b"\x16b");
        wait(&mut turns, Role::Publisher, 3, b"\x16c");
        wait(&mut turns, Role::Viewer, 1, b"\x16d");
        let order: Vec<_> = std::iter::from_fn(|| turns.next()).collect();
        let ports: Vec<u16> = order.iter().map(|(from, _)| from.port()).collect();
        assert_eq!(ports, [3, 1, 2]);
        assert_eq!(order[1].1, [part(b"\x16a"), part(b"\x16d")]);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_browsers_later_attempt_takes_the_place_of_an_earlier_one_and_a_repetition_is_left_out() {
        let mut turns = Turns::default();
        for data in [&hello(1)[..], b"\x16rest", &hello(2), b"\x16rest", &hello(2)] {
            turns.wait(Role::Viewer, address(1), part(data));
        }
        let (_, datagrams) = turns.next().expect("a turn");
        assert_eq!(datagrams, [part(&hello(2)), part(b"\x16rest")]);
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut turns = Turns::default();
        for _ in 0..20 {
            turns.wait(Role::Viewer, address(1), part(b"\x16"));
        }
        for port in 1..=u16::MAX {
            turns.wait(Role::Viewer, address(port), part(b"\x16"));
        }
        assert_eq!(turns.next().expect("a turn").1.len(), MAX_OF_ADDRESS);
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), MAX_ADDRESSES - 1);
    }
}
