//! Which peers may join a channel, and how peers join and leave.

use std::time::{Duration, Instant};

use rekindle_ids::{Role, TransportAddress, Ufrag};
use rekindle_sdp::Source;

use super::channel::{Channel, SOURCE_SILENCE};
use super::forwarding::{NewViewer, Order};
use super::hub::Broadcast;
use super::ingress::Ingress;
use super::mapping::Mapping;
use super::member::{Member, Side, Viewer};
use super::translation::{Shared, Translation};
use super::{Departure, Event, Join, Newcomer, Refusal};
use crate::peer::{Peer, PeerSetup};

/// How long a publisher's place is held between [`Broadcast::reserve`] and [`Broadcast::join`].
const HELD: Duration = Duration::from_secs(5);
/// How long after a boot a plain client that is awaited keeps its channel.
const PLAIN_GRACE: Duration = Duration::from_secs(1);

impl Broadcast {
    /// Whether a peer could join now; for viewers, what the channel's publisher sends. A
    /// publisher's place is held for `ufrag` for a few seconds.
    ///
    /// # Errors
    /// A [`Refusal`] with the cause.
    pub fn reserve(
        &mut self,
        now: Instant,
        role: Role,
        channel: &str,
        ufrag: &Ufrag,
    ) -> Result<Source, Refusal> {
        if self.members.len() >= self.config.max_peers {
            return Err(Refusal::Full);
        }
        let key = self.by_name.get(channel).copied();
        if role == Role::Viewer {
            return key
                .and_then(|key| self.source(key))
                .ok_or(Refusal::NoPublisher);
        }
        if key.is_some_and(|key| !self.is_vacant(now, key, ufrag, false)) {
            return Err(Refusal::PublisherPresent);
        }
        let key = self.channel(channel);
        self.channels[key].reservation = Some((ufrag.clone(), now + HELD));
        Ok(Source::default())
    }

    /// What a channel's source, present or awaited, sends.
    fn source(&self, key: usize) -> Option<Source> {
        let channel = self.channels.get(key)?;
        let ingress = channel.ingress(&self.members)?;
        Some(Source {
            codecs: ingress.codecs(),
            streams: channel.streams(ingress),
        })
    }

    /// Whether this publisher may take the channel's place: it is free, or its holder has fallen
    /// silent or sends no media any more. A holder that is awaited after a restart keeps it for
    /// longer, unless it is a plain client. It does not keep it against another publisher from an
    /// earlier boot: only one of the two can be the present one.
    fn is_vacant(&self, now: Instant, key: usize, ufrag: &Ufrag, resumed: bool) -> bool {
        let Some(channel) = self.channels.get(key) else {
            return true;
        };
        // A publisher of an earlier boot was present before the place could be reserved.
        if let Some((holder, until)) = &channel.reservation
            && !resumed
            && holder != ufrag
            && now < *until
        {
            return false;
        }
        let Some(member) = channel.publisher.and_then(|id| self.members.get(id)) else {
            return true;
        };
        let since = |then| now.saturating_duration_since(then);
        // A plain client does not come back but joins again; a page has opened its event stream by
        // then.
        if member.is_awaited() && !member.renews && since(member.joined) >= PLAIN_GRACE {
            return true;
        }
        // Its viewers have already been told that the source is gone.
        if member.peer.is_connected()
            && channel
                .last_media
                .is_some_and(|last| since(last) >= SOURCE_SILENCE)
        {
            return true;
        }
        if member.is_awaited() && !resumed && since(member.joined) < self.config.publisher_grace {
            return false;
        }
        if self.config.publisher == Newcomer::Replaces && !resumed {
            return true;
        }
        since(member.peer.last_heard().unwrap_or(member.joined)) >= self.config.publisher_silence
    }

    /// The key of a channel, created where necessary.
    pub(super) fn channel(&mut self, name: &str) -> usize {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = self.channels.insert(Channel::new(name.to_owned()));
        self.by_name.insert(name.to_owned(), key);
        key
    }

    /// Takes a peer in, after [`Broadcast::reserve`] or from a record. A peer that is already in
    /// stays unchanged.
    ///
    /// # Errors
    /// A [`Refusal`] with the cause.
    pub fn join(&mut self, now: Instant, join: Join) -> Result<(), Refusal> {
        let Join {
            role,
            channel,
            ice,
            negotiated,
            resumed,
            renews,
        } = join;
        let ufrag = ice.ufrag.clone();
        if self.by_ufrag.contains_key(&ufrag) {
            return Ok(());
        }
        if self.members.len() >= self.config.max_peers {
            return Err(Refusal::Full);
        }
        let dtls = self.identities.get(&negotiated.certificate);
        let dtls = dtls.ok_or(Refusal::UnknownCertificate)?.clone();
        let known = self.by_name.get(&channel).copied();
        match role {
            Role::Publisher => {
                if known.is_some_and(|key| !self.is_vacant(now, key, &ufrag, resumed)) {
                    return Err(Refusal::PublisherPresent);
                }
                if let Some(before) = known.and_then(|key| self.channels[key].publisher) {
                    self.remove(now, before, Departure::Replaced);
                }
                // It is here from now on.
                if let Some(channel) = known.and_then(|key| self.channels.get_mut(key))
                    && channel.upstream.take().is_some()
                {
                    channel.end_streams(now, &self.members);
                }
            }
            // A viewer from an earlier boot waits for its publisher, even if that one is gone.
            Role::Viewer if !resumed => {
                known
                    .and_then(|key| self.source(key))
                    .ok_or(Refusal::NoPublisher)?;
            }
            Role::Viewer => {}
        }
        let key = self.channel(&channel);
        let address = negotiated.address.map(TransportAddress::udp);
        let setup = PeerSetup {
            ice,
            fingerprints: negotiated.fingerprints.clone(),
            setup: negotiated.setup,
            address,
        };
        // A plain viewer from an earlier boot is removed soon.
        let translates = !renews && !resumed && !self.keeps_sessions();
        let entry = self.members.vacant_entry();
        let id = entry.key();
        let side = match role {
            Role::Publisher => {
                self.channels[key].publisher = Some(id);
                self.channels[key].reservation = None;
                Side::Publisher(Box::new(Ingress::new(&negotiated, now)))
            }
            Role::Viewer => {
                let forwarder = self.forwarding.assign();
                let mapping = Mapping::new(&negotiated);
                let mapping = self.channels[key].add_viewer(id, forwarder, mapping);
                let translation =
                    translates.then(|| Shared::new(Translation::new(negotiated.streams())));
                let newcomer = Box::new(NewViewer {
                    viewer: id,
                    channel: key,
                    sent: self.channels[key].sent.clone(),
                    ufrag: ufrag.clone(),
                    mapping: mapping.clone(),
                    translation: translation.clone(),
                });
                self.forwarding.order(forwarder, Order::Join(newcomer));
                Side::Viewer(Box::new(Viewer::new(forwarder, mapping, translation, now)))
            }
        };
        entry.insert(Member {
            ufrag: ufrag.clone(),
            peer: Peer::new(setup),
            dtls,
            channel: key,
            resumed,
            renews,
            joined: now,
            heard: None,
            keyed: None,
            unheard: false,
            addresses: Vec::new(),
            pressed: None,
            moved: None,
            told: None,
            armed: None,
            side,
        });
        self.by_ufrag.insert(ufrag, id);
        self.keep_sessions_of(id);
        // The browser's next packet may be DTLS, from the address that the record names.
        if let Some(address) = address {
            self.addresses.record(now, id, address, &mut self.members);
            self.look_for_keys(now, address);
        }
        Ok(())
    }

    /// Removes a peer. Returns whether it was there.
    pub fn leave(&mut self, now: Instant, ufrag: &Ufrag) -> bool {
        let Some(id) = self.by_ufrag.get(ufrag).copied() else {
            return false;
        };
        self.remove(now, id, Departure::Left);
        true
    }

    /// Removes a peer and reports why.
    pub(super) fn remove(&mut self, now: Instant, id: usize, why: Departure) {
        let Some(member) = self.members.try_remove(id) else {
            return;
        };
        self.by_ufrag.remove(&member.ufrag);
        if why != Departure::Left {
            self.turned_away.add(now, member.peer.credentials());
        }
        for address in &member.addresses {
            self.addresses.leave(id, *address);
        }
        if let Some(channel) = self.channels.get_mut(member.channel) {
            match member.side {
                Side::Publisher(_) => {
                    channel.publisher = None;
                    channel.end_streams(now, &self.members);
                }
                Side::Viewer(viewer) => {
                    channel.remove_viewer(id, viewer.forwarder);
                    self.forwarding.release(viewer.forwarder, id);
                }
            }
        }
        self.events.push_back(Event::Gone {
            ufrag: member.ufrag,
            why,
        });
        self.look_after_channel(now, member.channel);
    }
}
