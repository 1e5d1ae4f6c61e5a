//! No two packets under one key and index, whenever the process is killed: in memory, with every
//! packet that was ever protected noted.

use std::collections::{HashMap, VecDeque};

use bincode::config;
use bytes::BufMut;
use rekindle_full_state::record::{Counters, Resumed, SessionRecord};
use rekindle_ids::{Role, Ufrag};

use crate::broadcast::full_state::Work;
use crate::broadcast::rtcp;
use crate::broadcast::tests::random::Random;
use crate::broadcast::tests::world::*;
use crate::broadcast::{Broadcast, Config};
use crate::peer::full_state::recorder;

const AUDIO: u32 = 0x2000;

/// What is durable, and what is on its way there. A kill leaves each change that is on its way done
/// or not done.
#[derive(Default)]
struct Disk {
    sessions: HashMap<Ufrag, Vec<u8>>,
    counters: Counters,
    queue: VecDeque<Work>,
    /// The first of the queue is being written.
    busy: bool,
}

impl Disk {
    fn do_it(&mut self, work: &Work) {
        match work {
            Work::Session(session) => {
                let bytes = bincode::serde::encode_to_vec(session, config::standard()).unwrap();
                self.sessions.insert(session.ufrag.clone(), bytes);
            }
            Work::Forget(ufrag) => drop(self.sessions.remove(ufrag)),
            Work::Counters(counters) => self.counters = counters.clone(),
        }
    }

    fn session(&self, ufrag: &Ufrag) -> Option<SessionRecord> {
        let bytes = self.sessions.get(ufrag)?;
        Some(
            bincode::serde::decode_from_slice(bytes, config::standard())
                .unwrap()
                .0,
        )
    }
}

/// A world whose server keeps sessions.
struct Kept {
    world: World,
    disk: Disk,
    random: Random,
    /// Nothing is left to chance.
    reliable: bool,
    /// Sessions taken over, and peers that had to run a handshake.
    taken: usize,
    refused: usize,
}

impl Kept {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        world.core.keep_sessions();
        world.core.take_counters(Counters::default());
        Self {
            world,
            disk: Disk::default(),
            random: Random(seed),
            reliable: false,
            taken: 0,
            refused: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        !self.reliable && self.random.below(100) < percent
    }

    /// One step of the writer's, if it has anything to do.
    fn write_a_step(&mut self) {
        let now = self.world.now;
        while let Some(work) = self.world.core.poll_work(now, |_| None) {
            self.disk.queue.push_back(work);
        }
        if !self.disk.busy {
            self.disk.busy = !self.disk.queue.is_empty();
            return;
        }
        let work = self.disk.queue.pop_front().unwrap();
        self.disk.busy = false;
        // A disk may fail, having written or not.
        let (fails, written) = (self.chance(3), self.chance(50));
        if !fails || written {
            self.disk.do_it(&work);
        }
        if matches!(work, Work::Counters(_)) {
            let mut out = Vec::new();
            self.world.core.reserved(!fails, &mut out);
            self.world.deliver(out);
        }
    }

    fn write_all(&mut self) {
        self.reliable = true;
        self.write_a_step();
        while self.disk.busy || !self.disk.queue.is_empty() {
            self.write_a_step();
        }
        self.reliable = false;
    }

    /// SIGKILL with nothing on its way, and a new process that lives.
    fn restart_for_sure(&mut self) {
        self.write_all();
        self.reliable = true;
        self.restart();
        self.reliable = false;
    }

    /// SIGKILL, and a new process. It may be killed again before it has done anything.
    fn restart(&mut self) {
        let cut_off = self.disk.queue.pop_front().filter(|_| self.disk.busy);
        if let Some(work) = cut_off
            && self.chance(50)
        {
            self.disk.do_it(&work);
        }
        (self.disk.busy, self.disk.queue) = (false, VecDeque::new());
        let left = self.disk.counters.clone();
        let mut raised = left.clone();
        raised.raise();
        self.disk.counters = raised.clone();
        if self.chance(10) {
            return self.restart();
        }
        let (dtls, seed) = (self.world.dtls.clone(), [self.random.byte(); 32]);
        self.world.core = Broadcast::new(Config::default(), dtls, seed, self.world.now);
        let core: &mut Broadcast = &mut self.world.core;
        core.keep_sessions();
        core.take_counters(raised.clone());
        let (mut left, mut raised) = (left.by_peer(), raised.by_peer());
        let mut out = Vec::new();
        let mut without = Vec::new();
        for (id, browser) in self.world.browsers.iter_mut().enumerate() {
            browser.join.resumed = true;
            browser.join.negotiated.address = browser.address.as_udp();
            browser.dtls = None;
            self.world
                .core
                .join(self.world.now, browser.join.clone())
                .unwrap();
            let ufrag = browser.ufrag();
            let counters = left.remove(&ufrag).zip(raised.remove(&ufrag));
            let resumed = self.disk.session(&ufrag).zip(counters);
            let taken = resumed.is_some_and(|(session, (left, now))| {
                // Killed after a new handshake, before its keys were written: the old ones are
                // taken over, to no use.
                browser.estranged =
                    session.material.0 != browser.material[..session.material.0.len()];
                let resumed = Resumed { session, left, now };
                self.world
                    .core
                    .resume(self.world.now, &resumed, &mut out)
                    .is_some()
            });
            if taken {
                self.taken += 1;
            } else {
                self.refused += 1;
                without.push(id);
            }
        }
        self.world.core.all_taken_over();
        self.world.deliver(out);
        for id in without {
            // The page learns of it, and has its browser run a handshake, unless the process is
            // killed before that.
            if self.chance(80) {
                self.world.check(id);
                self.world.handshake(id);
            }
        }
    }
}

fn audio_packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.put_u16(sequence);
    packet.put_u32(u32::from(sequence) * 960);
    packet.put_u32(AUDIO);
    packet.put_slice(&[1, 2, 3]);
    packet
}

/// The publisher goes mad: it sends other bytes under a sequence number that it has used.
fn other(sequence: u16, random: &mut Random) -> Vec<u8> {
    [
        0x10,
        0x01,
        random.byte(),
        random.byte(),
        (sequence >> 8) as u8,
        sequence as u8,
    ]
    .to_vec()
}

fn run(seed: u64, kills: usize) -> (usize, usize) {
    let mut kept = Kept::new(seed);
    let publisher = kept.world.connected(Role::Publisher);
    let mut viewers = vec![kept.world.connected(Role::Viewer)];
    let mut sequence = 65_300_u16.wrapping_add(seed as u16 * 77);
    let mut rtx = 0_u16;
    for _ in 0..kills {
        for _ in 0..kept.random.below(60) {
            match kept.random.below(24) {
                0..=9 => {
                    for _ in 0..=kept.random.below(12) {
                        let payload = other(sequence, &mut kept.random);
                        kept.world.video(publisher, sequence, &payload);
                        kept.world.rtp(publisher, &audio_packet(sequence));
                        sequence = sequence.wrapping_add(1);
                    }
                    kept.world.now += 33 * MS;
                }
                10..=12 => {
                    // Again what was sent before, by RTX and on the stream itself, with other
                    // bytes.
                    let old = sequence.wrapping_sub(kept.random.below(400) as u16);
                    let payload = other(old, &mut kept.random);
                    rtx = rtx.wrapping_add(1);
                    kept.world.rtp(publisher, &rtx_packet(rtx, old, &payload));
                    kept.world.video(publisher, old, &payload);
                }
                13..=15 => {
                    // Viewers ask for anything.
                    let asked: Vec<u16> = (0..20)
                        .map(|_| sequence.wrapping_sub(kept.random.below(600) as u16))
                        .collect();
                    for packet in rtcp::nacks(9, VIDEO, &asked) {
                        for viewer in viewers.clone() {
                            kept.world.rtcp(viewer, &packet);
                        }
                    }
                }
                16 if viewers.len() < 5 => viewers.push(kept.world.connected(Role::Viewer)),
                17 if kept.chance(10) => {
                    let id = kept.random.below(kept.world.browsers.len() as u32) as usize;
                    kept.world.check(id);
                    kept.world.handshake(id);
                }
                18 => {
                    let time = kept.random.below(600);
                    kept.world.pass(time * MS);
                    (0..kept.world.browsers.len()).for_each(|id| kept.world.check(id));
                }
                19 if kept.chance(20) => {
                    sequence = sequence.wrapping_add(kept.random.below(3000) as u16)
                }
                _ => kept.write_a_step(),
            }
            if kept.chance(30) {
                kept.write_a_step();
            }
        }
        kept.restart();
    }
    (kept.taken, kept.refused)
}

#[test]
fn whenever_it_is_killed_no_two_packets_share_a_key_and_an_index() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..8 {
        let (more, less) = run(seed, 40);
        taken += more;
        refused += less;
    }
    println!(
        "{} packets protected, {taken} sessions taken over, {refused} handshakes instead",
        recorder::places()
    );
    assert!(
        taken > 800,
        "{taken} sessions were taken over: too few to show anything"
    );
    assert!(recorder::places() > 50_000);
}

/// A publisher and a viewer, with all written that is to be.
fn broadcast() -> (Kept, usize, usize) {
    let mut kept = Kept::new(7);
    let publisher = kept.world.connected(Role::Publisher);
    let viewer = kept.world.connected(Role::Viewer);
    for sequence in 0..200 {
        kept.world.video(publisher, sequence, DELTA);
        kept.world.rtp(publisher, &audio_packet(sequence));
        kept.world.pass(10 * MS);
        kept.write_all();
    }
    (kept, publisher, viewer)
}

#[test]
fn after_a_restart_media_and_feedback_go_on_at_once_and_what_was_lost_is_asked_for() {
    let (mut kept, publisher, viewer) = broadcast();
    kept.restart_for_sure();
    assert_eq!(kept.refused, 0);
    kept.world.browsers[publisher].rtcp.clear();
    kept.world.browsers[viewer].rtp.clear();
    // 200 to 209 were lost.
    kept.world.video(publisher, 210, DELTA);
    kept.world.rtp(publisher, &audio_packet(210));
    let asked: Vec<u16> = kept.world.browsers[publisher]
        .rtcp
        .iter()
        .flat_map(|packet| rtcp::read(packet))
        .filter_map(|item| match item {
            rtcp::Item::Nack { ssrc: VIDEO, pairs } => {
                Some(rtcp::nacked(pairs).collect::<Vec<u16>>())
            }
            _ => None,
        })
        .flatten()
        .collect();
    assert!((200..210).all(|lost| asked.contains(&lost)), "{asked:?}");
    let came: Vec<u32> = kept.world.browsers[viewer]
        .rtp
        .iter()
        .map(|p| p.header.ssrc)
        .collect();
    assert_eq!(came, [VIDEO_RTX, AUDIO]);
}
