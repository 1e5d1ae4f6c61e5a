//! DTLS at an address: which datagrams are worth a handshake's time, and whose a completed handshake is.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::Event;
use super::hub::{Broadcast, MIN_TICK};
use super::timers::Timer;
use crate::peer::{Begin, Begun, Done, Transmit};
use crate::stack;
use crate::vault::Role;

/// What became of a DTLS datagram before anything was spent on it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Screened {
    /// It is worth nothing.
    Dropped,
    /// Its sender was asked to show that he is where it says.
    Asked,
    /// It is, or sets free, what should be handed to [`Broadcast::shake`], in this order, now or when its turn comes.
    Handshake {
        /// A publisher's, or one of somebody who may be one.
        role: Role,
        /// What is to be handed in.
        datagrams: Vec<Bytes>,
    },
    /// No peer is at the address that it comes from.
    UnknownAddress,
}

impl Broadcast {
    /// Looks at a DTLS datagram. A ClientHello that needs a cookie is asked for one, in `out`.
    pub(crate) fn screen(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) -> Screened {
        let Some(key) = self.addresses.find(from) else {
            return Screened::UnknownAddress;
        };
        let Some(place) = self.addresses.get_mut(key) else {
            return Screened::UnknownAddress;
        };
        if !place.is_proven(now) {
            tracing::trace!("DTLS is dropped: no check has come from its address lately");
            return Screened::Dropped;
        }
        let candidates: Vec<usize> = place.candidates().collect();
        let members = &self.members;
        let is_expected = |certificate: &[u8]| {
            let of = |id: &usize| members.get(*id).is_some_and(|member| member.peer.is_of(certificate));
            candidates.iter().any(of)
        };
        let before = out.len();
        let datagrams = place
            .handshakes
            .screen(now, from, data, &self.cookies, is_expected, out);
        if datagrams.is_empty() {
            return if out.len() > before {
                Screened::Asked
            } else {
                Screened::Dropped
            };
        }
        Screened::Handshake {
            role: self.role_at(&candidates),
            datagrams: datagrams.iter().map(|data| Bytes::copy_from_slice(data)).collect(),
        }
    }

    /// A publisher's, where one of these is one: all its viewers wait for it.
    fn role_at(&self, candidates: &[usize]) -> Role {
        let publishes = |id: &usize| self.members.get(*id).is_some_and(|m| m.role() == Role::Publisher);
        match candidates.iter().any(publishes) {
            true => Role::Publisher,
            false => Role::Viewer,
        }
    }

    /// Takes a datagram that was [screened](Broadcast::screen).
    pub(crate) fn shake(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) {
        let Some(key) = self.addresses.find(from) else { return };
        let Some(place) = self.addresses.get(key) else { return };
        let candidates: Vec<usize> = place.candidates().collect();
        let role = self.role_at(&candidates);
        // The certificate that this server shows is the owner's, or of who waits for keys, or of who came last. New peers all have the
        // same; others are there after it was changed.
        let shows = place
            .owner
            .or_else(|| candidates.iter().copied().find(|id| self.members[*id].is_awaited()))
            .or_else(|| candidates.first().copied());
        let Some(dtls) = shows.map(|id| self.members[id].dtls.clone()) else {
            return;
        };
        let mut begun = false;
        let start = |begin: Begin| -> Option<Begun> {
            begun = true;
            dtls.begin(role, begin, now)
        };
        let Some(place) = self.addresses.get_mut(key) else { return };
        let done = place.handshakes.handle(now, from, data, &self.cookies, start, out);
        stack::wipe();
        if begun {
            self.tell_begun(&candidates);
        }
        self.after_handshakes(now, key, done, out);
    }

    /// Those who wait for keys hear that a ClientHello has come; where nobody does, it is the owner who begins anew.
    fn tell_begun(&mut self, candidates: &[usize]) {
        let keyless = candidates.iter().copied().filter(|id| !self.members[*id].peer.is_connected());
        let mut who: Vec<usize> = keyless.collect();
        if who.is_empty() {
            who.extend(candidates.first());
        }
        for id in who {
            let ufrag = self.members[id].ufrag.clone();
            self.events.push_back(Event::Handshake { ufrag });
        }
    }

    pub(super) fn handshakes_timeout(&mut self, now: Instant, at: Instant, key: usize, out: &mut Vec<Transmit>) {
        let Some(place) = self.addresses.get_mut(key).filter(|place| place.armed == Some(at)) else {
            return;
        };
        place.armed = None;
        let done = place.handshakes.handle_timeout(now, place.address, out);
        stack::wipe();
        let next = place.handshakes.next_timeout().map(|next| next.max(now + MIN_TICK));
        self.timers.arm(Timer::Handshakes(key), next, &mut place.armed);
        self.after_handshakes(now, key, done, out);
    }

    /// Gives a completed handshake's keys to the peer whose certificate it showed, and sets the timer.
    fn after_handshakes(&mut self, now: Instant, key: usize, done: Option<Done>, out: &mut Vec<Transmit>) {
        if let Some(place) = self.addresses.get_mut(key) {
            let next = place.handshakes.next_timeout();
            self.timers.arm(Timer::Handshakes(key), next, &mut place.armed);
        }
        let Some(done) = done else { return };
        let Some(place) = self.addresses.get(key) else { return };
        let address = place.address;
        let whose = place.candidates().find(|id| self.members[*id].peer.is_of(done.certificate()));
        let Some(id) = whose else {
            tracing::warn!("a DTLS handshake ended with a certificate that no offer of its address names; ignored");
            return;
        };
        let member = &mut self.members[id];
        member.heard.get_or_insert(now);
        member.peer.take_keys(done);
        self.addresses.own(now, id, address, &mut self.members);
        self.settle(now, id, out);
    }
}
