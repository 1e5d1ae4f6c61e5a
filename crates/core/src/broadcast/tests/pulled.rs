//! Channels whose publisher is with another server.

use std::time::Duration;

use bytes::BytesMut;
use rekindle_ids::Role;
use rtc_rtcp::sender_report::SenderReport;
use rtc_shared::marshal::Marshal;

use super::world::*;
use crate::broadcast::rtcp::{self, Item};
use crate::broadcast::{Event, Pulled, Refusal};

impl World {
    fn pull(&mut self) {
        let publisher = self.browser(Role::Publisher);
        let negotiated = self.browsers[publisher].join.negotiated.clone();
        self.core
            .pull(self.now, CHANNEL, &negotiated)
            .expect("nobody publishes here");
    }

    fn pulled(&mut self, pulled: Pulled) {
        let mut out = Vec::new();
        self.core.pulled(self.now, CHANNEL, pulled, &mut out);
        self.deliver(out);
    }

    fn pulled_video(&mut self, sequence: u16, payload: &[u8]) {
        let packet = BytesMut::from(&video_packet(sequence, payload)[..]);
        self.pulled(Pulled::Rtp(packet));
    }

    /// What the other server is told: packets asked for, and keyframes.
    fn told(&mut self) -> (Vec<u16>, usize) {
        let (mut nacked, mut keyframes) = (Vec::new(), 0);
        for event in self.take_events() {
            let Event::Upstream { channel, packets } = event else {
                continue;
            };
            assert_eq!(channel, CHANNEL);
            for item in packets.iter().flat_map(|packet| rtcp::read(packet)) {
                match item {
                    Item::Nack { pairs, .. } => nacked.extend(rtcp::nacked(pairs)),
                    Item::KeyframeRequest { .. } => keyframes += 1,
                    _ => {}
                }
            }
        }
        (nacked, keyframes)
    }
}

#[test]
fn media_of_another_server_is_forwarded_and_what_viewers_want_is_told_it_once() {
    let mut world = World::new();
    world.pull();
    let viewers = [world.connected(Role::Viewer), world.connected(Role::Viewer)];
    world.pulled_video(0, DELTA);
    assert_eq!(world.told(), (vec![], 0), "without keys it waits");
    world.pulled(Pulled::Keys);
    assert_eq!(world.told(), (vec![], 1), "both need a keyframe");
    world.pulled_video(1, KEY);
    // Two are lost on the way between the servers.
    world.pulled_video(4, DELTA);
    world.pass(100 * MS);
    let (nacked, _) = world.told();
    assert_eq!((nacked[0], nacked[1]), (2, 3));
    world.pulled(Pulled::Rtp(BytesMut::from(&rtx_packet(9, 2, DELTA)[..])));
    world.pulled_video(3, DELTA);
    // What has come before goes nowhere.
    world.pulled_video(4, DELTA);
    for viewer in viewers {
        let mut sequences = world.browsers[viewer].sequences(VIDEO);
        sequences.sort_unstable();
        assert_eq!(sequences, [0, 1, 2, 3, 4]);
    }
    assert_eq!(world.core.snapshot(world.now).duplicates, 1);
}

#[test]
fn a_pulled_source_comes_and_goes_and_its_reports_reach_viewers() {
    let mut world = World::new();
    world.pull();
    let viewer = world.connected(Role::Viewer);
    world.pulled(Pulled::Keys);
    world.pulled_video(0, KEY);
    assert!(world.take_events().contains(&source(true)));
    let report = SenderReport {
        ssrc: VIDEO,
        ntp_time: 7 << 32,
        ..Default::default()
    };
    let report = report.marshal().expect("a report");
    world.pulled(Pulled::Rtcp(BytesMut::from(&report[..])));
    let packets = std::mem::take(&mut world.browsers[viewer].rtcp);
    let mut items = packets.iter().flat_map(|packet| rtcp::read(packet));
    assert!(items.any(|item| matches!(
        item,
        Item::SenderReport { ssrc: VIDEO, info } if info.ntp_time == 7 << 32
    )));
    world.core.end_pull(world.now, CHANNEL);
    world.deliver(Vec::new());
    assert!(world.take_events().contains(&source(false)));
    world.pulled_video(1, DELTA);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [0]);
}

#[test]
fn viewers_see_no_break_when_a_channel_is_pulled_anew_or_its_publisher_comes() {
    let mut world = World::new();
    world.pull();
    let viewer = world.connected(Role::Viewer);
    let mut indices = Indices::default();
    world.pulled(Pulled::Keys);
    for sequence in 0..10 {
        world.pulled_video(sequence, if sequence == 0 { KEY } else { DELTA });
    }
    world.pull();
    world.pulled(Pulled::Keys);
    // Some of them again, as the other server sends what it has.
    for sequence in 5..20 {
        world.pulled_video(sequence, DELTA);
    }
    let (nacked, _) = world.told();
    assert!(!nacked.is_empty(), "what came meanwhile is asked for");
    let publisher = world.connected(Role::Publisher);
    for sequence in 15..30 {
        world.video(publisher, sequence, DELTA);
    }
    let mut sequences = world.browsers[viewer].sequences(VIDEO);
    indices.take(std::mem::take(&mut world.browsers[viewer].rtp), 0);
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences, (0..30).collect::<Vec<u16>>());

    // It is here now.
    let negotiated = world.browsers[publisher].join.negotiated.clone();
    let refused = world.core.pull(world.now, CHANNEL, &negotiated);
    assert_eq!(refused, Err(Refusal::PublisherPresent));
    world.take_events();
    world.pulled_video(40, DELTA);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.told(), (vec![], 0));
}
