//! Peers that are who they say they are, and mean harm.

use rekindle_ids::Role;

use super::random::Random;
use super::world::*;
use crate::broadcast::rtcp;

/// Each SRTP index of a stream protects one packet only, whatever a publisher and a viewer send;
/// and the viewer's SRTP follows.
#[test]
fn no_index_is_used_for_two_packets() {
    let mut random = Random(3);
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let mut indices = Indices::default();
    let mut sequence = 65_000u16;
    for step in 0..10_000u32 {
        // A step that SRTP cannot follow now and then, and new keys, with which indices start anew.
        if step % 4000 == 3000 {
            sequence = sequence.wrapping_add(31_000);
        }
        if step % 4000 == 3100 {
            assert!(
                world.browsers[viewer].rtp.is_empty(),
                "the stream has ended for this viewer"
            );
            world.handshake(viewer);
            indices.forget();
        }
        // Mostly a stream as it should be, with gaps of all sizes, repetitions and other packets
        // under old numbers.
        sequence = sequence.wrapping_add(match random.below(200) {
            0 => random.below(28_000) as u16,
            1 => random.below(5000) as u16,
            2..=20 => random.below(10) as u16,
            21..=23 => 0u16.wrapping_sub(random.below(600) as u16),
            _ => 1,
        });
        let payload = [DELTA, &step.to_be_bytes()].concat();
        let packet = match random.below(10) {
            0 => rtx_packet(
                step as u16,
                sequence.wrapping_sub(random.below(50) as u16),
                &payload,
            ),
            1 => {
                let mut packet = video_packet(sequence, &payload);
                packet[1] = [96, 97, 111, 50][random.below(4) as usize];
                packet[8..12].copy_from_slice(
                    &[VIDEO, VIDEO_RTX, 7, 8][random.below(4) as usize].to_be_bytes(),
                );
                packet
            }
            _ => video_packet(sequence, &payload),
        };
        world.rtp(publisher, &packet);
        if random.below(4) == 0 {
            let around = sequence.wrapping_sub(random.below(300) as u16);
            let nacked = [around, around.wrapping_add(1), random.below(65_536) as u16];
            for packet in rtcp::nacks(1, [VIDEO, VIDEO_RTX, 7][random.below(3) as usize], &nacked) {
                world.rtcp(viewer, &packet);
            }
        }
        world.pass(MS * random.below(12));
        if step % 500 == 0 {
            world.check(publisher);
            world.check(viewer);
        }
        indices.take(std::mem::take(&mut world.browsers[viewer].rtp), step);
    }
    assert!(indices.total > 2500, "{}", indices.total);
}

#[test]
fn random_packets_of_authentic_peers_do_no_harm() {
    let mut random = Random(5);
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    for step in 0..10_000u32 {
        let length = 12 + random.below(80) as usize;
        let mut data: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        data[0] = 0x80 | (data[0] & 0x3F);
        let id = if random.below(2) == 0 {
            publisher
        } else {
            viewer
        };
        if random.below(2) == 0 {
            data[1] = [96, 97, 111, 224][random.below(4) as usize];
            data[8..12].copy_from_slice(&VIDEO.to_be_bytes());
            // SRTP itself looks for the payload behind the header extension.
            data[0] &= 0xEF;
            data[0] &= 0xF0;
            world.rtp(id, &data);
        } else {
            data.truncate(length / 4 * 4);
            data[1] = 200 + random.below(8) as u8;
            data[2..4].copy_from_slice(&[0, random.below(24) as u8]);
            world.rtcp(id, &data);
        }
        if step % 200 == 0 {
            world.check(publisher);
            world.check(viewer);
            world.pass(MS * random.below(300));
        }
    }
    assert_eq!(world.core.snapshot(world.now).connected, 2);
}

#[test]
fn a_nack_storm_costs_the_server_and_the_publisher_little() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    for sequence in 0..2000 {
        world.video(publisher, sequence, &[0x10; 1000]);
        world.pass(4 * MS);
        world.check(viewer);
    }
    world.check(publisher);
    let before = world.core.snapshot(world.now);
    world.browsers[publisher].rtcp.clear();
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let storm = rtcp::nacks(1, VIDEO, &all);
    for _ in 0..20 {
        for packet in &storm {
            world.rtcp(viewer, packet);
        }
        world.pass(50 * MS);
    }
    let after = world.core.snapshot(world.now);
    // 250 kB/s of media: a burst of that much, and half of it a second.
    let resent = after.retransmitted - before.retransmitted;
    assert!(resent <= 450, "{resent}");
    let asked = world.browsers[publisher]
        .rtcp
        .iter()
        .filter(|packet| packet[1] == 205 && packet[0] & 0x1F == 1)
        .count();
    assert!(asked <= 60, "{asked}");
}

#[test]
fn a_viewer_cannot_make_the_publisher_send_keyframes_without_end() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 0, KEY);
    for sequence in 1..2000 {
        world.rtcp(viewer, &rtcp::pli(1, VIDEO).unwrap());
        world.pass(10 * MS);
        world.video(publisher, sequence, KEY);
        if sequence % 200 == 0 {
            world.check(publisher);
            world.check(viewer);
        }
    }
    let plis = world.core.snapshot(world.now).plis;
    assert!((5..=12).contains(&plis), "{plis}");
}
