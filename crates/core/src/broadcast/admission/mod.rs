//! Admission after a start: which peers of earlier boots are known, and which handshake is next.
//!
//! After a start, browsers send datagrams at once that the new process cannot yet assign to a peer.
//! Such a datagram waits in the [`WaitingRoom`] until its peer's record has been read; a STUN check
//! names its record, and that record is then read next. Datagrams that begin or continue a
//! handshake wait in the [`Queue`]. [`Broadcast::handle_timeout`] works on one handshake each time,
//! so that the caller can look at its clock and its socket in between.

mod attempt;
mod queue;
mod reading;
pub(super) mod state;
mod waiting_room;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

pub use reading::ReadingOrder;

use self::waiting_room::WaitingRoom;
use super::hub::Broadcast;
use super::payload::{Payload, Screened};
use super::{Departure, Event, Join, Recorded, Refusal, Routed};
use crate::peer::{Transmit, is_client_hello};
use rekindle_ids::{TransportAddress, Ufrag};
use rekindle_sdp as sdp;

impl Broadcast {
    /// From now on until [`Broadcast::all_records_read`], records of earlier boots are being read,
    /// and datagrams of unknown peers wait for them.
    pub fn await_records(&mut self) {
        self.admission.room = Some(WaitingRoom::default());
    }

    /// A record that should be read next, since its peer was heard. Each is returned once.
    pub fn poll_demand(&mut self) -> Option<Ufrag> {
        self.admission.demand.pop_front()
    }

    /// Takes in a peer of an earlier boot and the datagrams that waited for its record. A record
    /// that cannot be used ends with [`Event::Gone`].
    pub fn take_record(&mut self, now: Instant, record: Recorded<'_>, out: &mut Vec<Transmit>) {
        let ufrag = &record.ice.ufrag;
        let negotiated = match sdp::negotiated(record.role, record.offer, record.answer) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                tracing::warn!(%error, "a peer's record holds SDP that cannot be used; the peer \
                                        has to join anew");
                return self.give_up(ufrag, Departure::NoRehandshake);
            }
        };
        let address = negotiated.address.map(TransportAddress::udp);
        let join = Join {
            role: record.role,
            channel: record.channel.to_owned(),
            ice: record.ice.clone(),
            negotiated,
            resumed: true,
            renews: sdp::renews(record.offer),
        };
        if let Err(refusal) = self.join(now, join) {
            tracing::warn!(%refusal, "a peer of the last boot cannot be taken over");
            // A record whose place another peer has taken belongs to a publisher that was replaced.
            let why = match refusal {
                Refusal::UnknownCertificate => Departure::NoRehandshake,
                _ => Departure::Replaced,
            };
            return self.give_up(ufrag, why);
        }
        self.take_over(now, ufrag, out);
        // Its checks come first: they prove the addresses that the other datagrams came from.
        let checks = self
            .admission
            .room
            .as_mut()
            .map(|room| room.take_checks(ufrag));
        for (from, data) in checks.into_iter().flatten() {
            self.handle_stun(now, from, &data, out);
        }
        if let Some(address) = address {
            self.release(now, address, out);
        }
        self.forwarding.run(out);
    }

    /// The record of this peer cannot be read now: its waiting datagrams are dropped. A later boot
    /// may be able to read it.
    pub fn skip_record(&mut self, ufrag: &Ufrag) {
        self.drop_checks(ufrag, "its peer's record cannot be read");
    }

    /// All records of earlier boots have been read: peers that are still unknown do not exist.
    pub fn all_records_read(&mut self) {
        self.all_taken_over();
        // From now on unknown datagrams are dropped at once, and take no memory.
        let waiting = self.admission.room.take().map_or(0, |room| room.len());
        self.admission.demand = VecDeque::new();
        if waiting > 0 {
            tracing::debug!(
                datagrams = waiting,
                "what waited for a record is dropped: all records have been read"
            );
        }
    }

    /// Drops a record that cannot be used: the peer is gone, and its record is to be removed.
    fn give_up(&mut self, ufrag: &Ufrag, why: Departure) {
        self.drop_checks(ufrag, "its peer's record is of no use");
        let ufrag = ufrag.clone();
        self.events.push_back(Event::Gone { ufrag, why });
    }

    fn drop_checks(&mut self, ufrag: &Ufrag, reason: &'static str) {
        let checks = self
            .admission
            .room
            .as_mut()
            .map(|room| room.take_checks(ufrag));
        let datagrams = checks.map_or(0, |checks| checks.len());
        if datagrams > 0 {
            tracing::debug!(datagrams, reason, "STUN checks that waited are dropped");
        }
    }

    /// Keeps a STUN check of an unknown peer and demands that peer's record.
    pub(super) fn keep_check(&mut self, ufrag: Ufrag, from: TransportAddress, data: &[u8]) {
        let Some(room) = &mut self.admission.room else {
            tracing::trace!("a STUN check is dropped: it names no peer");
            return;
        };
        match room.keep_check(ufrag.clone(), from, data) {
            Ok(true) => self.admission.demand.push_back(ufrag),
            Ok(false) => {}
            Err(reason) => {
                tracing::trace!(%reason, "a STUN check does not wait for its peer's record")
            }
        }
    }

    /// Keeps SRTP from an address at which no peer is known.
    pub(super) fn keep_media(&mut self, from: TransportAddress, data: &[u8]) {
        // In full-state mode the keys of the last boot can open it; otherwise it would only take
        // room from other datagrams.
        let takes_media = self.keeps_sessions();
        let Some(room) = self.admission.room.as_mut().filter(|_| takes_media) else {
            tracing::trace!("SRTP is dropped: no peer is at its address");
            return;
        };
        if let Err(reason) = room.keep_media(from, data) {
            tracing::trace!(%reason, "SRTP does not wait for its peer's record");
        }
    }

    /// Puts a DTLS datagram into the queue, if it is worth a handshake's time.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: TransportAddress,
        mut payload: Payload<'_>,
        out: &mut Vec<Transmit>,
    ) -> Routed {
        match self.screen(now, from, &mut payload, out) {
            Screened::Dropped => Routed::Done,
            Screened::Asked | Screened::Waits => Routed::Answered,
            Screened::UnknownAddress => {
                self.keep_hello(from, payload.data());
                Routed::UnknownAddress
            }
            Screened::Handshake { role, datagrams } => {
                for part in datagrams {
                    if let Err(reason) = self.admission.queue.put(now, role, from, part) {
                        tracing::trace!(%reason, "DTLS does not wait for its turn");
                    }
                }
                Routed::Answered
            }
        }
    }

    fn keep_hello(&mut self, from: TransportAddress, data: &[u8]) {
        let Some(room) = &mut self.admission.room else {
            tracing::trace!("DTLS is dropped: no peer is at its address");
            return;
        };
        // No peer is known at this address, so no handshake is under way that other datagrams could
        // belong to.
        if !is_client_hello(data) {
            tracing::trace!("DTLS is dropped: no handshake is under way at its address");
        } else if let Err(reason) = room.keep_hello(from, data) {
            tracing::trace!(%reason, "a ClientHello does not wait for its peer's record");
        }
    }

    /// Takes the datagrams that waited from an address, if a peer is known there now.
    pub(super) fn release(
        &mut self,
        now: Instant,
        from: TransportAddress,
        out: &mut Vec<Transmit>,
    ) {
        let Some(room) = &mut self.admission.room else {
            return;
        };
        let Some(key) = self.addresses.find(from) else {
            return;
        };
        let Some(waiting) = room.take(from) else {
            return;
        };
        if let Some(place) = self.addresses.get_mut(key) {
            // No job can have these handshakes: no peer was known here until now.
            if let Some(handshakes) = place.handshakes.here_mut() {
                // Late copies of earlier ClientHellos may still arrive.
                handshakes.overtake(waiting.hello.over());
                if waiting.is_doubtful {
                    handshakes.doubt();
                }
            }
        }
        for data in waiting.hello.into_datagrams() {
            self.admit(now, from, Payload::Kept(data), out);
        }
        for data in waiting.media {
            self.handle_srtp(now, from, &data, out);
        }
    }
}
