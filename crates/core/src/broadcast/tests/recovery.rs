//! What was lost comes back: over a bad network, and over a restart of the server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rekindle_ids::Role;

use super::world::*;
use crate::broadcast::Event;
use crate::broadcast::rtcp::{self, Item};

/// A publisher that keeps what it sent, and answers NACKs by RTX.
struct Source {
    id: usize,
    sent: BTreeMap<u16, Vec<u8>>,
    next: u16,
    rtx: u16,
    resent: usize,
}

impl Source {
    fn new(id: usize, first: u16) -> Self {
        Self {
            id,
            sent: BTreeMap::new(),
            next: first,
            rtx: 100,
            resent: 0,
        }
    }

    /// Makes the next packet; sends it unless it is lost on the way.
    fn step(&mut self, world: &mut World, lost: bool) {
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        let mut payload = DELTA.to_vec();
        payload.extend(sequence.to_be_bytes());
        self.sent.insert(sequence, payload.clone());
        let data = world.encrypted_rtp(self.id, &video_packet(sequence, &payload));
        if !lost {
            world.send(self.id, &data);
        }
    }

    fn answer(&mut self, world: &mut World, mut lost: impl FnMut() -> bool) {
        for packet in std::mem::take(&mut world.browsers[self.id].rtcp) {
            for item in rtcp::read(&packet) {
                let Item::Nack { ssrc: VIDEO, pairs } = item else {
                    continue;
                };
                for sequence in rtcp::nacked(pairs) {
                    let Some(payload) = self.sent.get(&sequence) else {
                        continue;
                    };
                    self.rtx = self.rtx.wrapping_add(1);
                    self.resent += 1;
                    let data =
                        world.encrypted_rtp(self.id, &rtx_packet(self.rtx, sequence, payload));
                    if !lost() {
                        world.send(self.id, &data);
                    }
                }
            }
        }
    }
}

/// What a viewer has, RTX unwrapped; NACKs what is missing.
#[derive(Default)]
struct Sink {
    id: usize,
    has: BTreeMap<u16, Vec<u8>>,
    duplicates: usize,
}

impl Sink {
    fn take(&mut self, world: &mut World) {
        for packet in std::mem::take(&mut world.browsers[self.id].rtp) {
            let original = match packet.header.ssrc {
                VIDEO => packet,
                _ => packet.unwrap_rtx(VIDEO, 100).unwrap(),
            };
            let before = self
                .has
                .insert(original.header.sequence, original.payload().to_vec());
            if let Some(before) = before {
                assert_eq!(
                    before,
                    original.payload(),
                    "two packets under one sequence number"
                );
                self.duplicates += 1;
            }
        }
    }

    fn nack(&self, world: &mut World) {
        let (Some((first, _)), Some((last, _))) =
            (self.has.first_key_value(), self.has.last_key_value())
        else {
            return;
        };
        let missing: Vec<u16> = (*first..*last)
            .filter(|sequence| !self.has.contains_key(sequence))
            .collect();
        for packet in rtcp::nacks(9, VIDEO, &missing) {
            world.rtcp(self.id, &packet);
        }
    }
}

/// A coin that comes up true once in `n`, the same way every time.
fn coin(n: u32) -> impl FnMut() -> bool {
    let mut state = 12345u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16).is_multiple_of(n)
    }
}

#[test]
fn every_packet_arrives_over_a_network_that_loses_one_in_eight_on_each_leg() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewers = [world.connected(Role::Viewer), world.connected(Role::Viewer)];
    let mut source = Source::new(publisher, 1000);
    let mut sinks = viewers.map(|id| Sink {
        id,
        ..Sink::default()
    });
    source.step(&mut world, false);
    let downstream = Rc::new(RefCell::new(coin(8)));
    let lose = downstream.clone();
    world.arrives = Box::new(move |_| !lose.borrow_mut()());
    let mut upstream = coin(8);
    for step in 0..2400 {
        if step < 2000 {
            let lost = upstream();
            source.step(&mut world, lost);
        }
        world.pass(5 * MS);
        source.answer(&mut world, &mut upstream);
        for sink in &mut sinks {
            sink.take(&mut world);
            if step % 4 == 0 {
                sink.nack(&mut world);
            }
        }
    }
    world.arrives = Box::new(|_| true);
    for sink in &sinks {
        let missing = source
            .sent
            .keys()
            .filter(|sequence| !sink.has.contains_key(sequence))
            .count();
        // The very last packets have no later one that would tell of them.
        assert!(missing <= 3, "{missing} of {} missing", source.sent.len());
        assert!(
            sink.has
                .iter()
                .all(|(sequence, payload)| source.sent[sequence] == *payload)
        );
    }
}

#[test]
fn a_restart_loses_nothing_and_asks_for_no_keyframe() {
    // The publisher is first back, or the viewer; the sequence number wraps long after, or while
    // the server is away.
    for (publisher_first, first) in [(true, 1000), (false, 1000), (true, 65_400), (false, 65_400)] {
        let mut world = World::new();
        let publisher = world.connected(Role::Publisher);
        let viewer = world.connected(Role::Viewer);
        let mut source = Source::new(publisher, first);
        let mut sink = Sink {
            id: viewer,
            ..Sink::default()
        };
        for _ in 0..100 {
            source.step(&mut world, false);
            world.pass(5 * MS);
        }
        sink.take(&mut world);
        assert_eq!(sink.has.len(), 100);
        // Down for 300 ms.
        for _ in 0..60 {
            source.step(&mut world, true);
        }
        world.restart();
        world.take_events();
        let order = if publisher_first {
            [publisher, viewer]
        } else {
            [viewer, publisher]
        };
        for (turn, id) in order.into_iter().enumerate() {
            world.handshake(id);
            if turn == 0 && publisher_first {
                for _ in 0..10 {
                    source.step(&mut world, false);
                    world.pass(5 * MS);
                    source.answer(&mut world, || false);
                }
            }
        }
        assert_eq!(
            world
                .take_events()
                .iter()
                .filter(|e| matches!(e, Event::Connected { resumed: true, .. }))
                .count(),
            2
        );
        for _ in 0..40 {
            source.step(&mut world, false);
            world.pass(5 * MS);
            source.answer(&mut world, || false);
        }
        sink.take(&mut world);
        let missing: Vec<_> = source
            .sent
            .keys()
            .filter(|sequence| !sink.has.contains_key(sequence))
            .collect();
        assert_eq!(
            missing,
            Vec::<&u16>::new(),
            "without a NACK of the viewer's, publisher first: {publisher_first}"
        );
        world.pass(1000 * MS);
        assert_eq!(world.core.snapshot(world.now).plis, 0);
        assert!(source.resent <= 68, "{} sent again", source.resent);
    }
}

#[test]
fn a_viewer_that_comes_back_late_gets_a_keyframe_instead() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    world.restart();
    world.handshake(publisher);
    for sequence in 2..302 {
        world.video(publisher, sequence, DELTA);
        world.pass(10 * MS);
    }
    assert_eq!(world.core.snapshot(world.now).plis, 0);
    world.handshake(viewer);
    assert_eq!(world.core.snapshot(world.now).plis, 1);
}

#[test]
fn a_false_alarm_renews_keys_and_media_goes_on() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    world.take_events();
    world.handshake(viewer);
    world.handshake(publisher);
    world.video(publisher, 2, DELTA);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1, 2]);
    world.pass(1000 * MS);
    assert_eq!(world.core.snapshot(world.now).plis, 0);
    let again = world
        .take_events()
        .into_iter()
        .filter(|e| matches!(e, Event::Connected { resumed: false, .. }));
    assert_eq!(again.count(), 2);
}

#[test]
fn a_second_restart_before_the_first_is_over_loses_nobody() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    world.restart();
    world.handshake(publisher);
    world.restart();
    world.handshake(viewer);
    world.handshake(publisher);
    world.video(publisher, 2, DELTA);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1, 2]);
    assert_eq!(world.core.snapshot(world.now).awaited, 0);
}
