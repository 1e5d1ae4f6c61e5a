//! Viewers that are spread over forwarders of several threads: orders come to them late, each
//! forwarder's in their order.

use std::time::Duration;

use rekindle_ids::Role;

use super::random::Random;
use super::world::*;
use crate::broadcast::rtcp;
use crate::broadcast::{Forwarder, Orders};
use crate::peer::Transmit;

/// Forwarders, and what each still has to do.
struct Threads {
    forwarders: Vec<(Forwarder, Vec<Orders>)>,
    random: Random,
}

impl Threads {
    fn new(world: &mut World, count: usize, seed: u64) -> Self {
        let forwarders = world.core.forwarders(count).into_iter();
        Self {
            forwarders: forwarders.map(|one| (one, Vec::new())).collect(),
            random: Random(seed),
        }
    }

    /// Lets some threads go on for a while, or all until nothing is left to do.
    fn run(&mut self, world: &mut World, all: bool) {
        let mut out: Vec<Transmit> = Vec::new();
        for (at, (forwarder, queue)) in self.forwarders.iter_mut().enumerate() {
            let mut orders = Orders::default();
            world.core.poll_orders(at, &mut orders);
            queue.push(orders);
            let steps = if all {
                queue.len()
            } else {
                (self.random.below(4) as usize).min(queue.len())
            };
            for mut orders in queue.drain(..steps) {
                forwarder.follow(&mut orders, &mut out);
                assert!(orders.is_empty());
            }
            if all || self.random.below(2) == 0 {
                forwarder.flush(&mut out);
                assert!(forwarder.waiting_since().is_none());
            }
        }
        world.deliver(out);
    }
}

#[test]
fn every_viewer_gets_every_packet_in_order_whichever_thread_it_is_with() {
    let mut world = World::new();
    let mut threads = Threads::new(&mut world, 3, 1);
    let publisher = world.connected(Role::Publisher);
    let viewers: Vec<usize> = (0..7).map(|_| world.connected(Role::Viewer)).collect();
    let sequences: Vec<u16> = (65_500..=65_535).chain(0..200).collect();
    for sequence in &sequences {
        world.video(publisher, *sequence, DELTA);
        threads.run(&mut world, false);
    }
    threads.run(&mut world, true);
    for viewer in viewers {
        assert_eq!(world.browsers[viewer].sequences(VIDEO), sequences);
    }
    let snapshot = world.core.snapshot(world.now);
    assert_eq!(snapshot.packets_out, 7 * sequences.len() as u64);
    let sent = snapshot.channels[0].sent;
    assert_eq!(
        (sent.packets, sent.bytes),
        (snapshot.packets_out, snapshot.bytes_out)
    );
}

#[test]
fn viewers_are_spread_evenly_and_those_who_leave_make_room() {
    let mut world = World::new();
    let mut threads = Threads::new(&mut world, 2, 1);
    let publisher = world.connected(Role::Publisher);
    let viewers: Vec<usize> = (0..6).map(|_| world.connected(Role::Viewer)).collect();
    threads.run(&mut world, true);
    let sent = |world: &mut World, threads: &mut Threads, sequence| {
        world.video(publisher, sequence, DELTA);
        let counts = threads.forwarders.iter_mut().enumerate();
        let counts = counts.map(|(at, (forwarder, _))| {
            let (mut orders, mut out) = (Orders::default(), Vec::<Transmit>::new());
            world.core.poll_orders(at, &mut orders);
            forwarder.follow(&mut orders, &mut out);
            forwarder.flush(&mut out);
            out.len()
        });
        counts.collect::<Vec<_>>()
    };
    assert_eq!(sent(&mut world, &mut threads, 1), [3, 3]);
    for viewer in [viewers[0], viewers[2]] {
        let ufrag = world.browsers[viewer].ufrag();
        assert!(world.core.leave(world.now, &ufrag));
    }
    assert_eq!(sent(&mut world, &mut threads, 2), [1, 3]);
    world.connected(Role::Viewer);
    threads.run(&mut world, true);
    assert_eq!(sent(&mut world, &mut threads, 3), [2, 3]);
}

#[test]
fn a_forwarder_knows_since_when_packets_wait_and_whether_a_frame_is_complete() {
    let mut world = World::new();
    let (mut forwarder, mut orders) = (world.core.forwarders(1).remove(0), Orders::default());
    let mut out: Vec<Transmit> = Vec::new();
    let publisher = world.connected(Role::Publisher);
    world.connected(Role::Viewer);
    let mut forwards = |world: &mut World, forwarder: &mut Forwarder, sequence, marker: u8| {
        let mut packet = video_packet(sequence, DELTA);
        packet[1] |= marker << 7;
        world.rtp(publisher, &packet);
        world.core.poll_orders(0, &mut orders);
        forwarder.follow(&mut orders, &mut Vec::<Transmit>::new());
        (forwarder.waiting_since(), forwarder.has_whole_frames())
    };
    let first = world.now;
    let since = Some(first);
    assert_eq!(forwards(&mut world, &mut forwarder, 1, 0), (since, false));
    world.now += Duration::from_millis(1);
    assert_eq!(forwards(&mut world, &mut forwarder, 2, 0), (since, false));
    assert_eq!(forwards(&mut world, &mut forwarder, 3, 1), (since, true));
    // The next frame has begun.
    assert_eq!(forwards(&mut world, &mut forwarder, 4, 0), (since, false));
    forwarder.flush(&mut out);
    assert_eq!(out.len(), 4);
    assert_eq!(forwarder.waiting_since(), None);
    let later = Some(world.now);
    assert_eq!(forwards(&mut world, &mut forwarder, 5, 0), (later, false));
}

#[test]
fn a_thread_that_falls_behind_goes_on_with_what_is_new() {
    let mut world = World::new();
    let (mut forwarder, mut orders) = (world.core.forwarders(1).remove(0), Orders::default());
    let mut out: Vec<Transmit> = Vec::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let late = world.connected(Role::Viewer);
    for sequence in 0..2500 {
        if sequence == 2000 {
            // What waits by now came before its keys.
            world.check(late);
            world.handshake(late);
        }
        world.video(publisher, sequence, DELTA);
        world.core.poll_orders(0, &mut orders);
        forwarder.follow(&mut orders, &mut out);
    }
    forwarder.flush(&mut out);
    world.deliver(std::mem::take(&mut out));
    let came = world.browsers[viewer].sequences(VIDEO);
    assert!((512..=1024).contains(&came.len()), "{}", came.len());
    assert_eq!(came.last(), Some(&2499));
    assert!(came.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(world.browsers[late].sequences(VIDEO).first(), Some(&2000));
    let snapshot = world.core.snapshot(world.now);
    assert_eq!(snapshot.overrun as usize, 2 * (2500 - came.len()));
}

/// Viewers come, leave, lose packets, ask again and renew their keys, while threads are late in
/// their own ways. No SRTP index protects two packets, and who stays gets what it asks for.
#[test]
fn no_index_is_used_twice_however_late_a_thread_is() {
    for seed in 0..16 {
        let mut world = World::new();
        let mut threads = Threads::new(&mut world, 1 + seed as usize % 3, seed);
        let mut random = Random(seed + 1000);
        let publisher = world.connected(Role::Publisher);
        let mut viewers = vec![(world.connected(Role::Viewer), Indices::default())];
        let mut came = 0;
        let mut sequence = 65_300_u16;
        for step in 0..400 {
            match random.below(20) {
                0 if viewers.len() < 6 => {
                    viewers.push((world.connected(Role::Viewer), Indices::default()));
                }
                1 if viewers.len() > 2 => {
                    let at = random.below(viewers.len() as u32) as usize;
                    let (viewer, indices) = viewers.swap_remove(at);
                    came += indices.total;
                    let ufrag = world.browsers[viewer].ufrag();
                    assert!(world.core.leave(world.now, &ufrag));
                }
                2 => {
                    // What is under way to it is lost: its browser has other keys by then.
                    threads.run(&mut world, true);
                    let at = random.below(viewers.len() as u32) as usize;
                    let (viewer, indices) = &mut viewers[at];
                    indices.take(std::mem::take(&mut world.browsers[*viewer].rtp), step);
                    indices.forget();
                    world.check(*viewer);
                    world.handshake(*viewer);
                }
                3..6 => {
                    let at = random.below(viewers.len() as u32) as usize;
                    let lost: Vec<u16> = (0..20)
                        .map(|_| sequence.wrapping_sub(random.below(60) as u16))
                        .collect();
                    for nack in rtcp::nacks(1, VIDEO, &lost) {
                        world.rtcp(viewers[at].0, &nack);
                    }
                }
                6 => world.pass(random.below(300) * MS),
                7 => sequence = sequence.wrapping_add(random.below(5) as u16),
                _ => {
                    world.video(publisher, sequence, &[0x10, 1, sequence as u8, 7]);
                    sequence = sequence.wrapping_add(1);
                }
            }
            threads.run(&mut world, false);
            for (viewer, indices) in &mut viewers {
                let came = std::mem::take(&mut world.browsers[*viewer].rtp);
                indices.take(came, step);
            }
        }
        threads.run(&mut world, true);
        world.video(publisher, sequence, KEY);
        threads.run(&mut world, true);
        for (viewer, indices) in &mut viewers {
            assert!(
                world.browsers[*viewer].sequences(VIDEO).contains(&sequence),
                "seed {seed}: the last packet"
            );
            indices.take(std::mem::take(&mut world.browsers[*viewer].rtp), 400);
        }
        came += viewers
            .iter()
            .map(|(_, indices)| indices.total)
            .sum::<usize>();
        assert!(came > 300, "seed {seed}: {came}");
    }
}
