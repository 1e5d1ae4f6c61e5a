//! What the core does in addition in full-state mode: sessions and counters are written, and
//! sessions are taken over.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rekindle_full_state::ledger::{AUDIO_AHEAD, RTX_AHEAD};
use rekindle_full_state::record::{Counters, Resumed, SessionCounters, SessionRecord};
use rekindle_ids::{Role, Ufrag};
use rekindle_sdp::Kind;

use crate::broadcast::Event;
use crate::broadcast::channel::Channel;
use crate::broadcast::delivery::catch_up;
use crate::broadcast::forwarding::Order;
use crate::broadcast::hub::Broadcast;
use crate::broadcast::member::{Members, Side};
use crate::broadcast::nack::Why;
use crate::broadcast::rtp::Packet;
use crate::broadcast::track::{MAX_GAP, Track};
use crate::peer::full_state::Wanted;
use crate::peer::{Peer, Transmit};

/// How long keys of an earlier process are kept without a packet of the browser's that they
/// authenticate. After it they are dropped if the browser has sent something that they do not
/// authenticate, or nothing at all: it has other keys, or is gone. Viewers send receiver reports
/// about once a second.
const PROOF: Duration = Duration::from_secs(5);
/// A sequence number this far ahead of a stream's ceiling needs no shift.
const AHEAD: u16 = 0x4000;

/// Work for the vault's writer, to be done in this order.
#[derive(Debug)]
pub enum Work {
    /// Write a session's keys.
    Session(SessionRecord),
    /// Write the counters, and report the result: see [`Broadcast::reserved`].
    Counters(Counters),
    /// Remove a session's keys.
    Forget(Ufrag),
}

/// Progress of writing everything again: see [`Broadcast::rewrite_sessions`].
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Anew {
    #[default]
    Done,
    Wanted,
    /// The writer has it all, the counters as the last.
    Given,
}

/// State of full-state mode.
#[derive(Default)]
pub(crate) struct State {
    on: bool,
    wanted: Wanted,
    /// Whether the counters of the last process have been read.
    ready: bool,
    /// Counters are being written.
    writing: bool,
    anew: Anew,
    /// Sessions to be written, and sessions to be removed.
    fresh: VecDeque<Ufrag>,
    dropped: VecDeque<Ufrag>,
    /// Counters of sessions that have not been taken over yet: they are written again unchanged.
    awaited: HashMap<Ufrag, SessionCounters>,
    /// The session of the peer whose record is taken in next.
    brought: Option<Box<Resumed>>,
    /// The local addresses that peers send to whose sessions were taken over.
    sources: Vec<(SocketAddr, IpAddr)>,
    /// Where streams continue: low halves of the ceilings that the last process left.
    starts: HashMap<u32, u16>,
    /// The publishers' sequence numbers when their counters were last written: low halves.
    heard: HashMap<u32, u16>,
}

/// Registers a stream, and its retransmissions, that a viewer will get.
fn announce(peer: &mut Peer, track: &Track) {
    peer.announce(track.ssrc, if may_shift(track) { AUDIO_AHEAD } else { 0 });
    if track.section.kind == Kind::Video {
        peer.announce(track.rtx_ssrc, RTX_AHEAD);
    }
}

/// Packets that may be requested again must keep their numbers, and can be sent as RTX.
fn may_shift(track: &Track) -> bool {
    track.section.kind == Kind::Audio && !track.has_nack()
}

impl State {
    /// A publisher's packet with the sequence number that viewers get. A stream's first packet
    /// decides what is added, and the counters of its viewers are needed at that time.
    pub(crate) fn shifted(
        &self,
        members: &mut Members,
        channel: &mut Channel,
        at: usize,
        mut packet: Packet,
    ) -> Packet {
        if !self.on {
            return packet;
        }
        let track = &mut channel.tracks[at];
        if track.started.is_none() {
            track.shift = self.shift(track, packet.header.sequence);
            // The gap is known here better than in the default mode. A viewer that gets only RTX
            // does not notice that it misses a packet.
            let gap = self
                .heard
                .get(&track.ssrc)
                .map(|heard| packet.header.sequence.wrapping_sub(*heard));
            if let Some(gap) = gap.filter(|gap| u64::from(*gap) <= MAX_GAP) {
                track.ask_back = (gap.saturating_sub(1), Why::Gap);
            }
            let track = &channel.tracks[at];
            for viewer in channel.viewers() {
                if let Some(member) = members.get_mut(viewer) {
                    announce(&mut member.peer, track);
                }
            }
        }
        packet.header.sequence = packet
            .header
            .sequence
            .wrapping_add(channel.tracks[at].shift);
        packet
    }

    fn shift(&self, track: &Track, sequence: u16) -> u16 {
        let audio = track.section.kind == Kind::Audio;
        match self.starts.get(&track.ssrc) {
            // Packets that may be requested again must keep their numbers, and can be sent as RTX.
            Some(start) if audio && !track.has_nack() && sequence.wrapping_sub(*start) >= AHEAD => {
                start.wrapping_sub(sequence)
            }
            _ => 0,
        }
    }
}

impl Broadcast {
    /// Keeps sessions from now on. Counters are written only after [`Broadcast::take_counters`].
    pub fn keep_sessions(&mut self) {
        self.full_state.on = true;
    }

    /// Whether sessions are kept.
    pub(crate) fn keeps_sessions(&self) -> bool {
        self.full_state.on
    }

    /// Takes the counters of the last process, after a first reservation for this one was made
    /// durable. To be called before any peer is taken in.
    pub fn take_counters(&mut self, counters: Counters) {
        let state = &mut self.full_state;
        state.ready = true;
        if counters.sessions.is_empty() {
            return;
        }
        self.sender = counters.sender;
        for session in &counters.sessions {
            let heard = session
                .received
                .iter()
                .filter_map(|got| Some((got.ssrc, got.rtp? as u16)));
            state.heard.extend(heard);
            for sent in session.sent.iter().filter(|sent| sent.last.is_some()) {
                // The ceiling before the reservation for this process.
                let left = (sent.ceiling - u64::from(sent.ahead)) as u16;
                let start = state.starts.entry(sent.ssrc).or_insert(left);
                if left.wrapping_sub(*start) < 0x8000 {
                    *start = left;
                }
            }
        }
        let sessions = counters.sessions.into_iter();
        state.awaited = sessions
            .map(|session| (session.ufrag.clone(), session))
            .collect();
    }

    /// All records of earlier boots have been read: counters of sessions that were not taken over
    /// are of no use any more.
    pub(crate) fn all_taken_over(&mut self) {
        self.full_state.awaited.clear();
        self.full_state.brought = None;
    }

    /// The session of the peer whose record is taken in next: see [`Broadcast::take_record`].
    pub fn bring_session(&mut self, session: Box<Resumed>) {
        self.full_state.brought = Some(session);
    }

    /// Takes over the session of a peer that has just joined from its record, if there is one.
    pub(crate) fn take_over(&mut self, now: Instant, ufrag: &Ufrag, out: &mut Vec<Transmit>) {
        let brought = self.full_state.brought.take();
        if let Some(session) = brought.filter(|session| session.session.ufrag == *ufrag) {
            let peer = self.resume(now, &session, out);
            self.full_state.sources.extend(peer.zip(session.now.local));
        }
    }

    /// A peer whose session was taken over, and the local address that it sends to.
    pub fn poll_source(&mut self) -> Option<(SocketAddr, IpAddr)> {
        self.full_state.sources.pop()
    }

    /// Registers the session of a new peer.
    pub(crate) fn keep_sessions_of(&mut self, id: usize) {
        if self.full_state.on {
            self.members[id]
                .peer
                .keep_sessions(self.full_state.wanted.clone());
        }
    }

    /// Takes over the session of a peer that has joined from its record. Returns where its media
    /// goes; `None` if it could not be taken over.
    pub(crate) fn resume(
        &mut self,
        now: Instant,
        resumed: &Resumed,
        out: &mut Vec<Transmit>,
    ) -> Option<SocketAddr> {
        let ufrag = &resumed.session.ufrag;
        self.full_state.awaited.remove(ufrag);
        let id = self.by_ufrag.get(ufrag).copied()?;
        let taken = self.members[id].peer.resume(now, resumed);
        self.settle(now, id, out);
        let address = self.members.get(id)?.peer.address()?;
        address.as_udp().filter(|_| taken)
    }

    /// The peer has keys, from a handshake or taken over.
    pub(crate) fn has_keys(&mut self, id: usize) {
        if !self.full_state.on {
            return;
        }
        let member = &mut self.members[id];
        if member.peer.is_unreserved() {
            self.full_state.fresh.push_back(member.ufrag.clone());
            self.full_state.wanted.store(true, Ordering::Relaxed);
        }
        if let Some(channel) = self.channels.get(member.channel)
            && member.role() == Role::Viewer
        {
            for track in &channel.tracks {
                announce(&mut member.peer, track);
            }
        }
    }

    /// The next work for the vault's writer. `local` returns the local address that a peer sends
    /// to.
    pub fn poll_work(
        &mut self,
        now: Instant,
        local: impl Fn(SocketAddr) -> Option<IpAddr>,
    ) -> Option<Work> {
        let state = &mut self.full_state;
        if let Some(ufrag) = state.dropped.pop_front() {
            return Some(Work::Forget(ufrag));
        }
        while let Some(ufrag) = state.fresh.pop_front() {
            let member = self
                .by_ufrag
                .get(&ufrag)
                .and_then(|id| self.members.get(*id));
            if let Some(session) = member.and_then(|member| member.peer.session()) {
                return Some(Work::Session(session));
            }
        }
        if !state.ready || state.writing || !state.wanted.swap(false, Ordering::Relaxed) {
            return None;
        }
        state.writing = true;
        if state.anew == Anew::Wanted {
            state.anew = Anew::Given;
        }
        let mut sessions: Vec<SessionCounters> = state.awaited.values().cloned().collect();
        sessions.extend(
            self.members
                .iter_mut()
                .filter_map(|(_, member)| member.peer.reserve(now, &local)),
        );
        Some(Work::Counters(Counters {
            sender: self.sender,
            sessions,
        }))
    }

    /// Reports whether the counters that [`Broadcast::poll_work`] returned last are durable.
    pub fn reserved(&mut self, durable: bool, out: &mut Vec<Transmit>) {
        self.full_state.writing = false;
        if self.full_state.anew == Anew::Given {
            // What was given before the counters has been written before them.
            self.full_state.anew = if durable { Anew::Done } else { Anew::Wanted };
        }
        if !durable {
            // They are still needed; the next packet asks again, and so does this.
            self.full_state.wanted.store(true, Ordering::Relaxed);
        }
        let ids: Vec<usize> = self.members.iter().map(|(id, _)| id).collect();
        for id in ids {
            let member = &mut self.members[id];
            let ready = member.peer.reserved(durable);
            if ready.is_empty() || member.role() != Role::Viewer {
                continue;
            }
            let key = member.channel;
            let (channel, mut egress) = self.egress(key);
            for track in channel
                .tracks
                .iter()
                .filter(|track| ready.contains(&track.ssrc))
            {
                catch_up(id, track, &mut egress);
            }
        }
        self.forwarding.run(out);
    }

    /// Writes every session and the counters again: the vault has another key.
    pub fn rewrite_sessions(&mut self) {
        let state = &mut self.full_state;
        if !state.on {
            return;
        }
        state.fresh = self
            .members
            .iter()
            .map(|(_, member)| member.ufrag.clone())
            .collect();
        state.anew = Anew::Wanted;
        state.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether everything that [`Broadcast::rewrite_sessions`] asked for is durable.
    pub fn are_rewritten(&self) -> bool {
        self.full_state.anew == Anew::Done
    }

    /// Drops keys that were taken over and are of no use, so that the browser runs a handshake.
    pub(crate) fn look_after_sessions(&mut self, now: Instant) {
        if !self.full_state.on {
            return;
        }
        for (id, member) in self.members.iter_mut() {
            let heard = member.heard.is_some();
            let useless = member.peer.unproven().is_some_and(|unproven| {
                now.saturating_duration_since(unproven.since) >= PROOF
                    && (unproven.doubted || !heard)
            });
            if useless || member.peer.is_lost() {
                member.peer.forget_keys();
                if let Side::Viewer(viewer) = &member.side {
                    let order = Order::Connect {
                        viewer: id,
                        sending: None,
                        to: None,
                    };
                    self.forwarding.order(viewer.forwarder, order);
                }
                self.full_state.dropped.push_back(member.ufrag.clone());
                self.events.push_back(Event::Disconnected {
                    ufrag: member.ufrag.clone(),
                });
            }
        }
    }
}
