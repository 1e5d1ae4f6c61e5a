//! DTLS at an address: which datagrams are worth a handshake's time, and which peer a completed
//! handshake belongs to.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::{Role, TransportAddress};
use rekindle_sdp::Setup;
use rekindle_secrets::stack;

use super::Event;
use super::hub::{Broadcast, MIN_TICK};
use super::payload::{ForHandshake, Payload, Screened};
use super::timers::Timer;
use crate::peer::{Done, Transmit};

/// How long a browser is asked for a cookie at its new port, where somebody sends ClientHellos in
/// its name and it has moved to another port, as Firefox does with each renewal: an attacker who
/// knew the earlier port may soon know the new one.
const PRESSED: Duration = Duration::from_secs(5);
/// How long a completed handshake waits for its peer to be known.
const ORPHANED: Duration = Duration::from_secs(5);

impl Broadcast {
    /// Screens a DTLS datagram. A ClientHello that needs a cookie is answered in `out` by a request
    /// for one.
    pub(super) fn screen(
        &mut self,
        now: Instant,
        from: TransportAddress,
        payload: &mut Payload<'_>,
        out: &mut Vec<Transmit>,
    ) -> Screened {
        let Some(key) = self.addresses.find(from) else {
            return Screened::UnknownAddress;
        };
        let Some(place) = self.addresses.get_mut(key) else {
            return Screened::UnknownAddress;
        };
        // Without a check nobody has shown credentials for this address, and an answer could go to
        // a stranger.
        if !place.is_proven(now) {
            tracing::trace!("DTLS is dropped: no check has come from its address lately");
            return Screened::Dropped;
        }
        let candidates: Vec<usize> = place.candidates().collect();
        let members = &self.members;
        let is_expected = |certificate: &[u8]| {
            let of = |id: &usize| {
                members
                    .get(*id)
                    .is_some_and(|member| member.peer.is_of(certificate))
            };
            candidates.iter().any(of)
        };
        let was_pressed = |id: &usize| {
            let pressed = members.get(*id).and_then(|member| member.pressed);
            pressed.is_some_and(|at| now.saturating_duration_since(at) < PRESSED)
        };
        place.handshakes.give_up_lost(now);
        let Some(handshakes) = place.handshakes.here_mut() else {
            if place.handshakes.wait(payload) {
                return Screened::Waits;
            }
            tracing::trace!("DTLS is dropped: as much as may waits for a job at its address");
            return Screened::Dropped;
        };
        // Only now: `press` has an effect only where no attempt is under way yet.
        if candidates.iter().any(was_pressed) {
            handshakes.press(now);
        }
        // A request for a cookie is written to `out` by the screening itself.
        let before = out.len();
        let ours = handshakes.active.takes(now, payload.data());
        let theirs = handshakes.screen(now, from, payload.data(), &self.cookies, is_expected, out);
        // Borrowed data is the whole datagram.
        let theirs: Vec<Option<Vec<u8>>> = theirs
            .into_iter()
            .map(|part| match part {
                Cow::Borrowed(_) => None,
                Cow::Owned(part) => Some(part),
            })
            .collect();
        let mut datagrams: Vec<ForHandshake> = theirs
            .into_iter()
            .map(|part| ForHandshake {
                data: part.map_or_else(|| payload.keep(), Bytes::from),
                setup: Setup::Passive,
            })
            .collect();
        datagrams.extend(ours.then(|| ForHandshake {
            data: payload.keep(),
            setup: Setup::Active,
        }));
        if handshakes.is_pressed() {
            for id in &candidates {
                if let Some(member) = self.members.get_mut(*id) {
                    member.pressed = Some(now);
                }
            }
        }
        if datagrams.is_empty() {
            return if out.len() > before {
                Screened::Asked
            } else {
                Screened::Dropped
            };
        }
        Screened::Handshake {
            role: self.role_at(&candidates),
            datagrams,
        }
    }

    /// Publisher, where one of these is a publisher: all its viewers wait for it.
    pub(super) fn role_at(&self, candidates: &[usize]) -> Role {
        let publishes = |id: &usize| {
            self.members
                .get(*id)
                .is_some_and(|m| m.role() == Role::Publisher)
        };
        match candidates.iter().any(publishes) {
            true => Role::Publisher,
            false => Role::Viewer,
        }
    }

    /// Begins a handshake as the DTLS client with a peer that wants to be the DTLS server and has
    /// nominated this address. Not where other peers claim the address: the answer could be any of
    /// theirs.
    pub(super) fn begin_active(
        &mut self,
        now: Instant,
        id: usize,
        address: TransportAddress,
        out: &mut Vec<Transmit>,
    ) {
        let Some(member) = self
            .members
            .get(id)
            .filter(|member| member.peer.awaits_hello())
        else {
            return;
        };
        let Some(key) = self.addresses.find(address) else {
            return;
        };
        let Some(place) = self.addresses.get_mut(key) else {
            return;
        };
        // An answer from here could be of any of them, and would be taken for this peer's.
        if place.candidates().any(|other| other != id) {
            return;
        }
        place.handshakes.give_up_lost(now);
        let Some(handshakes) = place.handshakes.here_mut() else {
            return place.handshakes.greet_later(id);
        };
        if handshakes.active.is_under_way() {
            return;
        }
        let Some(begun) = member.dtls.begin_active(member.role(), now) else {
            self.counts.failures.busy += 1;
            tracing::debug!(
                "as many handshakes are under way as there may be: none is begun with a peer that \
                 is passive"
            );
            return;
        };
        handshakes.active.begin(now, address, begun, out);
        stack::wipe();
        self.tell_begun(&[id]);
        self.after_handshakes(now, key, None, out);
    }

    /// Reports that a ClientHello has come, to the peers that wait for keys; where none does, to
    /// the owner, which renews its keys.
    pub(super) fn tell_begun(&mut self, candidates: &[usize]) {
        let keyless = candidates
            .iter()
            .copied()
            .filter(|id| !self.members[*id].peer.is_connected());
        // Peers with keys hear of it only if nobody waits: a stranger's ClientHello must not worry
        // their pages.
        let mut who: Vec<usize> = keyless.collect();
        if who.is_empty() {
            who.extend(candidates.first());
        }
        for id in who {
            let ufrag = self.members[id].ufrag.clone();
            self.events.push_back(Event::Handshake { ufrag });
        }
    }

    pub(super) fn handshakes_timeout(
        &mut self,
        now: Instant,
        at: Instant,
        key: usize,
        out: &mut Vec<Transmit>,
    ) {
        let Some(place) = self
            .addresses
            .get_mut(key)
            .filter(|place| place.armed == Some(at))
        else {
            return;
        };
        place.armed = None;
        // Set again when the job is back.
        let Some(handshakes) = place.handshakes.here_mut() else {
            return;
        };
        let done = handshakes.handle_timeout(now, place.address, out);
        // The timer of an orphan expires when its peer may have become known.
        let done = done.or_else(|| place.orphan.take().map(|orphan| *orphan));
        stack::wipe();
        let next = handshakes
            .next_timeout()
            .map(|next| next.max(now + MIN_TICK));
        self.timers
            .arm(Timer::Handshakes(key), next, &mut place.armed);
        self.after_handshakes(now, key, done, out);
        if let Some(place) = self.addresses.get_mut(key) {
            place.handshakes.rest(now);
        }
    }

    /// Gives the keys of a completed handshake to the peer whose certificate was shown, and sets
    /// the timer.
    pub(super) fn after_handshakes(
        &mut self,
        now: Instant,
        key: usize,
        done: Option<Done>,
        out: &mut Vec<Transmit>,
    ) {
        if let Some(place) = self.addresses.get_mut(key)
            && let Some(handshakes) = place.handshakes.here_mut()
        {
            let next = handshakes.next_timeout();
            self.timers
                .arm(Timer::Handshakes(key), next, &mut place.armed);
            self.counts.failures += handshakes.take_failures();
        }
        let Some(done) = done else { return };
        let Some(place) = self.addresses.get_mut(key) else {
            return;
        };
        let members = &self.members;
        let whose = place
            .candidates()
            .find(|id| members[*id].peer.is_of(done.certificate()));
        match whose {
            Some(id) => self.give_keys(now, id, done, out),
            None if now.saturating_duration_since(done.at) < ORPHANED => {
                // The browser has done its part, so its keys wait for the record instead of being
                // dropped.
                let until = done.at + ORPHANED;
                place.orphan = Some(Box::new(done));
                self.timers
                    .arm(Timer::Handshakes(key), Some(until), &mut place.armed);
            }
            None => {
                tracing::warn!(
                    "a DTLS handshake ended with a certificate that no offer of its address names; \
                     ignored"
                );
                if let Some(handshakes) = place.handshakes.here_mut() {
                    handshakes.is_foreign(now);
                    self.counts.failures += handshakes.take_failures();
                }
            }
        }
    }

    /// A peer has come to this address or claims it: a handshake that was completed there may be
    /// its own.
    pub(super) fn look_for_keys(&mut self, now: Instant, address: TransportAddress) {
        let key = self.addresses.find(address);
        let place = key.and_then(|key| self.addresses.get_mut(key));
        if let Some((key, place)) = key.zip(place).filter(|(_, place)| place.orphan.is_some()) {
            self.timers
                .arm(Timer::Handshakes(key), Some(now), &mut place.armed);
        }
    }

    fn give_keys(&mut self, now: Instant, id: usize, done: Done, out: &mut Vec<Transmit>) {
        let member = &mut self.members[id];
        member.heard.get_or_insert(now);
        // At an address that the browser has left, an attempt may end after a later one has
        // completed elsewhere.
        let began = done.at.checked_sub(done.took);
        if member.peer.is_connected() && began < member.keyed {
            tracing::debug!(
                "a DTLS handshake is ignored: the keys in use are of one that began later"
            );
            return;
        }
        member.keyed = began;
        let address = done.from;
        member.peer.take_keys(done);
        self.counts.handshakes += 1;
        self.addresses.own(now, id, address, &mut self.members);
        self.settle(now, id, out);
    }
}
