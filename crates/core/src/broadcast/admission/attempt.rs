//! The datagrams with which a browser begins a handshake, while they wait: those of its latest
//! attempt only.
//!
//! A page that abandons an attempt begins another one with a new random (RFC 8446 §4.1.2). If the
//! earlier attempt were answered, the browser would take that answer for one to its new attempt,
//! and fail.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use crate::peer::client_random;

/// Most datagrams of one attempt; a flight has fewer.
pub(super) const MAX_DATAGRAMS: usize = 8;
/// Most ClientHellos of earlier attempts that are remembered.
const MAX_OVER: usize = 16;
/// Type, version and epoch of a record (RFC 6347 §4.1); its sequence number follows, then its
/// length.
const BEFORE_NUMBER: usize = 5;
const AFTER_NUMBER: usize = 11;
const RECORD_HEADER: usize = 13;

/// Why a datagram is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKept {
    #[error("it waits already")]
    Repeated,
    #[error("its attempt was followed by another one")]
    Over,
    #[error("as many wait as may")]
    Full,
}

/// See the module.
pub(super) struct Attempt<T> {
    /// The random of its ClientHello, where that is among the datagrams.
    random: Option<[u8; 32]>,
    datagrams: Vec<Kept<T>>,
    /// Digests and randoms of the ClientHellos of earlier attempts, the latest last.
    over: Vec<(u64, [u8; 32])>,
}

struct Kept<T> {
    digest: u64,
    /// The random of the ClientHello whose first fragment this datagram has.
    random: Option<[u8; 32]>,
    datagram: T,
}

impl<T> Default for Attempt<T> {
    fn default() -> Self {
        Self {
            random: None,
            datagrams: Vec::new(),
            over: Vec::new(),
        }
    }
}

impl<T> Attempt<T> {
    /// Adds a datagram, which `keep` makes. The ClientHello of a new attempt replaces the earlier
    /// attempt. `may_grow`: there is room for one more datagram.
    ///
    /// # Errors
    /// [`NotKept`] with the reason.
    pub(super) fn put(
        &mut self,
        data: &[u8],
        may_grow: bool,
        keep: impl FnOnce() -> T,
    ) -> Result<(), NotKept> {
        let digest = digest(data);
        if self.datagrams.iter().any(|kept| kept.digest == digest) {
            return Err(NotKept::Repeated);
        }
        if self.over.iter().any(|(known, _)| *known == digest) {
            return Err(NotKept::Over);
        }
        let random = client_random(data);
        // The second ClientHello of an attempt, the one with the cookie, has the random of the
        // first.
        let is_new = random.is_some() && self.random.is_some() && self.random != random;
        let room = (may_grow || is_new && !self.datagrams.is_empty())
            && (is_new || self.len() < MAX_DATAGRAMS);
        if !room {
            return Err(NotKept::Full);
        }
        if is_new {
            self.end();
        }
        self.random = random.or(self.random);
        self.datagrams.push(Kept {
            digest,
            random,
            datagram: keep(),
        });
        Ok(())
    }

    /// The browser has given the attempt up.
    fn end(&mut self) {
        let hellos = self.datagrams.drain(..);
        self.over
            .extend(hellos.filter_map(|kept| Some((kept.digest, kept.random?))));
        let surplus = self.over.len().saturating_sub(MAX_OVER);
        self.over.drain(..surplus);
    }

    /// The randoms of earlier attempts, the latest last.
    pub(super) fn over(&self) -> impl Iterator<Item = [u8; 32]> {
        self.over.iter().map(|(_, random)| *random)
    }

    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// All waiting datagrams, in order of arrival.
    pub(super) fn into_datagrams(self) -> impl Iterator<Item = T> {
        self.datagrams.into_iter().map(|kept| kept.datagram)
    }
}

/// Distinguishes datagrams, repetitions included: a repeated record has another sequence number
/// (RFC 6347 §4.2.4).
fn digest(datagram: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = datagram;
    while let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (record, next) = body.split_at(length.min(body.len()));
        hasher.write(&header[..BEFORE_NUMBER]);
        hasher.write(&header[AFTER_NUMBER..]);
        hasher.write(record);
        rest = next;
    }
    hasher.write(rest);
    hasher.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The first fragment of a ClientHello, in a record of this number.
    pub fn numbered(random: u8, number: u8) -> Vec<u8> {
        let mut data = vec![0; 60];
        data[0] = 22;
        data[10] = number;
        data[12] = 47;
        data[13] = 1;
        data[27..59].fill(random);
        data
    }

    pub fn hello(random: u8) -> Vec<u8> {
        numbered(random, 0)
    }

    fn put(attempt: &mut Attempt<Vec<u8>>, data: &[u8]) -> Result<(), NotKept> {
        attempt.put(data, true, || data.to_vec())
    }

    fn waiting(attempt: Attempt<Vec<u8>>) -> Vec<Vec<u8>> {
        attempt.into_datagrams().collect()
    }

    #[test]
    fn a_later_attempt_takes_the_place_of_an_earlier_one_which_does_not_come_back() {
        let mut attempt = Attempt::default();
        assert_eq!(put(&mut attempt, &hello(1)), Ok(()));
        assert_eq!(put(&mut attempt, b"\x16rest"), Ok(()));
        assert_eq!(put(&mut attempt, &hello(2)), Ok(()));
        assert_eq!(put(&mut attempt, &numbered(1, 5)), Err(NotKept::Over));
        assert_eq!(
            put(&mut attempt, b"\x16rest"),
            Ok(()),
            "it may be the new one's"
        );
        assert_eq!(waiting(attempt), [hello(2), b"\x16rest".to_vec()]);
    }

    #[test]
    fn a_repetition_waits_once_though_its_record_has_another_number() {
        let mut attempt = Attempt::default();
        for number in 0..20 {
            let expected = if number == 0 {
                Ok(())
            } else {
                Err(NotKept::Repeated)
            };
            assert_eq!(put(&mut attempt, &numbered(1, number)), expected);
        }
        let mut with_cookie = hello(1);
        with_cookie.extend([0, 1, 9]);
        assert_eq!(put(&mut attempt, &with_cookie), Ok(()));
        assert_eq!(waiting(attempt), [hello(1), with_cookie]);
    }

    #[test]
    fn a_fragment_that_overtakes_its_clienthello_waits_with_it() {
        let mut attempt = Attempt::default();
        assert_eq!(put(&mut attempt, b"\x16rest"), Ok(()));
        assert_eq!(put(&mut attempt, &hello(1)), Ok(()));
        assert_eq!(waiting(attempt), [b"\x16rest".to_vec(), hello(1)]);
    }

    #[test]
    fn where_there_is_no_more_room_a_new_attempt_has_that_of_the_one_before() {
        let mut attempt = Attempt::default();
        assert_eq!(put(&mut attempt, &hello(1)), Ok(()));
        for n in 1..MAX_DATAGRAMS {
            assert_eq!(put(&mut attempt, &[22, n as u8]), Ok(()));
        }
        assert_eq!(put(&mut attempt, b"\x16more"), Err(NotKept::Full));
        assert_eq!(attempt.put(&hello(2), false, || hello(2)), Ok(()));
        assert_eq!(
            attempt.put(b"\x16more", false, Vec::new),
            Err(NotKept::Full)
        );
        assert_eq!(waiting(attempt), [hello(2)]);
    }
}
