//! Which peer each address belongs to.
//!
//! A STUN check shows that its sender knows a peer's credentials. It does not show that the sender
//! is where the datagram says: anybody with a session of their own can send a check in the name of
//! another browser's address, and whoever has seen a check can send it again from anywhere. So a
//! check is a *claim*, and several peers may claim one address. The address *belongs* to the peer
//!
//! - that ran a DTLS handshake from there, or sent SRTP from there that its keys authenticate, or
//! - whose record names it, until one of these happens.
//!
//! A datagram is tried first for the owner of its address and then for the peers that claim it. A
//! peer loses no address through the claims of another peer. Each peer keeps a few addresses and
//! drops its own oldest one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rekindle_ids::TransportAddress;
use slab::Slab;

use super::jobs::Custody;
use super::member::{Member, Members};
use crate::peer::Done;

/// Addresses of one peer.
const MAX_ADDRESSES: usize = 4;
/// Most peers that claim one address. The oldest claim makes room for a new one.
const MAX_CLAIMS: usize = 16;
/// How long a claim lasts, that is, how long after a check a ClientHello is accepted. Browsers
/// check at least every 2.5 s while media flows; 30 s is the consent time of RFC 7675 §5.1.
const PROOF: Duration = Duration::from_secs(30);

/// An address that some peer sends from or claims.
pub(super) struct KnownAddress {
    pub address: TransportAddress,
    /// The peer that the address belongs to.
    pub owner: Option<usize>,
    /// Peers that checked from there, the latest last; the owner is among them.
    claims: Vec<(usize, Instant)>,
    /// The DTLS handshakes that are under way there.
    pub handshakes: Custody,
    /// When the timer of its handshakes expires.
    pub armed: Option<Instant>,
    /// A completed handshake that belongs to no known peer: after a start, its peer's record may
    /// not have been read yet.
    pub orphan: Option<Box<Done>>,
}

impl KnownAddress {
    /// The peers that a datagram from here may belong to: the owner, then those that claimed it,
    /// the latest first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = usize> {
        let others = self.claims.iter().rev().map(|(id, _)| *id);
        self.owner
            .into_iter()
            .chain(others.filter(|id| Some(*id) != self.owner))
    }

    /// Whether a ClientHello is accepted from here.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        self.claims
            .iter()
            .any(|(_, at)| now.saturating_duration_since(*at) <= PROOF)
    }

    fn claim(&mut self, now: Instant, id: usize) {
        self.claims.retain(|(known, _)| *known != id);
        push(&mut self.claims, (id, now));
        if self.claims.len() > MAX_CLAIMS {
            let oldest = self
                .claims
                .iter()
                .position(|(known, _)| Some(*known) != self.owner);
            oldest.map(|oldest| self.claims.remove(oldest));
        }
    }
}

/// Appends to a list that has one element for nearly every peer: the first one takes no room for
/// others.
fn push<T>(list: &mut Vec<T>, one: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(one);
}

/// All known addresses.
#[derive(Default)]
pub(super) struct Addresses {
    by_address: HashMap<TransportAddress, usize>,
    places: Slab<KnownAddress>,
    /// Those of TCP that no peer has any more, since the last call of [`Addresses::poll_left`].
    left: Vec<TransportAddress>,
}

impl Addresses {
    /// The key of an address that some peer owns or claims.
    pub(super) fn find(&self, address: TransportAddress) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn get(&self, key: usize) -> Option<&KnownAddress> {
        self.places.get(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut KnownAddress> {
        self.places.get_mut(key)
    }

    /// The next connection that no peer has any more.
    pub(super) fn poll_left(&mut self) -> Option<TransportAddress> {
        self.left.pop()
    }

    /// The owner of an address.
    pub(super) fn owner(&self, address: TransportAddress) -> Option<usize> {
        self.places.get(self.find(address)?)?.owner
    }

    /// Records a claim: the peer checked from this address.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        id: usize,
        address: TransportAddress,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        self.places[key].claim(now, id);
    }

    /// Makes the peer the owner: it sent something from this address that only it can send.
    pub(super) fn own(
        &mut self,
        now: Instant,
        id: usize,
        address: TransportAddress,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        let place = &mut self.places[key];
        place.owner = Some(id);
        place.claim(now, id);
    }

    /// Notes the address that a peer's record names. Where two records name one address, the first
    /// peer owns it and the second claims it.
    pub(super) fn record(
        &mut self,
        now: Instant,
        id: usize,
        address: TransportAddress,
        members: &mut Members,
    ) {
        let key = self.enter(id, address, members);
        let place = &mut self.places[key];
        place.owner.get_or_insert(id);
        place.claim(now, id);
    }

    /// Adds an address to a peer's own, as the latest. Beyond the limit another one is dropped,
    /// those that it only claims first.
    fn enter(&mut self, id: usize, address: TransportAddress, members: &mut Members) -> usize {
        if let Some(member) = members.get_mut(id)
            && member.addresses.last() != Some(&address)
        {
            member.addresses.retain(|known| *known != address);
            push(&mut member.addresses, address);
            if member.addresses.len() > MAX_ADDRESSES {
                self.give_up_one(id, address, member);
            }
        }
        *self.by_address.entry(address).or_insert_with(|| {
            self.places.insert(KnownAddress {
                address,
                owner: None,
                claims: Vec::new(),
                handshakes: Custody::default(),
                armed: None,
                orphan: None,
            })
        })
    }

    fn give_up_one(&mut self, id: usize, newest: TransportAddress, member: &mut Member) {
        let in_use = member.peer.address();
        let spare = |known: &TransportAddress| *known != newest && Some(*known) != in_use;
        let claimed = |known: &TransportAddress| spare(known) && self.owner(*known) != Some(id);
        let addresses = &member.addresses;
        let goes = addresses.iter().position(claimed);
        let Some(goes) = goes.or_else(|| addresses.iter().position(spare)) else {
            return;
        };
        let address = member.addresses.remove(goes);
        self.leave(id, address);
    }

    /// The peer has left this address.
    pub(super) fn leave(&mut self, id: usize, address: TransportAddress) {
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
            if address.is_tcp() {
                self.left.push(address);
            }
        }
    }
}
