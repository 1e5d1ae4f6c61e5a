//! The core: routes datagrams to peers, and what peers say to channels.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::peer::{Identities, Peer, PeerEvent, Received, Transmit};
use crate::vault::{Role, Ufrag};

use super::channel::Channel;
use super::delivery::{Counts, Egress};
use super::egress::Buffers;
use super::member::{Members, Side};
use super::seed::Seed;
use super::timers::{Timer, Timers};
use super::{Config, Event, Routed, Snapshot, liveness};

/// Most addresses of one peer whose datagrams are taken.
const MAX_ADDRESSES: usize = 4;
/// A timer that is overdue after its work was done goes off again no sooner than this.
const MIN_TICK: Duration = Duration::from_millis(1);

/// The sans-IO core: all peers and channels.
pub struct Broadcast {
    pub(super) config: Config,
    pub(super) identities: Identities,
    pub(super) seed: Seed,
    /// SSRC of the server as a sender of RTCP; one a boot.
    pub(super) sender: u32,
    pub(super) members: Members,
    pub(super) by_ufrag: HashMap<Ufrag, usize>,
    pub(super) by_address: HashMap<SocketAddr, usize>,
    pub(super) channels: Slab<Channel>,
    pub(super) by_name: HashMap<String, usize>,
    pub(super) events: VecDeque<Event>,
    pub(super) counts: Counts,
    pub(super) buffers: Buffers,
    timers: Timers,
    liveness: Option<Instant>,
    #[cfg(feature = "full-state")]
    pub(super) full_state: super::full_state::State,
}

impl Broadcast {
    /// An empty core. `seed` feeds what must be unpredictable or distinct (RTCP sender SSRC, first RTX sequence numbers).
    pub fn new(config: Config, identities: impl Into<Identities>, seed: [u8; 32], now: Instant) -> Self {
        let seed = Seed::new(seed);
        let identities = identities.into();
        identities.limit_handshakes(config.max_handshakes);
        let mut this = Self {
            config,
            identities,
            sender: seed.number("sender", &[]),
            seed,
            members: Slab::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            channels: Slab::new(),
            by_name: HashMap::new(),
            events: VecDeque::new(),
            counts: Counts::default(),
            buffers: Buffers::default(),
            timers: Timers::default(),
            liveness: None,
            #[cfg(feature = "full-state")]
            full_state: Default::default(),
        };
        this.timers
            .arm(Timer::Liveness, Some(now + liveness::INTERVAL), &mut this.liveness);
        this
    }

    /// An earlier certificate (by its SHA-256) is not needed for any peer to come. Peers that go by it keep it.
    pub fn forget_identity(&mut self, certificate: &[u8; 32]) {
        self.identities.forget(certificate);
    }

    /// The role of the peer that an address belongs to.
    pub fn role_of(&self, address: SocketAddr) -> Option<Role> {
        let id = self.by_address.get(&address)?;
        self.members.get(*id).map(|member| member.role())
    }

    /// Takes a datagram: a STUN Binding request goes to the peer whose user name fragment it names, all else to the peer whose address it
    /// comes from. Only what a peer has authenticated changes anything.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, data: &[u8], out: &mut Vec<Transmit>) -> Routed {
        let id = match Peer::stun_ufrag(data) {
            Some(text) => match self.by_ufrag.get(text) {
                Some(id) => *id,
                None => return Ufrag::new(text).map_or(Routed::Done, Routed::UnknownUfrag),
            },
            None => match self.by_address.get(&from) {
                Some(id) => *id,
                None => return Routed::UnknownAddress,
            },
        };
        let Some(member) = self.members.get_mut(id) else {
            return Routed::Done;
        };
        let received = member.peer.handle(now, from, data, out);
        if member.heard.is_none() && member.peer.last_heard().is_some() {
            member.heard = Some(now);
        }
        let role = member.role();
        match (received, role) {
            (Received::Checked, _) => self.bind(id, from),
            (Received::Rtp(packet), Role::Publisher) => self.publisher_rtp(now, id, packet, out),
            (Received::Rtcp(packet), Role::Publisher) => self.publisher_rtcp(now, id, &packet, out),
            (Received::Rtcp(packet), Role::Viewer) => self.viewer_rtcp(now, id, &packet, out),
            (Received::Rtp(_), Role::Viewer) | (Received::Nothing, _) => {}
        }
        self.settle(now, id, out);
        Routed::Done
    }

    /// An address belongs to a peer from now on, and to no other.
    pub(super) fn bind(&mut self, id: usize, address: SocketAddr) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.addresses.last() == Some(&address) {
            return;
        }
        member.addresses.retain(|known| *known != address);
        member.addresses.push(address);
        if member.addresses.len() > MAX_ADDRESSES {
            let oldest = member.addresses.remove(0);
            self.by_address.remove(&oldest);
        }
        let before = self.by_address.insert(address, id).filter(|before| *before != id);
        if let Some(other) = before.and_then(|before| self.members.get_mut(before)) {
            other.addresses.retain(|known| *known != address);
        }
    }

    /// Passes on a peer's events and sets the timers that may have changed.
    pub(super) fn settle(&mut self, now: Instant, id: usize, out: &mut Vec<Transmit>) {
        while let Some(event) = self.members.get_mut(id).and_then(|member| member.peer.poll_event()) {
            match event {
                PeerEvent::Handshake => {
                    let ufrag = self.members[id].ufrag.clone();
                    self.events.push_back(Event::Handshake { ufrag });
                }
                PeerEvent::Connected { renewed, took } => self.connected(now, id, renewed, took, out),
                PeerEvent::Address(address) => self.members[id].moved = Some(address),
            }
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(address) = member.take_move(now) {
            let ufrag = member.ufrag.clone();
            self.events.push_back(Event::Address { ufrag, address });
        }
        let next = member.next_timeout();
        self.timers.arm(Timer::Peer(id), next, &mut member.armed);
        let channel = member.channel;
        self.arm_channel(channel);
    }

    fn arm_channel(&mut self, key: usize) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let next = channel.next_feedback(&self.members);
        self.timers.arm(Timer::Channel(key), next, &mut channel.armed);
    }

    fn connected(&mut self, now: Instant, id: usize, renewed: bool, took: Duration, out: &mut Vec<Transmit>) {
        let member = &mut self.members[id];
        let (role, key, resumed) = (member.role(), member.channel, member.resumed && !renewed);
        self.events.push_back(Event::Connected {
            ufrag: member.ufrag.clone(),
            role,
            resumed,
            took,
        });
        #[cfg(feature = "full-state")]
        self.has_keys(id);
        let member = &mut self.members[id];
        if let Side::Viewer(viewer) = &mut member.side {
            viewer.rekeyed();
            self.send_last_reports(id, out);
            let (channel, mut egress) = self.egress(key, out);
            channel.viewer_connected(now, id, resumed, renewed, &mut egress);
        }
        self.send_feedback(now, key, out);
    }

    /// A channel, and all that sending to its viewers needs.
    pub(super) fn egress<'a>(&'a mut self, key: usize, out: &'a mut Vec<Transmit>) -> (&'a mut Channel, Egress<'a>) {
        let egress = Egress {
            members: &mut self.members,
            seed: &self.seed,
            buffers: &mut self.buffers,
            counts: &mut self.counts,
            out,
        };
        (&mut self.channels[key], egress)
    }

    pub(super) fn send_feedback(&mut self, now: Instant, key: usize, out: &mut Vec<Transmit>) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.send_feedback(now, self.sender, &mut self.members, &mut self.counts, out);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        for (at, timer) in self.timers.due(now) {
            match timer {
                Timer::Liveness => {
                    self.liveness = None;
                    self.look_after(now);
                    self.timers
                        .arm(Timer::Liveness, Some(now + liveness::INTERVAL), &mut self.liveness);
                }
                Timer::Peer(id) => self.peer_timeout(now, at, id, out),
                Timer::Channel(key) => {
                    let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.armed == Some(at)) else {
                        continue;
                    };
                    channel.armed = None;
                    self.send_feedback(now, key, out);
                    let Some(channel) = self.channels.get_mut(key) else {
                        continue;
                    };
                    let next = channel
                        .next_feedback(&self.members)
                        .map(|next| next.max(now + MIN_TICK));
                    self.timers.arm(Timer::Channel(key), next, &mut channel.armed);
                }
            }
        }
    }

    fn peer_timeout(&mut self, now: Instant, at: Instant, id: usize, out: &mut Vec<Transmit>) {
        let Some(member) = self.members.get_mut(id).filter(|member| member.armed == Some(at)) else {
            return;
        };
        member.armed = None;
        member.peer.handle_timeout(now, out);
        let next = member.next_timeout().map(|next| next.max(now + MIN_TICK));
        self.timers.arm(Timer::Peer(id), next, &mut member.armed);
        self.settle(now, id, out);
    }

    /// When [`Broadcast::handle_timeout`] wants to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counts for health, metrics and the page; channels by name.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let _ = now;
        let connected = |id: &usize| self.members.get(*id).is_some_and(|member| member.peer.is_connected());
        let channel = |channel: &Channel| {
            let viewers = channel.viewers().filter(connected).count();
            (channel.name.clone(), channel.live, viewers)
        };
        let mut channels: Vec<_> = self.channels.iter().map(|(_, one)| channel(one)).collect();
        channels.sort_unstable();
        Snapshot {
            connected: self
                .members
                .iter()
                .filter(|(_, member)| member.peer.is_connected())
                .count(),
            awaited: self.members.iter().filter(|(_, member)| member.is_awaited()).count(),
            channels,
            packets_in: self.counts.packets_in,
            packets_out: self.counts.packets_out,
            retransmitted: self.counts.retransmitted,
            plis: self.counts.plis,
            duplicates: self.counts.duplicates,
            unknown: self.counts.unknown,
            unmapped: self.counts.unmapped,
        }
    }
}
