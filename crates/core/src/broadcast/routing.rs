//! Which peer a datagram is for.

use std::time::Instant;

use rekindle_ids::{Role, TransportAddress, Ufrag};

use super::hub::Broadcast;
use super::payload::Payload;
use super::{Departure, Event, Routed};
use crate::Protocol;
use crate::peer::{Peer, Received, Transmit};

/// The result for a check that a refusal may have answered. The refusal has to leave from the
/// address that the check was sent to: clients with several paths accept no other.
fn refused(answered: bool) -> Routed {
    if answered {
        Routed::Checked
    } else {
        Routed::Done
    }
}

impl Broadcast {
    /// Takes a datagram. A STUN Binding request goes to the peer whose user name fragment it names,
    /// every other one to the peers at its source address. Only authenticated datagrams change
    /// anything. DTLS that is worth a handshake's time waits for its turn: see
    /// [`Broadcast::handle_timeout`].
    pub fn handle(
        &mut self,
        now: Instant,
        from: impl Into<TransportAddress>,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Routed {
        let from = from.into();
        let routed = match Protocol::of(data) {
            Some(Protocol::Stun) => self.handle_stun(now, from, data, out),
            Some(Protocol::Dtls) => self.admit(now, from, Payload::Received(data), out),
            Some(Protocol::Rtp | Protocol::Rtcp) => self.handle_srtp(now, from, data, out),
            None => Routed::Done,
        };
        self.forwarding.run(out);
        routed
    }

    /// Whether some peer owns or claims this address. A check that was answered is not enough: it may
    /// be a copy of another one, or of a peer that was removed.
    pub fn has_address(&self, address: impl Into<TransportAddress>) -> bool {
        self.addresses.find(address.into()).is_some()
    }

    /// The next connection that no peer has any more: each has a few addresses, and keeps none when
    /// it leaves. To be polled where media is received over TCP.
    pub fn poll_left(&mut self) -> Option<TransportAddress> {
        self.addresses.poll_left()
    }

    pub(super) fn handle_stun(
        &mut self,
        now: Instant,
        from: TransportAddress,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Routed {
        let Some(text) = Peer::stun_ufrag(data) else {
            tracing::trace!("STUN is dropped: it is no check of a peer of this server");
            return Routed::Done;
        };
        let Some(id) = self.by_ufrag.get(text).copied() else {
            let before = out.len();
            if self.turned_away.refuse(text, from, data, out) {
                return refused(out.len() > before);
            }
            let Ok(ufrag) = Ufrag::new(text) else {
                tracing::trace!(
                    "a STUN check is dropped: it names nobody whom this server could have named"
                );
                return Routed::Done;
            };
            self.keep_check(ufrag, from, data);
            return Routed::UnknownUfrag;
        };
        let Some(member) = self.members.get_mut(id) else {
            return Routed::Done;
        };
        let before = out.len();
        let Received::Answered { claims, nominates } =
            member.peer.handle_stun(now, from, data, out)
        else {
            tracing::trace!("a STUN check is dropped: its integrity is not its peer's");
            return Routed::Done;
        };
        if member.is_plain(now) {
            // One who was answered by yes must not get a no later: such a client checks seldom.
            out.truncate(before);
            self.remove(now, id, Departure::NoRehandshake);
            self.turned_away.refuse(text, from, data, out);
            return refused(out.len() > before);
        }
        if member.heard.is_none() && member.peer.last_heard().is_some() {
            member.heard = Some(now);
            if std::mem::take(&mut member.unheard) {
                let ufrag = member.ufrag.clone();
                self.events.push_back(Event::Unheard {
                    ufrag,
                    unheard: false,
                });
            }
        }
        if claims {
            self.addresses.claim(now, id, from, &mut self.members);
            self.look_for_keys(now, from);
        }
        if nominates {
            self.begin_active(now, id, from, out);
        }
        if claims {
            self.release(now, from, out);
        }
        self.settle(now, id, out);
        match self.addresses.owner(from) {
            Some(owner) if owner != id => Routed::Done,
            _ => Routed::Checked,
        }
    }

    /// SRTP belongs to the peer whose keys authenticate it: the address's owner, or a peer that
    /// claims the address and owns it from then on.
    pub(super) fn handle_srtp(
        &mut self,
        now: Instant,
        from: TransportAddress,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) -> Routed {
        let Some(place) = self
            .addresses
            .find(from)
            .and_then(|key| self.addresses.get(key))
        else {
            self.keep_media(from, data);
            return Routed::UnknownAddress;
        };
        let owner = place.owner;
        let members = &mut self.members;
        let opened = place.candidates().find_map(|id| {
            let peer = &mut members
                .get_mut(id)
                .filter(|member| member.peer.is_connected())?
                .peer;
            match peer.handle_srtp(now, from, data) {
                Received::Nothing => None,
                received => Some((id, received)),
            }
        });
        let Some((id, received)) = opened else {
            tracing::trace!("SRTP is dropped: no key of its address's peers opens it");
            // A plain client goes on sending media and may send no check. Anybody can forge this,
            // but it takes nothing from such a client.
            if let Some(member) = owner
                .and_then(|id| self.members.get_mut(id))
                .filter(|m| m.is_awaited() && !m.renews)
            {
                member.heard.get_or_insert(now);
            }
            return Routed::Done;
        };
        if owner != Some(id) {
            self.addresses.own(now, id, from, &mut self.members);
        }
        let Some(member) = self.members.get_mut(id) else {
            return Routed::Done;
        };
        member.heard.get_or_insert(now);
        match (received, member.role()) {
            (Received::Rtp(packet), Role::Publisher) => self.publisher_rtp(now, id, packet, out),
            (Received::Rtcp(packet), Role::Publisher) => {
                let channel = member.channel;
                self.sender_reports(now, channel, &packet);
            }
            (Received::Rtcp(packet), Role::Viewer) => self.viewer_rtcp(now, id, &packet, out),
            _ => {}
        }
        self.settle(now, id, out);
        Routed::Authentic
    }
}
