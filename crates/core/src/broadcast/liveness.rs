//! Which peers are still present: consent, the resume window, sources that fall silent. All peers
//! are checked once a second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::{Role, TransportAddress};

use super::hub::Broadcast;
use super::member::{Member, PLAIN};
use super::{Config, Departure, Event};
use crate::peer::{ALERT, Fault, Transmit};

/// A new peer that has no keys after this time is gone.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(30);

/// A new peer that has sent no STUN check for this time cannot reach the media port, or is gone:
/// browsers begin with one every 50 ms (RFC 8445 §14.2), as soon as they have the answer.
pub const UNHEARD: Duration = Duration::from_secs(8);

/// Why a peer is to be removed, if it is.
fn verdict(config: &Config, now: Instant, member: &Member) -> Option<Departure> {
    let since = |then: Instant| now.saturating_duration_since(then);
    if member.peer.is_connected() {
        // What a viewer gets goes to one address, and consent is of that path (RFC 7675 §5.1):
        // whoever is elsewhere now cannot have media sent to somebody else. A publisher gets little,
        // and its media shows where it is.
        let last = match member.role() {
            Role::Viewer => member.peer.last_there(),
            Role::Publisher => None,
        };
        let last = last
            .or(member.peer.last_check())
            .or(member.heard)
            .unwrap_or(member.joined);
        return (since(last) >= config.consent).then_some(Departure::Silent);
    }
    if !member.resumed {
        return (since(member.joined) >= FIRST_HANDSHAKE).then_some(Departure::Silent);
    }
    match member.heard {
        None => (since(member.joined) >= config.resume_window).then_some(Departure::Silent),
        Some(heard) => {
            let limit = if member.renews {
                config.rehandshake_limit
            } else {
                PLAIN
            };
            (since(heard) >= limit).then_some(Departure::NoRehandshake)
        }
    }
}

impl Broadcast {
    /// Removes peers that are gone, and reports sources that ended.
    pub(super) fn look_after(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        self.look_after_sessions(now);
        let verdicts = self
            .members
            .iter()
            .filter_map(|(id, member)| Some((id, verdict(&self.config, now, member)?)));
        let gone: Vec<_> = verdicts.collect();
        for (id, why) in gone {
            self.remove(now, id, why);
        }
        self.miss_the_unheard(now);
        for (id, address, fault) in self.faults(now) {
            tracing::warn!("a new peer is turned away, since {fault}");
            if let Some(handshakes) = self
                .addresses
                .find(address)
                .and_then(|key| self.addresses.get_mut(key)?.handshakes.here_mut())
            {
                self.counts.failures += handshakes.give_up(fault);
            }
            out.push(Transmit {
                to: address,
                data: Bytes::from_static(&ALERT),
            });
            let why = match fault {
                Fault::NotPostQuantum => Departure::NotPostQuantum,
                _ => Departure::NoHandshake,
            };
            self.remove(now, id, why);
        }
        self.turned_away.forget(now);
        let keys: Vec<usize> = self.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.look_after_channel(now, key);
        }
    }

    /// Reports once for each new peer that no check of its has arrived. A peer from an earlier boot
    /// may be away, and is awaited for longer.
    fn miss_the_unheard(&mut self, now: Instant) {
        for (_, member) in self.members.iter_mut() {
            let late = now.saturating_duration_since(member.joined) >= UNHEARD;
            if late
                && !member.resumed
                && member.heard.is_none()
                && !std::mem::replace(&mut member.unheard, true)
            {
                let ufrag = member.ufrag.clone();
                self.events.push_back(Event::Unheard {
                    ufrag,
                    unheard: true,
                });
            }
        }
    }

    /// New peers whose handshakes cannot be completed. A peer from an earlier boot has completed
    /// one before, and is given its time.
    fn faults(&self, now: Instant) -> Vec<(usize, TransportAddress, Fault)> {
        let new = self
            .members
            .iter()
            .filter(|(_, member)| !member.resumed && !member.peer.is_connected());
        let fault_of = |(id, member): (usize, &Member)| {
            member.addresses.iter().find_map(|address| {
                let place = self.addresses.get(self.addresses.find(*address)?)?;
                Some((id, *address, place.handshakes.here()?.fault(now)?))
            })
        };
        new.filter_map(fault_of).collect()
    }

    /// Reports a channel's source that is gone, and drops a channel without members.
    pub(super) fn look_after_channel(&mut self, now: Instant, key: usize) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if channel.source_gone(now) {
            self.events.push_back(Event::Source {
                channel: channel.name.clone(),
                live: false,
                streams: Vec::new(),
            });
        }
        channel.reservation.take_if(|(_, until)| *until <= now);
        if channel.is_empty() {
            let name = std::mem::take(&mut channel.name);
            self.by_name.remove(&name);
            self.channels.remove(key);
        }
    }
}
