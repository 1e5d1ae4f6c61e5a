//! A publisher is replaced by another one, with other SSRCs: what its viewers get.

use rekindle_ids::Role;
use rekindle_sdp::Ssrc;

use super::random::Random;
use super::world::*;
use crate::broadcast::{Config, Departure, Event, Newcomer, Refusal, rtcp};

/// The second publisher's streams.
const OTHER: u32 = 0x2000;
const OTHER_RTX: u32 = 0x2001;

impl World {
    /// A viewer that opens no event stream, and whose answer named the first publisher's streams.
    fn plain_viewer(&mut self) -> usize {
        let id = self.browser(Role::Viewer);
        let browser = &mut self.browsers[id];
        browser.join.renews = false;
        browser.join.negotiated.media[1].ssrcs = vec![Ssrc {
            media: VIDEO,
            rtx: Some(VIDEO_RTX),
        }];
        self.core
            .join(self.now, self.browsers[id].join.clone())
            .unwrap();
        self.check(id);
        self.handshake(id);
        id
    }

    /// The publisher leaves, and another one comes.
    fn replaced(&mut self, first: usize) -> usize {
        let ufrag = self.browsers[first].ufrag();
        self.core.leave(self.now, &ufrag);
        let id = self.browser(Role::Publisher);
        self.browsers[id].join.negotiated.media[1].ssrcs = vec![Ssrc {
            media: OTHER,
            rtx: Some(OTHER_RTX),
        }];
        self.core
            .join(self.now, self.browsers[id].join.clone())
            .unwrap();
        self.check(id);
        self.handshake(id);
        id
    }

    /// A video packet of the second publisher's.
    fn other_video(&mut self, id: usize, sequence: u16, payload: &[u8]) {
        let mut packet = video_packet(sequence, payload);
        packet[8..12].copy_from_slice(&OTHER.to_be_bytes());
        self.rtp(id, &packet);
    }
}

fn ssrcs(world: &World, viewer: usize) -> Vec<u32> {
    let mut all: Vec<u32> = world.browsers[viewer]
        .rtp
        .iter()
        .map(|p| p.header.ssrc)
        .collect();
    all.dedup();
    all
}

#[test]
fn a_plain_viewer_keeps_its_stream_and_a_page_gets_the_new_one() {
    let mut world = World::new();
    let first = world.connected(Role::Publisher);
    let (plain, page) = (world.plain_viewer(), world.connected(Role::Viewer));
    for sequence in 100..103 {
        world.video(first, sequence, KEY);
    }
    world.pass(MS * 500);
    let second = world.replaced(first);
    for sequence in 40_000..40_003 {
        world.other_video(second, sequence, KEY);
        world.pass(MS * 33);
    }
    assert_eq!(
        world.browsers[plain].sequences(VIDEO),
        [100, 101, 102, 103, 104, 105]
    );
    assert_eq!(ssrcs(&world, plain), [VIDEO]);
    assert_eq!(world.browsers[page].sequences(VIDEO), [100, 101, 102]);
    assert_eq!(
        world.browsers[page].sequences(OTHER),
        [40_000, 40_001, 40_002]
    );
    // Half a second has passed between the two, and what comes after is as far apart as it was.
    let times: Vec<u32> = world.browsers[plain]
        .rtp
        .iter()
        .map(|p| p.header.timestamp)
        .collect();
    assert_eq!(times[3] - times[2], 45_000);
    assert_eq!(times[4] - times[3], 3000);
}

#[test]
fn a_plain_viewers_requests_reach_the_publisher_that_is_there() {
    let mut world = World::new();
    let first = world.connected(Role::Publisher);
    let plain = world.plain_viewer();
    world.video(first, 100, KEY);
    let second = world.replaced(first);
    for sequence in 7..12 {
        world.other_video(second, sequence, DELTA);
    }
    assert_eq!(
        world.browsers[plain].sequences(VIDEO),
        [100, 101, 102, 103, 104, 105]
    );
    for packet in rtcp::nacks(1, VIDEO, &[103, 100]) {
        world.rtcp(plain, &packet);
    }
    // By RTX: the viewer knows it by the number that it has missed.
    let again = world.browsers[plain].rtp.last().unwrap().clone();
    assert_eq!(again.header.ssrc, VIDEO_RTX);
    let again = again.unwrap_rtx(VIDEO, 100).unwrap();
    assert_eq!((again.header.sequence, again.payload()), (103, DELTA));
    assert_eq!(
        world.browsers[plain].rtp.len(),
        7,
        "nothing of the publisher that has left"
    );
    world.browsers[second].rtcp.clear();
    world.pass(MS * 3000);
    let pli = rtcp::pli(1, VIDEO).unwrap();
    world.rtcp(plain, &pli);
    let asked = world.browsers[second]
        .rtcp
        .iter()
        .any(|packet| packet[1] == 206 && packet[8..12] == OTHER.to_be_bytes());
    assert!(
        asked,
        "the publisher is asked for a keyframe by its own SSRC"
    );
}

#[test]
fn a_plain_viewers_lips_stay_in_sync() {
    let mut world = World::new();
    let first = world.connected(Role::Publisher);
    let plain = world.plain_viewer();
    world.video(first, 100, KEY);
    world.pass(MS * 200);
    let second = world.replaced(first);
    world.other_video(second, 7, KEY);
    let shown = world.browsers[plain].rtp.last().unwrap().header.timestamp;
    let info = rtcp::SenderInfo {
        ntp_time: 5 << 32,
        rtp_time: 7 * 3000,
        packet_count: 1,
        octet_count: 1,
    };
    world.browsers[plain].rtcp.clear();
    let report = rtcp::sender_report_for_viewers(OTHER, &info, None).unwrap();
    world.rtcp(second, &report);
    let reports: Vec<_> = world.browsers[plain]
        .rtcp
        .iter()
        .filter(|packet| packet[1] == 200)
        .collect();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0][4..8], VIDEO.to_be_bytes());
    assert_eq!(
        reports[0][16..20],
        shown.to_be_bytes(),
        "the moment of the packet that was shown"
    );
}

/// Whatever publishers do with SSRCs, each index of a plain viewer's stream protects one packet
/// only.
#[test]
fn no_index_is_used_for_two_packets_however_publishers_change() {
    let mut random = Random(11);
    let mut world = World::new();
    let mut publisher = world.connected(Role::Publisher);
    let plain = world.plain_viewer();
    let mut indices = Indices::default();
    let mut sequence = 65_000u16;
    for step in 0..6000u32 {
        if step % 500 == 499 {
            publisher = world.replaced(publisher);
            let media = &mut world.browsers[publisher].join.negotiated.media;
            let pick = |random: &mut Random| {
                [VIDEO, VIDEO_RTX, OTHER, OTHER_RTX, 9][random.below(5) as usize]
            };
            let two = [0, 1].map(|_| Ssrc {
                media: pick(&mut random),
                rtx: Some(pick(&mut random)),
            });
            media[1].ssrcs = two.to_vec();
            // Taken in anew, with two streams under SSRCs that others had before.
            let ufrag = world.browsers[publisher].ufrag();
            world.core.leave(world.now, &ufrag);
            world
                .core
                .join(world.now, world.browsers[publisher].join.clone())
                .unwrap();
            world.check(publisher);
            world.handshake(publisher);
            // Near where the one before was, so that numbers meet, or anywhere.
            if random.below(3) == 0 {
                sequence = random.below(65_536) as u16;
            }
        }
        sequence = sequence.wrapping_add(match random.below(20) {
            0 => 0u16.wrapping_sub(random.below(20) as u16),
            1 => random.below(10) as u16,
            _ => 1,
        });
        let mut packet = video_packet(sequence, &[DELTA, &step.to_be_bytes()].concat());
        let ssrc = [VIDEO, VIDEO_RTX, OTHER, OTHER_RTX, 9][random.below(5) as usize];
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        world.rtp(publisher, &packet);
        if random.below(4) == 0 {
            let around = sequence.wrapping_sub(random.below(100) as u16);
            for packet in rtcp::nacks(
                1,
                [VIDEO, OTHER, VIDEO_RTX][random.below(3) as usize],
                &[around],
            ) {
                world.rtcp(plain, &packet);
            }
        }
        world.pass(MS * random.below(12));
        if step % 100 == 0 {
            world.check(publisher);
            world.check(plain);
        }
        indices.take(std::mem::take(&mut world.browsers[plain].rtp), step);
    }
    assert!(indices.total > 500, "{}", indices.total);
}

#[test]
fn who_may_replace_a_publisher_that_is_live_is_the_operators_choice() {
    for policy in [Newcomer::Refused, Newcomer::Replaces] {
        let mut world = World::with(Config {
            publisher: policy,
            ..Config::default()
        });
        let first = world.connected(Role::Publisher);
        world.video(first, 1, KEY);
        let second = world.browser(Role::Publisher);
        let ufrag = world.browsers[second].ufrag();
        let reserved = world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &ufrag);
        if policy == Newcomer::Refused {
            assert_eq!(reserved, Err(Refusal::PublisherPresent));
            continue;
        }
        reserved.unwrap();
        // One that is on its way goes before another.
        let third = world.browser(Role::Publisher);
        let other = world.browsers[third].ufrag();
        assert!(
            world
                .core
                .reserve(world.now, Role::Publisher, CHANNEL, &other)
                .is_err()
        );
        world
            .core
            .join(world.now, world.browsers[second].join.clone())
            .unwrap();
        world.check(second);
        world.handshake(second);
        let gone = Event::Gone {
            ufrag: world.browsers[first].ufrag(),
            why: Departure::Replaced,
        };
        assert!(world.take_events().contains(&gone));
        assert!(world.browsers[second].sending.is_some());
    }
}
