//! Which datagrams are worth a handshake's time, and which ClientHellos are first asked for a
//! cookie.

use std::borrow::Cow;
use std::time::Instant;

use rekindle_ids::TransportAddress;

use super::Handshakes;
use crate::peer::Transmit;
use crate::peer::cookie::Cookies;
use crate::peer::records::{Hello, client_hello, is_client_hello_rest};

/// Most ClientHellos that wait for their turn.
const MAX_WAITING: usize = 4;
/// How often a ClientHello without a cookie is answered when it is repeated. A browser that lost
/// this many answers may as well be asked for a cookie.
const MAX_HEARD: u32 = 3;
/// Most ClientHellos that were followed by others and are remembered.
const MAX_OVERTAKEN: usize = 8;

/// What is to be done about a ClientHello.
enum Screened {
    Pass,
    AskForCookie,
    Drop(&'static str),
}

impl Handshakes {
    /// Screens a DTLS datagram from `from` before anything is spent on it. Returns what is to be
    /// handed to [`Handshakes::handle`], now or when its turn comes. A ClientHello that needs a
    /// cookie is asked for one, in `out`. `is_expected` returns whether a certificate may come from
    /// this address.
    pub(crate) fn screen<'a>(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &'a [u8],
        cookies: &Cookies,
        is_expected: impl Fn(&[u8]) -> bool,
        out: &mut Vec<Transmit>,
    ) -> Vec<Cow<'a, [u8]>> {
        if let Some(hello) = client_hello(datagram) {
            return match self.screen_hello(now, from, hello, cookies) {
                Screened::Pass => vec![Cow::Borrowed(datagram)],
                Screened::AskForCookie if !cookies.are_given() => {
                    let random = hello.random;
                    let known = self.list.iter().any(|h| h.random == random);
                    if !known && !self.waiting.contains(&random) && !self.verified.take(now) {
                        tracing::trace!("too many handshakes were begun at this address");
                        return Vec::new();
                    }
                    self.awaits_turn(random);
                    vec![Cow::Borrowed(datagram)]
                }
                Screened::AskForCookie => {
                    self.is_challenged |= self
                        .list
                        .first()
                        .is_some_and(|newest| newest.random != hello.random);
                    out.push(Transmit {
                        to: from,
                        data: cookies.request(now, from),
                    });
                    Vec::new()
                }
                Screened::Drop(why) => {
                    tracing::trace!(why, "a ClientHello is dropped");
                    Vec::new()
                }
            };
        }
        if is_client_hello_rest(datagram) {
            return vec![Cow::Borrowed(datagram)];
        }
        if self.list.is_empty() {
            if !self.active.is_under_way() {
                tracing::trace!("DTLS is dropped: no handshake is under way at its address");
            }
            return Vec::new();
        }
        let admitted = self.flight.admit(now, datagram, is_expected);
        if admitted.is_empty() {
            tracing::trace!(
                "DTLS is dropped: it cannot be believed before the certificate that the offer \
                 names has come whole"
            );
        }
        admitted
    }

    /// Only the first ClientHello of each of two attempts tells which attempt is newer. One that is
    /// repeated after that of another attempt may be a late copy, and an answer would spoil the
    /// other attempt; or the other one is a stranger's, and the browser waits for the answer. A
    /// request for a cookie suits both: the browser answers it within its current attempt.
    fn screen_hello(
        &mut self,
        now: Instant,
        from: TransportAddress,
        hello: Hello<'_>,
        cookies: &Cookies,
    ) -> Screened {
        let Hello { random, cookie } = hello;
        self.stale.retain(|(_, until)| *until > now);
        if self.stale.iter().any(|(known, _)| *known == random) {
            return Screened::Drop("a handshake was completed since");
        }
        if cookies.is_good(now, from, cookie) {
            // The same random began a handshake without a cookie, if it was answered at once and
            // another ClientHello was asked for a cookie since: the client continues with this one.
            let known = self.list.iter().any(|h| h.random == random && h.verified);
            if !known && !self.waiting.contains(&random) && !self.verified.take(now) {
                return Screened::Drop("too many handshakes were begun at this address");
            }
        } else if self.list.iter().any(|h| h.random == random && h.verified) {
            return Screened::Drop("its client has gone on to the one with a cookie");
        } else if let Some((_, again)) = self
            .overtaken
            .iter_mut()
            .find(|(known, _)| *known == random)
        {
            *again += 1;
            if *again > MAX_HEARD {
                self.direct.press(now);
            }
            return Screened::AskForCookie;
        } else if let Some(known) = self.list.iter_mut().find(|h| h.random == random) {
            // Each repetition has the flight sent again, which a browser may take for the answer to
            // a ClientHello of its own.
            known.heard += 1;
            if !known.answered && (known.heard > MAX_HEARD || self.direct.is_pressed()) {
                self.direct.press(now);
                return Screened::AskForCookie;
            }
        } else if !self.waiting.contains(&random) {
            if std::mem::take(&mut self.doubtful) {
                self.overtake([random]);
                return Screened::AskForCookie;
            }
            let verified = self.list.iter().any(|h| h.verified && h.drop_at.is_none());
            if !self.direct.take(now, verified) {
                return Screened::AskForCookie;
            }
            let under_way = self
                .list
                .iter()
                .filter(|h| h.drop_at.is_none())
                .map(|h| h.random);
            let before: Vec<_> = under_way.chain(self.waiting.iter().copied()).collect();
            self.overtake(before);
        }
        self.awaits_turn(random);
        Screened::Pass
    }

    /// The attempts whose ClientHellos wait for their turn.
    pub(crate) fn awaited(&self) -> Vec<[u8; 32]> {
        self.waiting.clone()
    }

    /// Whether another ClientHello was asked for a cookie since the newest handshake began.
    pub(crate) fn is_challenged(&self) -> bool {
        self.is_challenged
    }

    /// Whether an attempt waits for its turn that is neither among these nor under way.
    pub(crate) fn has_newer(&self, awaited: &[[u8; 32]]) -> bool {
        self.waiting.iter().any(|random| {
            !awaited.contains(random) && self.list.iter().all(|h| h.random != *random)
        })
    }

    fn awaits_turn(&mut self, random: [u8; 32]) {
        if !self.waiting.contains(&random) {
            self.waiting.insert(0, random);
            self.waiting.truncate(MAX_WAITING);
        }
    }

    /// Notes that ClientHellos with these randoms were followed by another one.
    pub(crate) fn overtake(&mut self, randoms: impl IntoIterator<Item = [u8; 32]>) {
        for random in randoms {
            if self.overtaken.iter().all(|(known, _)| *known != random) {
                self.overtaken.push((random, 0));
            }
        }
        let surplus = self.overtaken.len().saturating_sub(MAX_OVERTAKEN);
        self.overtaken.drain(..surplus);
    }

    /// ClientHellos of several attempts arrived before a peer was known at this address, in an
    /// order that does not show the latest: the next one is asked for a cookie.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }
}
