//! The handshakes that are under way at one address, beside whatever keys are live there.
//!
//! A handshake belongs to an address; whose it is, its certificate says once it is complete. A page
//! that renews its keys starts again and again until one completes, and anybody who can send with
//! the browser's address may send ClientHellos too: so several may be under way at once, and none
//! touches live keys before it has completed. What a stranger can do to them:
//!
//! - A browser takes the first ServerHello that reaches it, and fails where that answers somebody
//!   else's ClientHello. Two ClientHellos are answered at once ([`Direct`]); while more come, each
//!   is asked for a cookie first, which only who receives at the address can show.
//! - Plaintext after the ClientHello is taken only with the certificate that the offer names
//!   ([`Flight`]).

mod screening;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Transmit;
use super::active::Active;
use super::agreed::Version;
use super::failures::Failures;
use super::flight::{Fault, Flight};
use super::handshake::{Begin, Begun, Done, DtlsError, HANDSHAKE_TIMEOUT, Handshake, LINGER};
use super::last_flight::LastFlight;
use super::load::Admitted;
use super::pressure::{Budget, Direct};
use super::records::{client_hello, follows, hello_number, is_client_hello_rest, is_protected};

/// Handshakes under way at one address, but for those in which the browser has gone on from its
/// ClientHello.
const MAX_UNDER_WAY: usize = 2;
/// The same, with those.
const MAX_ADVANCED: usize = 4;
/// Until the browser has answered, the first flight is repeated so often by itself. A browser that
/// did not get it says its ClientHello again, and is answered again; a stranger whose address
/// somebody used is left alone.
const UNASKED_REPEATS: u32 = 2;
/// For so long a ClientHello is known again whose handshake a newer one was completed before:
/// browsers repeat one for some seconds.
const STALE: Duration = Duration::from_secs(20);
/// As many are remembered.
const MAX_STALE: usize = 16;
/// A handshake that a newer one has overtaken is given up after this: a true one needs a few round
/// trips.
const OVERTAKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for every handshake while all places are taken: one that stands still must not keep
/// others out.
const CONTESTED_TIMEOUT: Duration = Duration::from_secs(2);

struct UnderWay {
    random: [u8; 32],
    started: Instant,
    /// Whoever began it receives what is sent to its address.
    verified: bool,
    /// Set once complete.
    drop_at: Option<Instant>,
    /// How often its ClientHello was repeated.
    heard: u32,
    /// The server has answered.
    spoke: bool,
    /// It has asked for another ClientHello (a HelloRetryRequest, RFC 9147 §5.2), and the first
    /// fragment of that one has come.
    retried: bool,
    /// The browser has gone on: its certificate came in plaintext (DTLS 1.2). In DTLS 1.3 this
    /// shows only when all is complete.
    answered: bool,
    /// How often a flight was repeated before that.
    repeated: u32,
    /// Its place among those under way; free again once it is complete.
    admitted: Option<Admitted>,
    handshake: Box<dyn Handshake>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Handshakes {
    /// The newest first.
    list: Vec<UnderWay>,
    /// ClientHellos that may begin a handshake, and have not been handed in yet.
    waiting: Vec<[u8; 32]>,
    /// ClientHellos from before the last completed handshake, and until when they are remembered.
    /// One that comes again must not begin anew: its keys would take the place of newer ones, which
    /// the browser uses.
    stale: Vec<([u8; 32], Instant)>,
    direct: Direct,
    /// For those that have shown a cookie.
    verified: Budget,
    flight: Flight,
    /// Those that failed since one was last completed or [`Handshakes::take_failures`] gave them
    /// away.
    failures: Failures,
    /// ClientHellos without a cookie that were followed by another one, the latest last: see
    /// [`Handshakes::screen_hello`]. With how often each came again.
    overtaken: Vec<([u8; 32], u32)>,
    /// Since the newest handshake began, another ClientHello was asked for a cookie: its browser
    /// may have gone on to that.
    is_challenged: bool,
    /// Which attempt the browser goes on with is not known.
    doubtful: bool,
    /// A later fragment of a ClientHello that overtook the first one.
    early: Option<Bytes>,
    /// The handshake in which the server is the client.
    pub active: Active,
}

impl Handshakes {
    /// One was completed with a certificate that nobody's offer names.
    pub(crate) fn is_foreign(&mut self, now: Instant) {
        self.flight.is_foreign(now);
        self.failures.certificate += 1;
    }

    /// No handshake can be completed here, for this cause: those under way are over. How they
    /// count.
    pub(crate) fn give_up(&mut self, fault: Fault) -> Failures {
        let before = self.list.len();
        self.list.retain(|h| h.drop_at.is_some());
        let over = (before - self.list.len()) as u64;
        // Attempts with a passive peer follow each other, and are one failure.
        self.active.take_failures();
        let over = over.max(u64::from(fault == Fault::Passive));
        let mut failures = std::mem::take(&mut self.failures);
        failures.count(fault, over);
        failures
    }

    /// Those that have failed; none while others are under way, one of which may be completed.
    pub(crate) fn take_failures(&mut self) -> Failures {
        if self.active.is_under_way() || self.list.iter().any(|h| h.drop_at.is_none()) {
            return Failures::default();
        }
        let mut failures = std::mem::take(&mut self.failures);
        failures += self.active.take_failures();
        failures
    }

    /// Why no handshake can be completed here, if that is certain.
    pub(crate) fn fault(&self, now: Instant) -> Option<Fault> {
        self.flight.fault(now).or_else(|| self.active.fault(now))
    }

    /// Whether more ClientHellos come here than are answered at once.
    pub(crate) fn is_pressed(&self) -> bool {
        self.direct.is_pressed()
    }

    /// They do elsewhere, for a browser that is here now: it is asked for a cookie from the start.
    pub(crate) fn press(&mut self, now: Instant) {
        if self.list.is_empty() && self.waiting.is_empty() {
            self.direct.press(now);
        }
    }

    /// Whether this datagram begins a handshake, given what it has shown.
    pub(crate) fn begins(&self, datagram: &[u8], shown: Begin) -> bool {
        client_hello(datagram).is_some_and(|hello| !self.knows(hello.random, shown))
    }

    fn knows(&self, random: [u8; 32], shown: Begin) -> bool {
        let verified = shown != Begin::Direct;
        self.list
            .iter()
            .any(|h| h.random == random && h.verified == verified)
    }

    /// Takes what [`Handshakes::screen`] has let pass, and what it [has shown][`Cookies::shown`].
    /// `start` makes a new handshake.
    ///
    /// [`Cookies::shown`]: super::cookie::Cookies::shown
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &Bytes,
        shown: Begin,
        start: impl FnOnce(Begin) -> Option<Begun>,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        let Some(hello) = client_hello(datagram) else {
            if is_client_hello_rest(datagram) {
                let again = hello_number(datagram).is_some_and(|number| number > 0);
                let waits = |h: &UnderWay| !h.spoke || again && h.retried && h.drop_at.is_none();
                if !self.list.iter().any(waits) {
                    // Where the ClientHello was answered, this is a part of its repetition, and the
                    // first part is enough.
                    tracing::trace!(
                        "a later fragment of a ClientHello is dropped, unless the first one comes \
                         next"
                    );
                    if !self.direct.is_pressed() {
                        self.early = Some(datagram.clone());
                    }
                }
                return self.drive(now, from, out, Some(datagram), waits);
            }
            let answered = self.flight.is_open();
            self.list.iter_mut().for_each(|h| h.answered |= answered);
            // A record does not tell its handshake; the wrong one fails on it and falls away, the
            // right one goes on.
            if is_protected(datagram) {
                return self.drive(now, from, out, Some(datagram), |_| true);
            }
            // One that is complete takes any plaintext for a repetition, and says its last flight
            // again, which spoils a newer attempt that the plaintext is for. So it comes last:
            // where no other one goes on from it.
            let done = self.drive(now, from, out, Some(datagram), |h| h.drop_at.is_none());
            if done.is_some() || self.list.iter().any(|h| h.drop_at.is_none()) {
                return done;
            }
            return self.drive(now, from, out, Some(datagram), |h| h.drop_at.is_some());
        };
        let random = hello.random;
        self.waiting.retain(|waiting| *waiting != random);
        let verified = shown != Begin::Direct;
        if !self.knows(random, shown) {
            if verified {
                // The client has gone on to its second ClientHello.
                self.list
                    .retain(|h| h.random != random || h.drop_at.is_some());
            }
            self.make_room();
            let Some((handshake, admitted)) = start(shown) else {
                tracing::debug!(
                    "as many handshakes are under way as there may be: a ClientHello is dropped"
                );
                return None;
            };
            self.flight.begin();
            let started = UnderWay {
                random,
                started: now,
                verified,
                drop_at: None,
                heard: 0,
                spoke: false,
                retried: false,
                answered: false,
                repeated: 0,
                admitted: Some(admitted),
                handshake,
            };
            self.list.insert(0, started);
            self.is_challenged = false;
        }
        let is_this = |h: &UnderWay| h.random == random && h.verified == verified;
        if !verified && hello_number(datagram).is_some_and(|number| number > 0) {
            let this = self.list.iter_mut().find(|h| is_this(h));
            this.into_iter().for_each(|h| h.retried = true);
        }
        let done = self.drive(now, from, out, Some(datagram), is_this);
        // One of another attempt, or of the repetition before, would make a ClientHello of two.
        match self.early.take() {
            Some(fragment) if done.is_none() && follows(&fragment, datagram) => {
                self.drive(now, from, out, Some(&fragment), is_this)
            }
            _ => done,
        }
    }

    /// Makes room for one more. One in which the browser has answered is not pushed out by one that
    /// has not, and one that has shown a cookie stays longer than one that has not.
    fn make_room(&mut self) {
        let under_way = |h: &UnderWay| h.drop_at.is_none();
        let place = |list: &[UnderWay], which: fn(&UnderWay) -> bool| list.iter().rposition(which);
        let fresh = self
            .list
            .iter()
            .filter(|h| under_way(h) && !h.answered)
            .count();
        if fresh >= MAX_UNDER_WAY {
            let last = place(&self.list, |h| {
                h.drop_at.is_none() && !h.answered && !h.verified
            })
            .or_else(|| place(&self.list, |h| h.drop_at.is_none() && !h.answered));
            last.map(|last| self.list.remove(last));
        }
        if self.list.iter().filter(|h| under_way(h)).count() >= MAX_ADVANCED {
            place(&self.list, |h| h.drop_at.is_none()).map(|last| self.list.remove(last));
        }
    }

    fn drive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        out: &mut Vec<Transmit>,
        datagram: Option<&[u8]>,
        which: impl Fn(&UnderWay) -> bool,
    ) -> Option<Done> {
        let mut done = None;
        let mut finished = None;
        let mut failed = false;
        let mut refused = false;
        let mut packets = Vec::new();
        let newest = self.newest();
        let failures = &mut self.failures;
        self.list.retain_mut(|h| {
            if h.ends(newest) <= now {
                failures.timeout += u64::from(h.drop_at.is_none());
                return false;
            }
            if !which(h) {
                return true;
            }
            let result = h.handshake.drive(now, datagram, &mut packets);
            h.repeated += u32::from(datagram.is_none() && !packets.is_empty());
            h.spoke |= !packets.is_empty();
            // In DTLS 1.3 an acknowledgement is asked for by a record that only the keys can tell.
            if let Ok(Some(completed)) = &result
                && completed.agreed.version == Version::Dtls12
            {
                h.handshake = Box::new(LastFlight::new(&packets, now));
            }
            out.extend(packets.drain(..).map(|data| Transmit { to: from, data }));
            match result {
                Ok(None) => true,
                Ok(Some(completed)) => {
                    h.drop_at = Some(now + LINGER);
                    h.admitted = None;
                    let took = now.saturating_duration_since(h.started);
                    done = Some(Done {
                        completed,
                        from,
                        at: now,
                        took,
                    });
                    finished = Some((h.random, h.started));
                    true
                }
                Err(error) => {
                    tracing::debug!(%error, "a DTLS handshake was dropped");
                    if matches!(error, DtlsError::PeerNotPostQuantum) {
                        failures.post_quantum += 1;
                        refused = true;
                    } else {
                        failures.error += u64::from(h.drop_at.is_none());
                    }
                    failed |= datagram.is_some_and(is_protected);
                    false
                }
            }
        });
        if failed {
            self.flight.failed(now);
        }
        if refused {
            self.flight.is_not_post_quantum(now);
        }
        let place = self
            .list
            .iter()
            .position(|h| Some((h.random, h.started)) == finished);
        if let Some(place) = place {
            self.failures = Failures::default();
            self.forget_older(now, place + 1);
            self.direct.reset();
            self.is_challenged = false;
        }
        done
    }

    /// The browser has gone on from the attempts that began before: those from this place on. One
    /// that began later is what it goes on to.
    fn forget_older(&mut self, now: Instant, place: usize) {
        let older = self.list.split_off(place);
        for attempt in older {
            if attempt.drop_at.is_some() {
                self.list.push(attempt);
            } else {
                self.is_stale(now, attempt.random);
            }
        }
        // A ClientHello of this one that comes now was on its way for long; its client has gone on.
        let completed = self.list[place - 1].random;
        self.is_stale(now, completed);
        // Some of those that came before never had their turn.
        let known = self
            .overtaken
            .iter()
            .position(|(random, _)| *random == completed);
        let later = self
            .overtaken
            .split_off(known.map_or(self.overtaken.len(), |known| known + 1));
        for (random, _) in std::mem::replace(&mut self.overtaken, later) {
            if random != completed {
                self.is_stale(now, random);
            }
        }
    }

    fn is_stale(&mut self, now: Instant, random: [u8; 32]) {
        if self.stale.len() < MAX_STALE && self.stale.iter().all(|(known, _)| *known != random) {
            self.stale.push((random, now + STALE));
        }
    }

    /// Retransmits what is due and drops what has lingered long enough.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        from: SocketAddr,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        let newest = self.newest();
        let pressed = self.direct.is_pressed();
        let active = self.active.next_timeout().is_some_and(|next| next <= now);
        let ours = active
            .then(|| self.active.drive(now, from, None, out))
            .flatten();
        self.drive(now, from, out, None, |h| h.next(newest, pressed) <= now)
            .or(ours)
    }

    /// When to call [`Handshakes::handle_timeout`].
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let newest = self.newest();
        let pressed = self.direct.is_pressed();
        let next = self.list.iter().map(|h| h.next(newest, pressed));
        next.chain(self.active.next_timeout()).min()
    }

    /// The random of the newest handshake under way; `None` where a newer one waits for its turn or
    /// for its cookie. The client of this one says its ClientHello again where it still waits for
    /// the answer.
    fn newest(&self) -> Option<[u8; 32]> {
        let newest = self.list.iter().find(|h| h.drop_at.is_none())?;
        let is_overtaken = match newest.verified {
            true => self.is_challenged,
            false => self
                .overtaken
                .iter()
                .any(|(random, _)| *random == newest.random),
        };
        (!is_overtaken).then_some(newest.random)
    }
}

/// What tells a client that its handshake has failed: a fatal alert in plaintext (RFC 5246 §7.2.2,
/// `unsupported_certificate`), with a record number that no flight has used.
pub(crate) const ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 43];

impl UnderWay {
    /// When it has something to do. Only the newest handshake repeats its flights by itself: a
    /// browser that has begun another one would take an older one's ServerHello for its own, and
    /// fail. Where somebody sends ClientHellos in the browser's name (`pressed`), one that has
    /// shown no cookie is answered only when its client asks again.
    fn next(&self, newest: Option<[u8; 32]>, pressed: bool) -> Instant {
        let end = self.ends(newest);
        let may_repeat =
            (self.verified || !pressed) && (self.answered || self.repeated < UNASKED_REPEATS);
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
mod tests;
