//! Admission after a start: which peers of earlier boots are known, and whose handshake is next.
//!
//! Browsers send at once what the new process cannot place yet. A datagram whose peer is not known
//! waits in the [`WaitingRoom`] until the peer's record has been read; a STUN check names its
//! record, which is demanded then. What begins or continues a handshake waits in the [`Queue`] for
//! its turn, and [`Broadcast::handle_timeout`] works on one handshake each time: the caller looks
//! at its clock between two of them, and goes back to its socket when it likes.

mod attempt;
mod queue;
mod reading;
pub(super) mod state;
mod waiting_room;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

pub use reading::ReadingOrder;

use self::waiting_room::WaitingRoom;
use super::hub::Broadcast;
use super::payload::{Payload, Screened};
use super::{Departure, Event, Join, Recorded, Refusal, Routed};
use crate::peer::{Transmit, is_client_hello};
use rekindle_ids::Ufrag;
use rekindle_sdp as sdp;

impl Broadcast {
    /// Records of earlier boots are being read from now on, until [`Broadcast::all_records_read`]:
    /// datagrams of peers that are not known wait for them.
    pub fn await_records(&mut self) {
        self.admission.room = Some(WaitingRoom::default());
    }

    /// A record that should be read next, since a peer that is not known was heard. Each is named
    /// once.
    pub fn poll_demand(&mut self) -> Option<Ufrag> {
        self.admission.demand.pop_front()
    }

    /// Takes in a peer of an earlier boot, and what has waited for its record. A record of which
    /// nothing can be made ends with [`Event::Gone`].
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
        let address = negotiated.address;
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
            let why = match refusal {
                Refusal::UnknownCertificate => Departure::NoRehandshake,
                _ => Departure::Replaced,
            };
            return self.give_up(ufrag, why);
        }
        self.take_over(now, ufrag, out);
        // Its checks come first: they prove the addresses that the rest came from.
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

    /// The record of this peer cannot be read now: what waits for it waits in vain. A later boot
    /// may read it.
    pub fn skip_record(&mut self, ufrag: &Ufrag) {
        self.drop_checks(ufrag, "its peer's record cannot be read");
    }

    /// All records of earlier boots have been read: who is not known now is nobody.
    pub fn all_records_read(&mut self) {
        self.all_taken_over();
        let waiting = self.admission.room.take().map_or(0, |room| room.len());
        self.admission.demand = VecDeque::new();
        if waiting > 0 {
            tracing::debug!(
                datagrams = waiting,
                "what waited for a record is dropped: all records have been read"
            );
        }
    }

    /// A record that leads nowhere: the peer is gone, and its record goes too.
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

    /// Keeps a STUN check of a peer that is not known, and demands its record.
    pub(super) fn keep_check(&mut self, ufrag: Ufrag, from: SocketAddr, data: &[u8]) {
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

    /// Keeps a datagram of media from an address at which nobody is known to be.
    pub(super) fn keep_media(&mut self, from: SocketAddr, data: &[u8]) {
        // In full-state mode media of the last boot has keys; else it would only take the place of
        // others.
        let takes_media = self.keeps_sessions();
        let Some(room) = self.admission.room.as_mut().filter(|_| takes_media) else {
            tracing::trace!("SRTP is dropped: no peer is at its address");
            return;
        };
        if let Err(reason) = room.keep_media(from, data) {
            tracing::trace!(%reason, "SRTP does not wait for its peer's record");
        }
    }

    /// A DTLS datagram: it waits for its turn, if it is worth that.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
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

    fn keep_hello(&mut self, from: SocketAddr, data: &[u8]) {
        let Some(room) = &mut self.admission.room else {
            tracing::trace!("DTLS is dropped: no peer is at its address");
            return;
        };
        // Where nobody is known to be no handshake can be under way that anything else could belong
        // to.
        if !is_client_hello(data) {
            tracing::trace!("DTLS is dropped: no handshake is under way at its address");
        } else if let Err(reason) = room.keep_hello(from, data) {
            tracing::trace!(%reason, "a ClientHello does not wait for its peer's record");
        }
    }

    /// Hands in what has waited from an address, if a peer is known to be there now.
    pub(super) fn release(&mut self, now: Instant, from: SocketAddr, out: &mut Vec<Transmit>) {
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
            // No job can have them: nobody was known to be here until now.
            if let Some(handshakes) = place.handshakes.here_mut() {
                // Late copies of theirs may come yet.
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
