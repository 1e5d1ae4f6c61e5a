//! The order of handshakes. A handshake costs as much as a thousand packets of media, and after a
//! restart all browsers begin one at once. So media and STUN are handled as they arrive,
//! publishers' handshakes come before viewers' (all viewers of a channel wait for its publisher),
//! and of two attempts of one browser only the later one is kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rekindle_ids::{Role, TransportAddress};

use super::attempt::{Attempt, NotKept};
use crate::broadcast::payload::ForHandshake;

/// Most addresses with waiting datagrams. Datagrams of further addresses are dropped, as on any
/// congested path; browsers repeat them.
pub(super) const MAX_ADDRESSES: usize = 16_384;

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    publishers: VecDeque<TransportAddress>,
    viewers: VecDeque<TransportAddress>,
    waiting: HashMap<TransportAddress, Attempt<ForHandshake>>,
    /// Since when it has not been empty.
    since: Option<Instant>,
}

impl Queue {
    /// Adds a datagram to those that wait for the turn of its address.
    ///
    /// # Errors
    /// [`NotKept`] with the reason.
    pub(super) fn put(
        &mut self,
        now: Instant,
        role: Role,
        from: TransportAddress,
        part: ForHandshake,
    ) -> Result<(), NotKept> {
        let full = self.waiting.len() >= MAX_ADDRESSES;
        let attempt = match self.waiting.entry(from) {
            Entry::Occupied(attempt) => attempt.into_mut(),
            Entry::Vacant(_) if full => return Err(NotKept::Full),
            Entry::Vacant(place) => {
                match role {
                    Role::Publisher => self.publishers.push_back(from),
                    Role::Viewer => self.viewers.push_back(from),
                }
                place.insert(Attempt::default())
            }
        };
        self.since.get_or_insert(now);
        let data = part.data.clone();
        attempt.put(&data, true, || part)
    }

    /// Takes the next address with all its waiting datagrams.
    pub(super) fn next(
        &mut self,
    ) -> Option<(TransportAddress, impl Iterator<Item = ForHandshake> + use<>)> {
        let from = self
            .publishers
            .pop_front()
            .or_else(|| self.viewers.pop_front())?;
        let attempt = self.waiting.remove(&from)?;
        if self.waiting.is_empty() {
            self.since = None;
        }
        Some((from, attempt.into_datagrams()))
    }

    /// How many addresses wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Since when an address has been waiting.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::attempt::MAX_DATAGRAMS;
    use super::super::attempt::tests::hello;
    use super::*;
    use rekindle_sdp::Setup;

    fn part(data: &[u8]) -> ForHandshake {
        ForHandshake {
            data: Bytes::copy_from_slice(data),
            setup: Setup::Passive,
        }
    }

    fn address(port: u16) -> TransportAddress {
        TransportAddress::udp(([192, 0, 2, 1], port))
    }

    fn next(queue: &mut Queue) -> Option<(TransportAddress, Vec<ForHandshake>)> {
        queue.next().map(|(from, parts)| (from, parts.collect()))
    }

    #[test]
    fn publishers_come_before_viewers_and_each_in_the_order_of_arrival() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for (role, port, data) in [
            (Role::Viewer, 1, b"\x16a"),
            (Role::Viewer, 2, b"\x16b"),
            (Role::Publisher, 3, b"\x16c"),
            (Role::Viewer, 1, b"\x16d"),
        ] {
            queue
                .put(now, role, address(port), part(data))
                .expect("room");
        }
        assert_eq!(queue.since(), Some(now));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        let ports: Vec<u16> = order.iter().map(|(from, _)| from.socket.port()).collect();
        assert_eq!(ports, [3, 1, 2]);
        assert_eq!(order[1].1, [part(b"\x16a"), part(b"\x16d")]);
        assert_eq!(queue.since(), None);
    }

    #[test]
    fn a_browsers_later_attempt_takes_the_place_of_an_earlier_one_and_a_repetition_is_left_out() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for data in [
            &hello(1)[..],
            b"\x16rest",
            &hello(2),
            b"\x16rest",
            &hello(2),
        ] {
            let _ = queue.put(now, Role::Viewer, address(1), part(data));
        }
        let (_, datagrams) = next(&mut queue).expect("a turn");
        assert_eq!(datagrams, [part(&hello(2)), part(b"\x16rest")]);
    }

    #[test]
    fn what_waits_has_a_bound() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for n in 0..20 {
            let _ = queue.put(now, Role::Viewer, address(1), part(&[22, n]));
        }
        for port in 1..=u16::MAX {
            let kept = queue.put(now, Role::Viewer, address(port), part(b"\x16"));
            let expected = match port {
                1 => Err(NotKept::Full),
                port if usize::from(port) <= MAX_ADDRESSES => Ok(()),
                _ => Err(NotKept::Full),
            };
            assert_eq!(kept, expected, "{port}");
        }
        assert_eq!(next(&mut queue).expect("a turn").1.len(), MAX_DATAGRAMS);
        assert_eq!(
            std::iter::from_fn(|| queue.next().map(drop)).count(),
            MAX_ADDRESSES - 1
        );
    }
}
