//! The handshakes that are under way at one address, while other keys may be in use there.
//!
//! A handshake belongs to an address. Its certificate tells which peer it is for, once it is
//! complete. A page that renews its keys starts again until one completes, and anybody who can send
//! with the browser's address can send ClientHellos too. So several may be under way at once, and
//! none changes keys in use before it is complete. What a stranger can do to them, and what is done
//! about it:
//!
//! - A browser takes the first ServerHello that reaches it, and fails where that answers somebody
//!   else's ClientHello. Two ClientHellos are answered at once ([`Direct`]); while more arrive,
//!   each is first asked for a cookie, which only a client that receives at the address can show.
//! - Plaintext after the ClientHello is accepted only with the certificate that the offer names
//!   ([`Flight`]).

mod screening;
mod under_way;

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::TransportAddress;

use super::Transmit;
use super::active::Active;
use super::agreed::Version;
use super::failures::Failures;
use super::flight::{Fault, Flight};
use super::handshake::{Begin, Begun, Done, DtlsError, LINGER};
use super::last_flight::LastFlight;
use super::pressure::{Budget, Direct};
use super::records::{client_hello, follows, hello_number, is_client_hello_rest, is_protected};
use under_way::UnderWay;

/// Most handshakes under way at one address, without those in which the browser has gone beyond its
/// ClientHello.
const MAX_UNDER_WAY: usize = 2;
/// The same, including those.
const MAX_ADVANCED: usize = 4;
/// How long a ClientHello is recognised as outdated after a newer handshake completed: browsers
/// repeat one for some seconds.
const STALE: Duration = Duration::from_secs(20);
/// Most outdated ClientHellos that are remembered.
const MAX_STALE: usize = 16;

/// See the module.
#[derive(Default)]
pub(crate) struct Handshakes {
    /// The newest first.
    list: Vec<UnderWay>,
    /// ClientHellos that may begin a handshake, and have not been handed in yet.
    waiting: Vec<[u8; 32]>,
    /// ClientHellos from before the last completed handshake, and until when they are remembered.
    /// If one is repeated it must not begin a handshake: its keys would replace newer ones, which
    /// the browser uses.
    stale: Vec<([u8; 32], Instant)>,
    direct: Direct,
    /// For clients that have shown a cookie.
    verified: Budget,
    flight: Flight,
    /// Failures since a handshake last completed or [`Handshakes::take_failures`] last returned
    /// them.
    failures: Failures,
    /// ClientHellos without a cookie that were followed by another one, the latest last, and how
    /// often each was repeated: see [`Handshakes::screen_hello`].
    overtaken: Vec<([u8; 32], u32)>,
    /// Whether another ClientHello was asked for a cookie since the newest handshake began: its
    /// browser may have continued with that one.
    is_challenged: bool,
    /// Whether it is unknown which attempt the browser continues.
    doubtful: bool,
    /// A later fragment of a ClientHello that overtook the first one.
    early: Option<Bytes>,
    /// The handshake in which the server is the client.
    pub active: Active,
}

impl Handshakes {
    /// A handshake was completed with a certificate that no offer names.
    pub(crate) fn is_foreign(&mut self, now: Instant) {
        self.flight.is_foreign(now);
        self.failures.certificate += 1;
    }

    /// No handshake can be completed here, for this cause: those under way are dropped. Returns how
    /// they are counted.
    pub(crate) fn give_up(&mut self, fault: Fault) -> Failures {
        let before = self.list.len();
        self.list.retain(|h| h.drop_at.is_some());
        let over = (before - self.list.len()) as u64;
        // Attempts with a passive peer follow each other, and count as one failure.
        self.active.take_failures();
        let over = over.max(u64::from(fault == Fault::Passive));
        let mut failures = std::mem::take(&mut self.failures);
        failures.count(fault, over);
        failures
    }

    /// The failures so far; none while others are under way, one of which may still complete.
    pub(crate) fn take_failures(&mut self) -> Failures {
        // A page that renews its keys begins several attempts, and one that completes makes up for
        // the others.
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

    /// Whether more ClientHellos arrive here than are answered without a cookie.
    pub(crate) fn is_pressed(&self) -> bool {
        self.direct.is_pressed()
    }

    /// Asks for a cookie from the start: more ClientHellos than that arrive elsewhere, for a
    /// browser that is here now.
    pub(crate) fn press(&mut self, now: Instant) {
        // Where an attempt is under way, its browser is here already and has been screened by what
        // came from here.
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

    /// Takes a datagram that passed [`Handshakes::screen`], and what it [has
    /// shown][`Cookies::shown`]. `start` makes a new handshake.
    ///
    /// [`Cookies::shown`]: super::cookie::Cookies::shown
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &Bytes,
        shown: Begin,
        start: impl FnOnce(Begin) -> Option<Begun>,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        let Some(hello) = client_hello(datagram) else {
            if is_client_hello_rest(datagram) {
                // Message 1 answers a HelloRetryRequest: it belongs to a handshake that has spoken
                // already.
                let again = hello_number(datagram).is_some_and(|number| number > 0);
                let waits = |h: &UnderWay| !h.spoke || again && h.retried && h.drop_at.is_none();
                if !self.list.iter().any(waits) {
                    // The ClientHello was answered, so this is a part of its repetition, and the
                    // first part is enough.
                    tracing::trace!(
                        "a later fragment of a ClientHello is dropped, unless the first one comes \
                         next"
                    );
                    // Under pressure the first fragment has to show a cookie, and a kept one could
                    // be a stranger's.
                    if !self.direct.is_pressed() {
                        self.early = Some(datagram.clone());
                    }
                }
                return self.drive(now, from, out, Some(datagram), waits);
            }
            // Read before the handshakes are driven: the certificate was found in this datagram or
            // an earlier one.
            let answered = self.flight.is_open();
            self.list.iter_mut().for_each(|h| h.answered |= answered);
            // A record does not name its handshake. The wrong one fails on it and is dropped, the
            // right one continues.
            if is_protected(datagram) {
                return self.drive(now, from, out, Some(datagram), |_| true);
            }
            // A completed handshake takes any plaintext for a repetition and repeats its last
            // flight, which spoils a newer attempt that the plaintext is for. So it comes last:
            // only if no other handshake makes progress by it, and only the newest, since its
            // client has left the ones before.
            let done = self.drive(now, from, out, Some(datagram), |h| h.drop_at.is_none());
            if done.is_some() || self.list.iter().any(|h| h.drop_at.is_none()) {
                return done;
            }
            let newest = self.list.iter().find(|h| h.is_last_flight);
            let (random, verified) = newest.map(|h| (h.random, h.verified))?;
            return self.drive(now, from, out, Some(datagram), |h| {
                h.is_last_flight && h.random == random && h.verified == verified
            });
        };
        let random = hello.random;
        self.waiting.retain(|waiting| *waiting != random);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        let verified = shown != Begin::Direct;
        if !self.knows(random, shown) {
            if verified {
                // The client has continued with its second ClientHello.
                self.list
                    .retain(|h| h.random != random || h.drop_at.is_some());
            }
            // Before the new one is counted, so that a flood of ClientHellos replaces its own
            // attempts.
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
                is_last_flight: false,
                handshake,
            };
            // Most addresses see one handshake.
            if self.list.is_empty() {
                self.list.reserve_exact(1);
            }
            // The list is in order of age: `newest` and `make_room` rely on it.
            self.list.insert(0, started);
            self.is_challenged = false;
        }
        let is_this = |h: &UnderWay| h.random == random && h.verified == verified;
        if !verified && hello_number(datagram).is_some_and(|number| number > 0) {
            let this = self.list.iter_mut().find(|h| is_this(h));
            this.into_iter().for_each(|h| h.retried = true);
        }
        let done = self.drive(now, from, out, Some(datagram), is_this);
        // A fragment of another attempt, or of an earlier repetition, would mix two ClientHellos.
        match self.early.take() {
            Some(fragment) if done.is_none() && follows(&fragment, datagram) => {
                self.drive(now, from, out, Some(&fragment), is_this)
            }
            _ => done,
        }
    }

    /// Makes room for one more. A handshake in which the browser has answered is kept before one in
    /// which it has not, and one with a cookie before one without.
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
        from: TransportAddress,
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
        // One pass: expired attempts go, the chosen ones are driven, and those that fail go too.
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
                h.is_last_flight = true;
            }
            out.extend(packets.drain(..).map(|data| Transmit { to: from, data }));
            match result {
                Ok(None) => true,
                Ok(Some(completed)) => {
                    h.drop_at = Some(now + LINGER);
                    // It costs nothing any more, so another one may begin.
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
                    // Only an encrypted record can be the browser's fault; plaintext may be
                    // anybody's.
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
            // The failures were earlier attempts of the browser that has completed this one.
            self.failures = Failures::default();
            self.forget_older(now, place + 1);
            self.direct.reset();
            self.is_challenged = false;
        }
        done
    }

    /// Drops the attempts from this place on, which began earlier: the browser has continued with
    /// another one. An attempt that began later is what it will continue with.
    fn forget_older(&mut self, now: Instant, place: usize) {
        let older = self.list.split_off(place);
        for attempt in older {
            // A completed one may still have to repeat its last flight.
            if attempt.drop_at.is_some() {
                self.list.push(attempt);
            } else {
                self.is_stale(now, attempt.random);
            }
        }
        // If a ClientHello of this one arrives now it was delayed; its client has continued.
        let completed = self.list[place - 1].random;
        self.is_stale(now, completed);
        // Some of the earlier ones never had their turn.
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
        // A full list keeps what it has: an attacker must not push out the browser's own.
        if self.stale.len() < MAX_STALE && self.stale.iter().all(|(known, _)| *known != random) {
            if self.stale.is_empty() {
                self.stale.reserve_exact(1);
            }
            self.stale.push((random, now + STALE));
        }
    }

    /// Retransmits what is due and drops completed handshakes whose time is over.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        from: TransportAddress,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        self.stale.retain(|(_, until)| *until > now);
        let newest = self.newest();
        let pressed = self.direct.is_pressed();
        let active = self.active.next_timeout().is_some_and(|next| next <= now);
        let ours = active
            .then(|| self.active.drive(now, from, None, out))
            .flatten();
        self.drive(now, from, out, None, |h| h.next(newest, pressed) <= now)
            .or(ours)
    }

    /// When [`Handshakes::handle_timeout`] is to be called.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let newest = self.newest();
        let pressed = self.direct.is_pressed();
        let next = self.list.iter().map(|h| h.next(newest, pressed));
        let next = next.chain(self.active.next_timeout()).min();
        // The last of what is remembered goes by itself too: see `is_idle`.
        next.or_else(|| self.stale.iter().map(|(_, until)| *until).max())
    }

    /// Whether nothing is under way or remembered: these might as well be new.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let Self {
            list,
            waiting,
            stale,
            direct,
            verified,
            flight,
            failures,
            overtaken,
            is_challenged,
            doubtful,
            early,
            active,
        } = self;
        list.is_empty()
            && waiting.is_empty()
            && stale.is_empty()
            && direct.is_new()
            && verified.is_full(now)
            && flight.is_faultless()
            && *failures == Failures::default()
            && overtaken.is_empty()
            && !is_challenged
            && !doubtful
            && early.is_none()
            && active.is_idle()
    }

    /// The random of the newest handshake under way; `None` where a newer one waits for its turn or
    /// for its cookie. The client of this one repeats its ClientHello if it still waits for the
    /// answer.
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

/// Tells a client that its handshake has failed: a fatal alert in plaintext (RFC 5246 §7.2.2,
/// `unsupported_certificate`), with a record number that no flight has used.
pub(crate) const ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 43];

#[cfg(test)]
mod tests;
