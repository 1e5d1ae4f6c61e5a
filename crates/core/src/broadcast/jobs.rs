//! The expensive part of a handshake, as a job that any thread can do.
//!
//! A turn of a handshake (key exchange, signature) costs as much as a thousand packets of media,
//! and after a restart all browsers want theirs at once. So the handshakes at an address can be
//! taken out of the core together with the datagrams whose turn it is: [`Broadcast::poll_job`]
//! gives a [`Job`], [`Job::run`] does it and needs nothing that is not in it, and
//! [`Broadcast::job_done`] takes back what came of it. Several may be out at once and come back in
//! any order. While a job has the handshakes of an address, DTLS from there waits in its place and
//! is screened when they are back. Whose turn it is, who is asked for a cookie, and whose the keys
//! are is decided in the core alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::Role;
use rekindle_sdp::Setup;
use rekindle_secrets::stack;

use super::hub::Broadcast;
use super::payload::{ForHandshake, Payload};
use crate::peer::{Begin, Done, Dtls, Failures, Handshakes, Transmit};

/// Datagrams that wait at an address while a job has its handshakes; a flight has fewer.
const MAX_WAITING: usize = 8;
/// A job that has not come back after so long is given up: its address begins with no handshakes.
/// One takes less than a millisecond, and browsers repeat what nobody has answered.
const LOST: Duration = Duration::from_secs(2);
const LEFT: &str = "what came of a handshake's job is dropped: its address was left meanwhile";

/// A turn of the handshakes at one address, with all that it needs. Nothing is printed or copied of
/// it, and what it holds wipes itself when it is dropped.
pub struct Job(Box<Work>);

/// A [`Job`] that was done. It may hold session keys, which are of use to nobody before the core
/// has compared the certificate: see [`Broadcast::job_done`].
pub struct Finished(Box<Work>);

/// In a box, so that passing it on leaves no copies.
struct Work {
    place: usize,
    number: u64,
    now: Instant,
    from: SocketAddr,
    role: Role,
    /// What the server shows in a handshake that begins.
    dtls: Arc<Dtls>,
    handshakes: Box<Handshakes>,
    /// What is handed in, with what it has shown.
    parts: Vec<(ForHandshake, Begin)>,
    /// Those concerned know that one begins.
    is_told: bool,
    begun: bool,
    /// One has begun with who has shown no cookie.
    trusts: bool,
    /// Handshakes for which there was no place.
    busy: u64,
    failures: Failures,
    done: Vec<Done>,
    out: Vec<Transmit>,
}

impl Job {
    /// Whose turn it is: a publisher's job is to be done before viewers'.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Does it, in the time that [`Broadcast::poll_job`] was told.
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
    Here(Box<Handshakes>),
    Out(Errand),
}

/// A job that is out.
pub(super) struct Errand {
    number: u64,
    since: Instant,
    waiting: Vec<Bytes>,
    /// The server is to say its ClientHello to this peer.
    greets: Option<usize>,
}

impl Default for Custody {
    fn default() -> Self {
        Self::Here(Box::default())
    }
}

impl Custody {
    /// The handshakes, unless a job has them.
    pub(super) fn here(&self) -> Option<&Handshakes> {
        match self {
            Self::Here(handshakes) => Some(handshakes),
            Self::Out(_) => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn here_mut(&mut self) -> Option<&mut Handshakes> {
        match self {
            Self::Here(handshakes) => Some(handshakes),
            Self::Out(_) => None,
        }
    }

    /// Gives up a job that does not come back.
    pub(super) fn give_up_lost(&mut self, now: Instant) {
        if let Self::Out(errand) = self
            && now.saturating_duration_since(errand.since) >= LOST
        {
            tracing::warn!("a handshake's job did not come back; its address begins anew");
            *self = Self::default();
        }
    }

    /// A datagram waits until the job that is out comes back. Whether there is room.
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

    /// The server is to say its ClientHello when the job is back.
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
            Self::Here(handshakes) => Some(handshakes),
            out @ Self::Out(_) => {
                *self = out;
                None
            }
        }
    }

    /// What waited, if this is the job that is out.
    fn give_back(&mut self, number: u64, handshakes: Box<Handshakes>) -> Option<Errand> {
        match std::mem::replace(self, Self::Here(handshakes)) {
            Self::Out(errand) if errand.number == number => Some(errand),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Broadcast {
    /// At how many addresses handshakes wait for their turn.
    pub fn waiting_handshakes(&self) -> usize {
        self.admission.waiting()
    }

    /// The handshakes whose turn it is, as a job; `None` where nobody waits. Publishers come first.
    /// Who has no threads for jobs leaves them to [`Broadcast::handle_timeout`].
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
        from: SocketAddr,
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
        // The certificate that this server shows is the owner's, or of who waits for keys, or of
        // who came last. New peers all have the same; others are there after it was changed.
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
        // Now, not when it is done: a page that hears of it begins no other one.
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

    /// Takes back what came of a job, in whatever order. What it has to send is appended to `out`;
    /// keys are put to use if the certificate is one that an offer names. Where the address has
    /// been left meanwhile, all of it is dropped.
    pub fn job_done(&mut self, now: Instant, finished: Finished, out: &mut Vec<Transmit>) {
        let work = *finished.0;
        self.counts.failures += work.failures;
        self.counts.failures.busy += work.busy;
        let (key, from) = (work.place, work.from);
        let Some(place) = self.addresses.get_mut(key) else {
            return tracing::trace!("{}", LEFT);
        };
        let awaited = work.handshakes.awaited();
        let Some(errand) = place.handshakes.give_back(work.number, work.handshakes) else {
            return tracing::trace!("{}", LEFT);
        };
        if work.begun && !work.is_told {
            let candidates: Vec<usize> = place.candidates().collect();
            self.tell_begun(&candidates);
        }
        let mut then = Vec::new();
        self.after_handshakes(now, key, None, &mut then);
        for done in work.done {
            self.after_handshakes(now, key, Some(done), &mut then);
        }
        self.look_for_keys(now, from);
        for data in errand.waiting {
            self.admit(now, from, Payload::Kept(data), &mut then);
        }
        let place = self.addresses.get(key);
        let handshakes = place.and_then(|place| place.handshakes.here());
        // The browser may have gone on to that one: it would take this answer for the other one's,
        // and fail. Who has shown a cookie is a browser, and the other one may be anybody's.
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

    /// Works on the handshake whose turn it is, here and now.
    pub(super) fn take_turn(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        if let Some(job) = self.poll_job(now) {
            self.job_done(now, job.run(), out);
        }
    }
}

#[cfg(test)]
mod tests;
