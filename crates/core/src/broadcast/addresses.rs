//! Which address is whose.
//!
//! A STUN check shows that its sender knows a peer's credentials. It does not show that the sender
//! is where the datagram says: anybody with a session of their own can send a check in the name of
//! another browser's address, and whoever has seen a check can send it again from anywhere. So a
//! check is a *claim*, and several peers may claim one address. The address *belongs* to the peer
//!
//! - that ran a DTLS handshake from there, or sent SRTP from there that its keys authenticate, or
//! - whose record names it, until one of these happens.
//!
//! What comes from an address is tried for its owner first and then for those who claim it. Nobody
//! loses an address by what another peer claims; each keeps a few, and gives up its own oldest.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slab::Slab;

use super::jobs::Custody;
use super::member::{Member, Members};
use crate::peer::Done;

/// Addresses of one peer.
const MAX_ADDRESSES: usize = 4;
/// Peers that claim one address. One more, and the oldest claim goes.
const MAX_CLAIMS: usize = 16;
/// How long a claim lasts: a ClientHello is taken for so long after a check. Browsers check every
/// 2.5 s at the least while media flows; 30 s is the consent of RFC 7675 §5.1.
const PROOF: Duration = Duration::from_secs(30);

/// An address from which some peer sends, or says that it does.
pub(super) struct Place {
    pub address: SocketAddr,
    /// Whose it is.
    pub owner: Option<usize>,
    /// Who checked from there, the latest last; the owner too.
    claims: Vec<(usize, Instant)>,
    /// The DTLS handshakes that are under way there.
    pub handshakes: Custody,
    /// When their timer goes off.
    pub armed: Option<Instant>,
    /// A handshake that is complete and nobody's: after a start, the record of whose it is may not
    /// have been read yet.
    pub orphan: Option<Done>,
}

impl Place {
    /// Whose what comes from here may be: the owner, then who claimed it, the latest first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = usize> {
        let others = self.claims.iter().rev().map(|(id, _)| *id);
        self.owner
            .into_iter()
            .chain(others.filter(|id| Some(*id) != self.owner))
    }

    /// Whether a ClientHello is taken from here.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        self.claims
            .iter()
            .any(|(_, at)| now.saturating_duration_since(*at) <= PROOF)
    }

    fn claim(&mut self, now: Instant, id: usize) {
        self.claims.retain(|(known, _)| *known != id);
        self.claims.push((id, now));
        if self.claims.len() > MAX_CLAIMS {
            let oldest = self
                .claims
                .iter()
                .position(|(known, _)| Some(*known) != self.owner);
            oldest.map(|oldest| self.claims.remove(oldest));
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Addresses {
    by_address: HashMap<SocketAddr, usize>,
    places: Slab<Place>,
}

impl Addresses {
    /// The key of an address that some peer is at, or says so.
    pub(super) fn find(&self, address: SocketAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn get(&self, key: usize) -> Option<&Place> {
        self.places.get(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Place> {
        self.places.get_mut(key)
    }

    /// Whose an address is.
    pub(super) fn owner(&self, address: SocketAddr) -> Option<usize> {
        self.places.get(self.find(address)?)?.owner
    }

    /// A peer says that it is at this address.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        id: usize,
        address: SocketAddr,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        self.places[key].claim(now, id);
    }

    /// A peer has shown that it is at this address, by what only it can send.
    pub(super) fn own(
        &mut self,
        now: Instant,
        id: usize,
        address: SocketAddr,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        let place = &mut self.places[key];
        place.owner = Some(id);
        place.claim(now, id);
    }

    /// A peer's record names this address. Where two do, it is the first one's, and the other
    /// claims it.
    pub(super) fn record(
        &mut self,
        now: Instant,
        id: usize,
        address: SocketAddr,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        let place = &mut self.places[key];
        place.owner.get_or_insert(id);
        place.claim(now, id);
    }

    /// Puts an address among a peer's own, as the latest; where they are too many, another one
    /// goes: first what it only claims.
    fn enter(&mut self, id: usize, address: SocketAddr, members: &mut Members) -> usize {
        if let Some(member) = members.get_mut(id)
            && member.addresses.last() != Some(&address)
        {
            member.addresses.retain(|known| *known != address);
            member.addresses.push(address);
            if member.addresses.len() > MAX_ADDRESSES {
                self.give_up_one(id, address, member);
            }
        }
        *self.by_address.entry(address).or_insert_with(|| {
            self.places.insert(Place {
                address,
                owner: None,
                claims: Vec::new(),
                handshakes: Custody::default(),
                armed: None,
                orphan: None,
            })
        })
    }

    fn give_up_one(&mut self, id: usize, newest: SocketAddr, member: &mut Member) {
        let in_use = member.peer.address();
        let spare = |known: &SocketAddr| *known != newest && Some(*known) != in_use;
        let claimed = |known: &SocketAddr| spare(known) && self.owner(*known) != Some(id);
        let addresses = &member.addresses;
        let goes = addresses.iter().position(claimed);
        let Some(goes) = goes.or_else(|| addresses.iter().position(spare)) else {
            return;
        };
        let address = member.addresses.remove(goes);
        self.leave(id, address);
    }

    /// A peer is not at this address any more, or has left.
    pub(super) fn leave(&mut self, id: usize, address: SocketAddr) {
        let Some(key) = self.find(address) else {
            return;
        };
        let Some(place) = self.places.get_mut(key) else {
            return;
        };
        place.claims.retain(|(known, _)| *known != id);
        place.owner.take_if(|owner| *owner == id);
        if place.owner.is_none() && place.claims.is_empty() {
            self.places.remove(key);
            self.by_address.remove(&address);
        }
    }
}
