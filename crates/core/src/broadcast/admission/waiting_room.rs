//! Datagrams of peers whose records have not been read yet.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use rekindle_ids::{TransportAddress, Ufrag};

use super::attempt::{Attempt, NotKept};

/// Most waiting datagrams: a few MB, for as long as reading takes.
pub(super) const MAX_WAITING: usize = 4096;
/// Most STUN checks that name one peer, and most SRTP datagrams from one address.
pub(super) const MAX_OF_ONE: usize = 8;

/// See the module. The limit on waiting datagrams also limits how many records are demanded: each
/// datagram demands at most one.
#[derive(Default)]
pub(super) struct WaitingRoom {
    /// STUN checks by the peer that they name.
    checks: HashMap<Ufrag, VecDeque<(TransportAddress, Bytes)>>,
    /// All other datagrams by their source address.
    addresses: HashMap<TransportAddress, Waiting>,
    /// How many datagrams these are together.
    waiting: usize,
}

/// What waits from one address.
#[derive(Default)]
pub(super) struct Waiting {
    /// The datagrams that begin a handshake.
    pub hello: Attempt<Bytes>,
    /// The ClientHello of one attempt arrived again after that of another one: which of the two the
    /// browser continues is not known.
    pub is_doubtful: bool,
    /// SRTP and SRTCP. Only keys of an earlier process can open it.
    pub media: Vec<Bytes>,
}

impl WaitingRoom {
    /// Keeps a STUN check. Returns whether it is the first one that names this peer.
    ///
    /// # Errors
    /// [`NotKept`] with the reason.
    pub(super) fn keep_check(
        &mut self,
        ufrag: Ufrag,
        from: TransportAddress,
        data: &[u8],
    ) -> Result<bool, NotKept> {
        let checks = self.checks.get_mut(&ufrag);
        if let Some(checks) = checks {
            if checks
                .iter()
                .any(|(address, check)| *address == from && **check == *data)
            {
                return Err(NotKept::Repeated);
            }
            // Browsers wait for the response to the latest check.
            if checks.len() >= MAX_OF_ONE {
                checks.pop_front();
                self.waiting -= 1;
            }
            if self.waiting >= MAX_WAITING {
                return Err(NotKept::Full);
            }
            checks.push_back((from, Bytes::copy_from_slice(data)));
            self.waiting += 1;
            return Ok(false);
        }
        if self.waiting >= MAX_WAITING {
            return Err(NotKept::Full);
        }
        self.waiting += 1;
        let first = (from, Bytes::copy_from_slice(data));
        self.checks.insert(ufrag, VecDeque::from([first]));
        Ok(true)
    }

    /// Keeps a ClientHello or a fragment of one: a browser may send it before its next STUN check.
    ///
    /// # Errors
    /// [`NotKept`] with the reason.
    pub(super) fn keep_hello(
        &mut self,
        from: TransportAddress,
        data: &[u8],
    ) -> Result<(), NotKept> {
        let may_grow = self.waiting < MAX_WAITING;
        if !may_grow && !self.addresses.contains_key(&from) {
            return Err(NotKept::Full);
        }
        let waiting = self.addresses.entry(from).or_default();
        self.waiting -= waiting.hello.len();
        let kept = waiting
            .hello
            .put(data, may_grow, || Bytes::copy_from_slice(data));
        self.waiting += waiting.hello.len();
        waiting.is_doubtful |= kept == Err(NotKept::Over);
        kept
    }

    /// Keeps an SRTP or SRTCP datagram.
    ///
    /// # Errors
    /// [`NotKept`] with the reason.
    pub(super) fn keep_media(
        &mut self,
        from: TransportAddress,
        data: &[u8],
    ) -> Result<(), NotKept> {
        if self.waiting >= MAX_WAITING {
            return Err(NotKept::Full);
        }
        let media = &mut self.addresses.entry(from).or_default().media;
        if media.len() >= MAX_OF_ONE {
            return Err(NotKept::Full);
        }
        media.push(Bytes::copy_from_slice(data));
        self.waiting += 1;
        Ok(())
    }

    /// Takes the checks that name this peer.
    pub(super) fn take_checks(&mut self, ufrag: &Ufrag) -> VecDeque<(TransportAddress, Bytes)> {
        let checks = self.checks.remove(ufrag).unwrap_or_default();
        self.waiting -= checks.len();
        checks
    }

    /// Takes what came from this address.
    pub(super) fn take(&mut self, from: TransportAddress) -> Option<Waiting> {
        let waiting = self.addresses.remove(&from)?;
        self.waiting -= waiting.hello.len() + waiting.media.len();
        Some(waiting)
    }

    /// How many datagrams wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::tests::hello;
    use super::*;

    fn ufrag(n: usize) -> Ufrag {
        Ufrag::new(format!("Viewer{n:010}")).expect("a fragment")
    }

    fn address(port: u16) -> TransportAddress {
        TransportAddress::udp(([192, 0, 2, 1], port))
    }

    /// Counts the waiting datagrams one by one.
    fn counted(room: &WaitingRoom) -> usize {
        let checks = room.checks.values().map(VecDeque::len);
        let others = room
            .addresses
            .values()
            .map(|w| w.hello.len() + w.media.len());
        checks.chain(others).sum()
    }

    #[test]
    fn a_record_is_demanded_by_the_first_check_that_names_it_and_the_latest_checks_wait() {
        let mut room = WaitingRoom::default();
        assert_eq!(room.keep_check(ufrag(1), address(1), &[0]), Ok(true));
        for n in 1..20 {
            assert_eq!(room.keep_check(ufrag(1), address(1), &[n]), Ok(false));
            assert_eq!(
                room.keep_check(ufrag(1), address(1), &[n]),
                Err(NotKept::Repeated)
            );
        }
        assert_eq!(room.keep_check(ufrag(2), address(1), &[0]), Ok(true));
        assert_eq!(room.len(), MAX_OF_ONE + 1);
        let kept: Vec<u8> = room
            .take_checks(&ufrag(1))
            .iter()
            .map(|(_, data)| data[0])
            .collect();
        assert_eq!(kept, (12..20).collect::<Vec<u8>>());
        assert_eq!((room.len(), counted(&room)), (1, 1));
    }

    #[test]
    fn media_takes_no_place_from_a_clienthello() {
        let mut room = WaitingRoom::default();
        for n in 0..20 {
            let expected = if n < MAX_OF_ONE {
                Ok(())
            } else {
                Err(NotKept::Full)
            };
            assert_eq!(room.keep_media(address(1), &[0x80, n as u8]), expected);
        }
        assert_eq!(room.keep_hello(address(1), &hello(1)), Ok(()));
        let waiting = room.take(address(1)).expect("both");
        assert_eq!(
            (waiting.hello.len(), waiting.media.len(), room.len()),
            (1, MAX_OF_ONE, 0)
        );
    }

    #[test]
    fn what_waits_has_a_bound_and_a_later_attempt_is_kept_all_the_same() {
        let mut room = WaitingRoom::default();
        assert_eq!(room.keep_hello(address(1), &hello(1)), Ok(()));
        for n in 1..MAX_WAITING {
            assert_eq!(room.keep_check(ufrag(n), address(1), &[0]), Ok(true));
        }
        assert_eq!(
            room.keep_check(ufrag(0), address(1), &[0]),
            Err(NotKept::Full)
        );
        assert_eq!(
            room.keep_check(ufrag(1), address(1), &[1]),
            Err(NotKept::Full)
        );
        assert_eq!(room.keep_hello(address(2), &hello(1)), Err(NotKept::Full));
        assert_eq!(room.keep_media(address(1), &[0x80]), Err(NotKept::Full));
        assert_eq!(room.keep_hello(address(1), &hello(2)), Ok(()));
        assert_eq!((room.len(), counted(&room)), (MAX_WAITING, MAX_WAITING));
        let waiting = room.take(address(1)).expect("an attempt");
        let hellos: Vec<Bytes> = waiting.hello.into_datagrams().collect();
        assert_eq!(hellos, [hello(2)]);
        assert_eq!(
            (room.len(), counted(&room)),
            (MAX_WAITING - 1, MAX_WAITING - 1)
        );
    }

    #[test]
    fn an_attempt_that_comes_again_after_the_next_one_leaves_doubt() {
        let mut room = WaitingRoom::default();
        room.keep_hello(address(1), &hello(1)).expect("room");
        room.keep_hello(address(1), &hello(2)).expect("room");
        assert_eq!(room.keep_hello(address(1), &hello(1)), Err(NotKept::Over));
        room.keep_hello(address(2), &hello(1)).expect("room");
        room.keep_hello(address(2), &hello(2)).expect("room");
        let doubtful = |room: &mut WaitingRoom, port| {
            room.take(address(port)).expect("an attempt").is_doubtful
        };
        assert!(doubtful(&mut room, 1));
        assert!(!doubtful(&mut room, 2));
    }
}
