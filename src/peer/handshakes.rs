//! The handshakes that a peer has under way, beside its live keys.
//!
//! A page that renews its keys starts again and again until one handshake completes, and anybody who can forge the
//! browser's address may send a ClientHello too. So two handshakes may be under way at once, a newcomer pushes out only the
//! older one, and neither touches the live keys before it has completed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Transmit;
use super::dtls::{Admitted, Completed, HANDSHAKE_TIMEOUT, Handshake, is_client_hello_rest};

/// Handshakes of one peer under way at once.
const MAX_UNDER_WAY: usize = 2;
/// How long a completed handshake stays to repeat its last flight, should that have been lost.
const LINGER: Duration = Duration::from_secs(5);
/// Until the browser has answered, the first flight is repeated so often by itself. A browser that did not get it says its ClientHello
/// again, and is answered again; a stranger whose address somebody used is left alone.
const UNASKED_REPEATS: u32 = 2;
/// For so long a ClientHello is known again whose handshake a newer one was completed before: browsers repeat one for some seconds.
const STALE: Duration = Duration::from_secs(20);
/// As many are remembered.
const MAX_STALE: usize = 16;
/// A handshake that a newer one has overtaken is given up after this: a true one needs a few round trips.
const OVERTAKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for every handshake while all places are taken: one that stands still must not keep others out.
const CONTESTED_TIMEOUT: Duration = Duration::from_secs(2);
/// New handshakes in a row, and per second after that. A page starts at most two a second.
const BURST: u32 = 8;
const REFILL: Duration = Duration::from_millis(250);

/// A handshake that has just completed.
pub(super) struct Done {
    pub completed: Completed,
    pub from: SocketAddr,
    pub at: Instant,
    /// From its first ClientHello.
    pub took: Duration,
}

struct UnderWay {
    random: [u8; 32],
    from: SocketAddr,
    started: Instant,
    /// Set once complete.
    drop_at: Option<Instant>,
    /// More than a ClientHello came.
    answered: bool,
    /// How often a flight was repeated before that.
    repeated: u32,
    /// Its place among those under way; free again once it is complete.
    admitted: Option<Admitted>,
    handshake: Box<dyn Handshake>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Handshakes {
    /// The newest first.
    list: Vec<UnderWay>,
    /// ClientHellos from before the last completed handshake, and until when they are remembered. One that comes again must not begin
    /// anew: its keys would take the place of newer ones, which the browser uses.
    stale: Vec<([u8; 32], Instant)>,
    /// Token bucket for new handshakes: how many were started beyond what has been refilled, and since when that is counted.
    spent: u32,
    counted_at: Option<Instant>,
    /// A later fragment of a ClientHello that overtook the first one.
    early: Option<(SocketAddr, Bytes)>,
}

impl Handshakes {
    /// Takes a DTLS datagram; `random` is its ClientHello's, if it starts one. `start` makes a new handshake.
    pub fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        random: Option<[u8; 32]>,
        datagram: &[u8],
        start: impl FnOnce() -> Option<(Box<dyn Handshake>, Admitted)>,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        let Some(random) = random else {
            let expected = self.list.iter().any(|h| h.from == from && h.drop_at.is_none());
            if !expected && is_client_hello_rest(datagram) {
                self.early = Some((from, Bytes::copy_from_slice(datagram)));
            }
            if !is_client_hello_rest(datagram) {
                let of_address = self.list.iter_mut().filter(|h| h.from == from);
                of_address.for_each(|h| h.answered = true);
            }
            // A record does not tell its handshake; the wrong one fails on it and falls away, the right one goes on.
            return self.drive(now, out, Some(datagram), |h| h.from == from);
        };
        self.stale.retain(|(_, until)| *until > now);
        if self.stale.iter().any(|(known, _)| *known == random) {
            return None;
        }
        if !self.list.iter().any(|h| h.random == random && h.from == from) {
            if !self.allow(now) {
                return None;
            }
            let pushed_out = self.list.iter().rposition(|h| h.drop_at.is_none());
            if let Some(last) = pushed_out.filter(|_| self.under_way() >= MAX_UNDER_WAY) {
                self.list.remove(last);
            }
            let Some((handshake, admitted)) = start() else {
                tracing::debug!("as many handshakes are under way as there may be: a ClientHello is dropped");
                return None;
            };
            let started = UnderWay {
                random,
                from,
                started: now,
                drop_at: None,
                answered: false,
                repeated: 0,
                admitted: Some(admitted),
                handshake,
            };
            self.list.insert(0, started);
        }
        let done = self.drive(now, out, Some(datagram), |h| h.random == random && h.from == from);
        match self.early.take() {
            Some((address, fragment)) if address == from && done.is_none() => {
                self.drive(now, out, Some(&fragment), |h| h.random == random && h.from == from)
            }
            _ => done,
        }
    }

    fn under_way(&self) -> usize {
        self.list.iter().filter(|h| h.drop_at.is_none()).count()
    }

    /// Whether one more handshake may start now.
    fn allow(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(*self.counted_at.get_or_insert(now));
        let refilled = u32::try_from(since.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if refilled > 0 {
            self.spent = self.spent.saturating_sub(refilled);
            self.counted_at = Some(now);
        }
        if self.spent >= BURST {
            return false;
        }
        self.spent += 1;
        true
    }

    fn drive(
        &mut self,
        now: Instant,
        out: &mut Vec<Transmit>,
        datagram: Option<&[u8]>,
        which: impl Fn(&UnderWay) -> bool,
    ) -> Option<Done> {
        let mut done = None;
        let mut finished = None;
        let mut packets = Vec::new();
        let newest = self.newest();
        self.list.retain_mut(|h| {
            if h.ends(newest) <= now {
                return false;
            }
            if !which(h) {
                return true;
            }
            let result = h.handshake.drive(now, datagram, &mut packets);
            h.repeated += u32::from(datagram.is_none() && !packets.is_empty());
            out.extend(packets.drain(..).map(|data| Transmit { to: h.from, data }));
            match result {
                Ok(None) => true,
                Ok(Some(completed)) => {
                    h.drop_at = Some(now + LINGER);
                    h.admitted = None;
                    let took = now.saturating_duration_since(h.started);
                    done = Some(Done {
                        completed,
                        from: h.from,
                        at: now,
                        took,
                    });
                    finished = Some((h.random, h.from));
                    true
                }
                Err(error) => {
                    tracing::debug!(%error, "a DTLS handshake was dropped");
                    false
                }
            }
        });
        let place = self.list.iter().position(|h| Some((h.random, h.from)) == finished);
        if let Some(place) = place {
            self.forget_older(now, place + 1);
        }
        done
    }

    /// The browser has gone on from the attempts that began before: those from this place on. One that began later is what it goes on to.
    fn forget_older(&mut self, now: Instant, place: usize) {
        let older = self.list.split_off(place);
        for attempt in older {
            if attempt.drop_at.is_some() {
                self.list.push(attempt);
            } else if self.stale.len() < MAX_STALE {
                self.stale.push((attempt.random, now + STALE));
            }
        }
    }

    /// Retransmits what is due and drops what has lingered long enough.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Transmit>) -> Option<Done> {
        let newest = self.newest();
        self.drive(now, out, None, |h| h.next(newest) <= now)
    }

    /// When to call [`Handshakes::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let newest = self.newest();
        self.list.iter().map(|h| h.next(newest)).min()
    }

    /// The random of the newest handshake under way.
    fn newest(&self) -> Option<[u8; 32]> {
        self.list.iter().find(|h| h.drop_at.is_none()).map(|h| h.random)
    }
}

impl UnderWay {
    /// When it has something to do. Only the newest handshake repeats its flights by itself: a browser that has begun another one would
    /// take an older one's ServerHello for its own, and fail.
    fn next(&self, newest: Option<[u8; 32]>) -> Instant {
        let end = self.ends(newest);
        let may_repeat = self.answered || self.repeated < UNASKED_REPEATS;
        if self.drop_at.is_some() || Some(self.random) == newest && may_repeat {
            end.min(self.handshake.next_timeout())
        } else {
            end
        }
    }

    /// When it goes, whatever happens.
    fn ends(&self, newest: Option<[u8; 32]>) -> Instant {
        let contested = self.admitted.as_ref().is_some_and(Admitted::is_contested);
        match self.drop_at {
            Some(at) => at,
            None if contested => self.started + CONTESTED_TIMEOUT,
            None if Some(self.random) != newest => self.started + OVERTAKEN_TIMEOUT,
            None => self.started + HANDSHAKE_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dtls::{DtlsError, Load};
    use super::super::srtp::{Profile, SessionKeys};
    use super::*;

    /// Completes when it is told to.
    struct Puppet(Instant);

    impl Handshake for Puppet {
        fn drive(
            &mut self,
            now: Instant,
            datagram: Option<&[u8]>,
            _: &mut Vec<Bytes>,
        ) -> Result<Option<Completed>, DtlsError> {
            self.0 = now + Duration::from_secs(1);
            let keys = || SessionKeys::new(Profile::AeadAes128Gcm, &[0; 56]).expect("keys");
            Ok((datagram == Some(b"finished")).then(|| Completed {
                certificate: Vec::new(),
                keys: keys(),
            }))
        }

        fn next_timeout(&self) -> Instant {
            self.0
        }
    }

    struct World {
        now: Instant,
        handshakes: Handshakes,
        begun: u32,
    }

    impl World {
        fn new() -> Self {
            Self {
                now: Instant::now(),
                handshakes: Handshakes::default(),
                begun: 0,
            }
        }

        fn take(&mut self, port: u16, random: Option<u8>, datagram: &[u8]) -> bool {
            let from = SocketAddr::from(([192, 0, 2, 1], port));
            let begun = &mut self.begun;
            let now = self.now;
            let start = || {
                *begun += 1;
                Some((Box::new(Puppet(now)) as Box<dyn Handshake>, Load::for_tests()))
            };
            let random = random.map(|byte| [byte; 32]);
            self.handshakes
                .handle(now, from, random, datagram, start, &mut Vec::new())
                .is_some()
        }
    }

    #[test]
    fn a_newer_attempt_goes_on_when_an_older_one_completes() {
        let mut world = World::new();
        world.take(1, Some(1), b"hello");
        world.take(2, Some(2), b"hello");
        assert!(world.take(1, None, b"finished"));
        assert!(world.take(2, None, b"finished"));
        assert_eq!(world.begun, 2);
    }

    #[test]
    fn an_older_attempt_cannot_begin_anew_once_a_newer_one_has_completed() {
        let mut world = World::new();
        world.take(1, Some(1), b"hello");
        world.take(2, Some(2), b"hello");
        assert!(world.take(2, None, b"finished"));
        assert!(!world.take(1, Some(1), b"hello"), "said again, since no answer came");
        assert!(!world.take(1, None, b"finished"));
        assert_eq!(world.begun, 2);
        world.now += STALE;
        world.take(1, Some(1), b"hello");
        assert_eq!(world.begun, 3, "forgotten in the end");
    }
}
