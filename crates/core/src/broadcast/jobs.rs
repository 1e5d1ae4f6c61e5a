//! The expensive part of a handshake, as a job that any thread can do.
//!
//! A turn of a handshake (key exchange, signature) costs as much as a thousand packets of media,
//! and after a restart all browsers want theirs at once. So the handshakes at an address can be
//! taken out of the core together with the datagrams whose turn it is. [`Broadcast::poll_job`]
//! returns a [`Job`], [`Job::run`] does the work and needs nothing from outside, and
//! [`Broadcast::job_done`] takes back the result. Several jobs may be out at once and come back in
//! any order. While a job has the handshakes of an address, DTLS from there waits with the address,
//! and is screened when they are back. The core alone decides which handshake is next, who is asked
//! for a cookie, and which peer gets the keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::{Role, TransportAddress};
use rekindle_sdp::Setup;
use rekindle_secrets::stack;

use super::hub::Broadcast;
use super::payload::{ForHandshake, Payload};
use crate::peer::{Begin, Done, Dtls, Failures, Handshakes, Transmit};

/// Most datagrams that wait at an address while a job has its handshakes; a flight has fewer.
const MAX_WAITING: usize = 8;
/// A job that has not come back within this time is given up: its address starts again without
/// handshakes. A job takes less than a millisecond, and browsers repeat what was not answered.
const LOST: Duration = Duration::from_secs(2);
const LEFT: &str = "what came of a handshake's job is dropped: its address was left meanwhile";

/// A turn of the handshakes at one address, with all that it needs. It can be neither printed nor
/// copied, and wipes its secrets when it is dropped.
pub struct Job(Box<Work>);

/// A [`Job`] that was done. It may hold session keys, which are used only after the core has
/// compared the certificate: see [`Broadcast::job_done`].
pub struct Finished(Box<Work>);

/// Boxed, so that moving it leaves no copies.
struct Work {
    place: usize,
    number: u64,
    now: Instant,
    from: TransportAddress,
    role: Role,
    /// The identity that the server shows in a handshake that begins.
    dtls: Arc<Dtls>,
    handshakes: Box<Handshakes>,
    /// The datagrams to hand in, each with what it has shown.
    parts: Vec<(ForHandshake, Begin)>,
    /// Whether the peers concerned have been told that a handshake begins.
    is_told: bool,
    begun: bool,
    /// Whether one has begun with a client that has shown no cookie.
    trusts: bool,
    /// How many handshakes found no place.
    busy: u64,
    failures: Failures,
    done: Vec<Done>,
    out: Vec<Transmit>,
}

impl Job {
    /// Whose turn it is: publishers' jobs are to be done before viewers'.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Does the work, at the time that [`Broadcast::poll_job`] was given.
    #[must_use]
    pub fn run(mut self) -> Finished {
        self.0.run();
        stack::wipe();
        Finished(self.0)
    }
}

impl Work {
    fn run(&mut self) {
        for (part, shown) in std::mem::take(&mut self.parts) {
            let done = match part.setup {
                Setup::Active => {
                    let active = &mut self.handshakes.active;
                    active.drive(self.now, self.from, Some(&part.data), &mut self.out)
                }
                Setup::Passive => self.answer(&part.data, shown),
            };
            self.done.extend(done);
            self.failures += self.handshakes.take_failures();
        }
    }

    fn answer(&mut self, data: &Bytes, shown: Begin) -> Option<Done> {
        let (now, role, dtls) = (self.now, self.role, &self.dtls);
        let (begun, trusts, busy) = (&mut self.begun, &mut self.trusts, &mut self.busy);
        let start = |begin: Begin| {
            *begun = true;
            *trusts |= begin == Begin::Direct;
            let handshake = dtls.begin(role, begin, now);
            *busy += u64::from(handshake.is_none());
            handshake
        };
        self.handshakes
            .handle(now, self.from, data, shown, start, &mut self.out)
    }
}

/// The handshakes at an address, or what waits for them while a job has them.
pub(super) enum Custody {
    /// `None` where there are none and nothing of earlier ones is remembered, as at the addresses of
    /// nearly all peers most of the time.
    Here(Option<Box<Handshakes>>),
    Out(Errand),
}

/// A job that is out.
pub(super) struct Errand {
    number: u64,
    since: Instant,
    waiting: Vec<Bytes>,
    /// The peer for which the server is to begin a handshake as the client.
    greets: Option<usize>,
}

impl Default for Custody {
    fn default() -> Self {
        Self::Here(None)
    }
}

impl Custody {
    /// The handshakes, if there are any and no job has them.
    pub(super) fn here(&self) -> Option<&Handshakes> {
        match self {
            Self::Here(handshakes) => handshakes.as_deref(),
            Self::Out(_) => None,
        }
    }

    /// The handshakes, unless a job has them. Creates them where there are none.
    pub(super) fn here_mut(&mut self) -> Option<&mut Handshakes> {
        match self {
            Self::Here(handshakes) => Some(handshakes.get_or_insert_default()),
            Self::Out(_) => None,
        }
    }

    /// Frees the memory of handshakes that might as well be new.
    pub(super) fn rest(&mut self, now: Instant) {
        if let Self::Here(handshakes) = self {
            handshakes.take_if(|handshakes| handshakes.is_idle(now));
        }
    }

    /// Gives up a job that has not come back in time.
    pub(super) fn give_up_lost(&mut self, now: Instant) {
        if let Self::Out(errand) = self
            && now.saturating_duration_since(errand.since) >= LOST
        {
            tracing::warn!("a handshake's job did not come back; its address begins anew");
            *self = Self::default();
        }
    }

    /// Keeps a datagram until the job comes back. Returns whether there was room.
    pub(super) fn wait(&mut self, payload: &mut Payload<'_>) -> bool {
        let Self::Out(errand) = self else {
            return false;
        };
        let has_room = errand.waiting.len() < MAX_WAITING;
        if has_room {
            errand.waiting.push(payload.keep());
        }
        has_room
    }

    /// Begins a handshake as the client when the job is back.
    pub(super) fn greet_later(&mut self, id: usize) {
        if let Self::Out(errand) = self {
            errand.greets = Some(id);
        }
    }

    fn take(&mut self, now: Instant, number: u64) -> Option<Box<Handshakes>> {
        let errand = Errand {
            number,
            since: now,
            waiting: Vec::new(),
            greets: None,
        };
        match std::mem::replace(self, Self::Out(errand)) {
            Self::Here(handshakes) => Some(handshakes.unwrap_or_default()),
            out @ Self::Out(_) => {
                *self = out;
                None
            }
        }
    }

    /// The waiting datagrams, if this is the job that is out.
    fn give_back(&mut self, number: u64, handshakes: Box<Handshakes>) -> Option<Errand> {
        match std::mem::replace(self, Self::Here(Some(handshakes))) {
            Self::Out(errand) if errand.number == number => Some(errand),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Broadcast {
    /// The number of addresses whose handshakes wait for their turn.
    pub fn waiting_handshakes(&self) -> usize {
        self.admission.waiting()
    }

    /// The handshakes whose turn it is, as a job; `None` where none waits. Publishers come first.
    /// Callers without threads for jobs leave them to [`Broadcast::handle_timeout`].
    pub fn poll_job(&mut self, now: Instant) -> Option<Job> {
        loop {
            let (from, parts) = self.admission.next_turn()?;
            if let Some(job) = self.make_job(now, from, parts) {
                return Some(job);
            }
        }
    }

    fn make_job(
        &mut self,
        now: Instant,
        from: TransportAddress,
        parts: Vec<ForHandshake>,
    ) -> Option<Job> {
        let Some(key) = self.addresses.find(from) else {
            tracing::trace!(
                "DTLS is dropped: who was at its address has left before its turn came"
            );
            return None;
        };
        let place = self.addresses.get(key)?;
        let candidates: Vec<usize> = place.candidates().collect();
        let role = self.role_at(&candidates);
        // The certificate to show is that of the owner, or of a peer that waits for keys, or of the
        // latest claimant. New peers all have the same one; there are others after it was changed.
        let awaited = |id: &usize| self.members[*id].is_awaited();
        let shows = place
            .owner
            .or_else(|| candidates.iter().copied().find(awaited))
            .or_else(|| candidates.first().copied());
        let Some(dtls) = shows.map(|id| self.members[id].dtls.clone()) else {
            tracing::trace!("DTLS is dropped: nobody is at its address any more");
            return None;
        };
        let cookies = &self.cookies;
        let parts = parts.into_iter().map(|part| {
            let shown = cookies.shown(now, from, &part.data);
            (part, shown)
        });
        let parts: Vec<_> = parts.collect();
        self.jobs += 1;
        let number = self.jobs;
        let place = self.addresses.get_mut(key)?;
        let Some(handshakes) = place.handshakes.take(now, number) else {
            for (part, _) in parts {
                place.handshakes.wait(&mut Payload::Kept(part.data));
            }
            return None;
        };
        let begins = |(part, shown): &(ForHandshake, Begin)| {
            part.setup == Setup::Passive && handshakes.begins(&part.data, *shown)
        };
        // Now, not when the job is done: a page that hears of it begins no other attempt.
        let is_told = parts.iter().any(begins);
        if is_told {
            self.tell_begun(&candidates);
        }
        Some(Job(Box::new(Work {
            place: key,
            number,
            now,
            from,
            role,
            dtls,
            handshakes,
            parts,
            is_told,
            begun: false,
            trusts: false,
            busy: 0,
            failures: Failures::default(),
            done: Vec::new(),
            out: Vec::new(),
        })))
    }

    /// Takes back the result of a job, in any order. Datagrams to send are appended to `out`. Keys
    /// are used if the certificate is one that an offer names. If all peers have left the address
    /// meanwhile, everything is dropped.
    pub fn job_done(&mut self, now: Instant, finished: Finished, out: &mut Vec<Transmit>) {
        let work = *finished.0;
        self.counts.failures += work.failures;
        self.counts.failures.busy += work.busy;
        let (key, from) = (work.place, work.from);
        let Some(place) = self.addresses.get_mut(key) else {
            return tracing::trace!("{}", LEFT);
        };
        // Before they are given back: what arrives from here on is newer than this job.
        let awaited = work.handshakes.awaited();
        let Some(errand) = place.handshakes.give_back(work.number, work.handshakes) else {
            return tracing::trace!("{}", LEFT);
        };
        if work.begun && !work.is_told {
            let candidates: Vec<usize> = place.candidates().collect();
            self.tell_begun(&candidates);
        }
        // What follows from the result goes out after the answer itself.
        let mut then = Vec::new();
        self.after_handshakes(now, key, None, &mut then);
        for done in work.done {
            self.after_handshakes(now, key, Some(done), &mut then);
        }
        self.look_for_keys(now, from);
        // After the keys: a ClientHello among these must find the state that the job has left.
        for data in errand.waiting {
            self.admit(now, from, Payload::Kept(data), &mut then);
        }
        let place = self.addresses.get(key);
        let handshakes = place.and_then(|place| place.handshakes.here());
        // The browser may have continued with the other attempt: it would take this answer for one
        // to that attempt, and fail. A client that has shown a cookie is a browser, and the other
        // attempt may be anybody's.
        let is_overtaken = handshakes.is_some_and(|handshakes| {
            handshakes.has_newer(&awaited) || work.trusts && handshakes.is_challenged()
        });
        if is_overtaken {
            tracing::trace!("a handshake is not answered: another one has come meanwhile");
        } else {
            out.extend(work.out);
        }
        out.append(&mut then);
        if let Some(id) = errand.greets {
            self.begin_active(now, id, from, out);
        }
        self.forwarding.run(out);
    }

    /// Does the next handshake's work here and now.
    pub(super) fn take_turn(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        if let Some(job) = self.poll_job(now) {
            self.job_done(now, job.run(), out);
        }
    }
}

#[cfg(test)]
mod tests;
