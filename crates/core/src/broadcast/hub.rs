//! The core: passes datagrams to peers, and what peers send to channels.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_ids::Ufrag;
use slab::Slab;

use super::addresses::Addresses;
use super::admission::state::Admission;
use super::channel::Channel;
use super::delivery::{Egress, MediaCounts};
use super::forwarding::{Forwarder, Forwarding, Order, Orders};
use super::key_derivation::KeyDerivation;
use super::member::{Members, Side};
use super::timers::{Timer, Timers};
use super::turned_away::TurnedAway;
use super::{Config, Event, timers};
use crate::peer::{Agreed, Cookies, DtlsError, Identities, PeerEvent, Transmit};

/// A timer that is still due after its work was done expires again no sooner than this.
pub(super) const MIN_TICK: Duration = Duration::from_millis(1);

/// The sans-IO core: all peers and channels.
pub struct Broadcast {
    pub(super) config: Config,
    pub(super) identities: Identities,
    /// SSRC of the server as a sender of RTCP; a new one in each boot.
    pub(super) sender: u32,
    pub(super) members: Members,
    pub(super) by_ufrag: HashMap<Ufrag, usize>,
    pub(super) addresses: Addresses,
    pub(super) admission: Admission,
    pub(super) cookies: Cookies,
    /// How many jobs there have been.
    pub(super) jobs: u64,
    pub(super) turned_away: TurnedAway,
    pub(super) channels: Slab<Channel>,
    pub(super) by_name: HashMap<String, usize>,
    pub(super) events: VecDeque<Event>,
    pub(super) counts: MediaCounts,
    pub(super) forwarding: Forwarding,
    pub(super) timers: Timers,
    liveness: Option<Instant>,
    pub(super) full_state: super::full_state::State,
}

impl Broadcast {
    /// An empty core. `seed` feeds what must be unpredictable or distinct (DTLS cookies, RTCP
    /// sender SSRC, first RTX sequence numbers).
    pub fn new(
        config: Config,
        identities: impl Into<Identities>,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let derivation = Arc::new(KeyDerivation::new(seed));
        let identities = identities.into();
        let mut cookies = Cookies::new(&derivation.key("cookies"), now);
        if identities.require_post_quantum() {
            cookies = cookies.withheld();
        }
        identities.limit_handshakes(config.max_handshakes);
        let mut this = Self {
            config,
            identities,
            sender: derivation.number("sender", &[]),
            forwarding: Forwarding::new(derivation),
            members: Slab::new(),
            by_ufrag: HashMap::new(),
            addresses: Addresses::default(),
            admission: Admission::default(),
            cookies,
            jobs: 0,
            turned_away: TurnedAway::default(),
            channels: Slab::new(),
            by_name: HashMap::new(),
            events: VecDeque::new(),
            counts: MediaCounts::default(),
            timers: Timers::default(),
            liveness: None,
            full_state: Default::default(),
        };
        this.timers.arm(
            Timer::Liveness,
            Some(now + timers::LIVENESS),
            &mut this.liveness,
        );
        this
    }

    /// Accepts peers from records that use this certificate too (DER, and its private key in
    /// PKCS#8).
    ///
    /// # Errors
    /// [`DtlsError::Config`] where the DTLS library refuses it.
    pub fn learn_identity(
        &mut self,
        certificate: &[u8],
        private_key: &[u8],
    ) -> Result<(), DtlsError> {
        self.identities.learn(certificate, private_key)
    }

    /// Forgets an earlier certificate (by its SHA-256): no peer that uses it will be taken in any
    /// more. Present peers keep it.
    pub fn forget_identity(&mut self, certificate: &[u8; 32]) {
        self.identities.forget(certificate);
    }

    /// A page of this peer follows its events: it will renew its keys when necessary.
    pub fn has_page(&mut self, ufrag: &Ufrag) {
        if let Some(id) = self.by_ufrag.get(ufrag) {
            let member = &mut self.members[*id];
            member.renews = true;
            // It hears of replaced streams, and follows them without translation.
            if let Side::Viewer(viewer) = &mut member.side
                && viewer.translation().is_some_and(|known| known.is_idle())
            {
                viewer.translation = None;
                let order = Order::Untranslated { viewer: *id };
                self.forwarding.order(viewer.forwarder, order);
            }
        }
    }

    /// Gives out `count` forwarders, at least one: from now on what is for viewers is returned as
    /// [orders](Broadcast::poll_orders) for them, and not as datagrams. To be called before any
    /// peer joins.
    pub fn forwarders(&mut self, count: usize) -> Vec<Forwarder> {
        self.forwarding.give_out(count)
    }

    /// Takes the orders for this forwarder, in exchange for orders that it has carried out: see
    /// [`Forwarder::follow`].
    pub fn poll_orders(&mut self, forwarder: usize, orders: &mut Orders) {
        self.forwarding.poll(forwarder, orders);
    }

    /// Passes on a peer's events and sets the timers that may have changed.
    pub(super) fn settle(&mut self, now: Instant, id: usize, out: &mut Vec<Transmit>) {
        while let Some(event) = self
            .members
            .get_mut(id)
            .and_then(|member| member.peer.poll_event())
        {
            match event {
                PeerEvent::Connected {
                    renewed,
                    took,
                    agreed,
                } => self.connected(now, id, renewed, (took, agreed), out),
                PeerEvent::Address(to) => {
                    let member = &mut self.members[id];
                    member.moved = to.as_udp();
                    if let Side::Viewer(viewer) = &member.side {
                        let order = Order::Move { viewer: id, to };
                        self.forwarding.order(viewer.forwarder, order);
                    }
                }
            }
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(address) = member.take_move(now) {
            let ufrag = member.ufrag.clone();
            self.events.push_back(Event::Address { ufrag, address });
        }
        let next = member.next_timeout();
        self.timers.arm(Timer::Move(id), next, &mut member.armed);
        let channel = member.channel;
        self.arm_channel(channel);
    }

    pub(super) fn arm_channel(&mut self, key: usize) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let next = channel.next_feedback(&self.members);
        self.timers
            .arm(Timer::Channel(key), next, &mut channel.armed);
    }

    fn connected(
        &mut self,
        now: Instant,
        id: usize,
        renewed: bool,
        (took, agreed): (Duration, Option<Agreed>),
        out: &mut Vec<Transmit>,
    ) {
        let member = &mut self.members[id];
        let (role, key, resumed) = (member.role(), member.channel, member.resumed && !renewed);
        self.events.push_back(Event::Connected {
            ufrag: member.ufrag.clone(),
            role,
            resumed,
            took,
            agreed,
        });
        self.has_keys(id);
        let member = &mut self.members[id];
        if let Side::Viewer(viewer) = &mut member.side {
            let order = Order::Connect {
                viewer: id,
                sending: member.peer.take_sending(),
                to: member.peer.address(),
            };
            self.forwarding.order(viewer.forwarder, order);
            self.send_last_reports(id);
            let (channel, mut egress) = self.egress(key);
            channel.viewer_connected(now, id, resumed, renewed, &mut egress);
        }
        self.send_feedback(now, key, out);
    }

    /// A channel, and what is needed to reach its viewers.
    pub(super) fn egress(&mut self, key: usize) -> (&mut Channel, Egress<'_>) {
        let egress = Egress {
            members: &mut self.members,
            forwarding: &mut self.forwarding,
        };
        (&mut self.channels[key], egress)
    }

    pub(super) fn send_feedback(&mut self, now: Instant, key: usize, out: &mut Vec<Transmit>) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        match channel.upstream {
            Some(_) => self.send_upstream(now, key),
            None => {
                let (members, counts) = (&mut self.members, &mut self.counts);
                channel.send_feedback(now, self.sender, members, counts, out);
            }
        }
    }

    /// Does what is due, and works on one handshake: that costs as much as a thousand packets, so
    /// that the caller may want to look at its clock and its socket before the next one.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        for (at, timer) in self.timers.due(now) {
            match timer {
                Timer::Liveness => {
                    self.liveness = None;
                    self.look_after(now, out);
                    self.timers.arm(
                        Timer::Liveness,
                        Some(now + timers::LIVENESS),
                        &mut self.liveness,
                    );
                }
                Timer::Move(id) => self.tell_move(now, at, id, out),
                Timer::Handshakes(key) => self.handshakes_timeout(now, at, key, out),
                Timer::Channel(key) => {
                    let Some(channel) = self
                        .channels
                        .get_mut(key)
                        .filter(|channel| channel.armed == Some(at))
                    else {
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
                    self.timers
                        .arm(Timer::Channel(key), next, &mut channel.armed);
                }
            }
        }
        self.take_turn(now, out);
        self.forwarding.run(out);
    }

    fn tell_move(&mut self, now: Instant, at: Instant, id: usize, out: &mut Vec<Transmit>) {
        let Some(member) = self
            .members
            .get_mut(id)
            .filter(|member| member.armed == Some(at))
        else {
            return;
        };
        member.armed = None;
        self.settle(now, id, out);
    }

    /// When [`Broadcast::handle_timeout`] is to be called next: a time in the past while handshakes
    /// wait for their turn.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers
            .next()
            .into_iter()
            .chain(self.admission.since())
            .min()
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
