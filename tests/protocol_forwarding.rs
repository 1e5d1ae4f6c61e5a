//! What a publisher sends comes to every viewer as it was sent, and what the server adds helps both
//! sides.

mod support;

use std::collections::BTreeSet;

use rekindle::ids::Role;
use rekindle::sdp::Kind;
use support::{Conditions, OfferOptions, World, ms};

#[test]
fn a_broadcast_reaches_all_viewers_in_order_and_byte_exact() {
    let mut world = World::new(1);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let viewers: Vec<_> = (0..4).map(|_| world.watch("news")).collect();
    world.run_until_connected(&viewers);
    world.run(ms(3000));
    for viewer in viewers {
        world.assert_exact(viewer, publisher);
        for kind in [Kind::Audio, Kind::Video] {
            world.assert_nothing_missing(viewer, publisher, kind, ms(100));
            let stream = world.client(viewer).receiver().stream(kind).unwrap();
            assert!(stream.order.is_sorted(), "{kind} out of order");
            assert_eq!(stream.again, 0, "{kind} packets came twice");
        }
        assert!(world.got(viewer, publisher, Kind::Video) >= 260);
        assert!(world.got(viewer, publisher, Kind::Audio) >= 140);
        assert_eq!(world.client(viewer).counts.undecryptable, 0);
    }
}

#[test]
fn everything_duplicated_and_reordered_changes_nothing() {
    let mut world = World::new(2);
    world.network.default = Conditions {
        delay: ms(10),
        jitter: ms(30),
        loss: 0.0,
        duplicate: 0.3,
        ..Conditions::default()
    };
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let viewers = [world.watch("news"), world.watch("news")];
    world.run_until_connected(&viewers);
    world.run(ms(4000));
    assert!(world.network.duplicated() > 500);
    for viewer in viewers {
        world.assert_exact(viewer, publisher);
        for kind in [Kind::Audio, Kind::Video] {
            world.assert_nothing_missing(viewer, publisher, kind, ms(300));
            let stream = world.client(viewer).receiver().stream(kind).unwrap();
            assert!(!stream.order.is_sorted(), "the network reordered {kind}");
        }
    }
}

#[test]
fn a_viewer_that_joins_later_gets_a_keyframe_at_once() {
    let mut world = World::new(3);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    world.run(ms(5000));
    let viewer = world.watch("news");
    world.client_mut(viewer).receiver_mut().viewer.automatic = false;
    world.run_until_connected(&[viewer]);
    world.run(ms(200));
    let sender = world.client(publisher).sender();
    let stream = world.client(viewer).receiver().stream(Kind::Video).unwrap();
    let key = stream
        .order
        .iter()
        .position(|index| sender.stream(Kind::Video).sent[index].key);
    assert!(
        key.is_some_and(|at| at < 12),
        "a keyframe within four frames, asked for by the server"
    );
}

#[test]
fn header_extensions_keep_their_values_under_the_viewers_ids() {
    let mut world = World::new(4);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let viewer = world.watch("news");
    world.run_until_connected(&[viewer]);
    world.run(ms(500));
    let receiver = world.client(viewer).receiver();
    assert_eq!(
        receiver.strange, 0,
        "every packet names the viewer's own MID"
    );
    for got in receiver.stream(Kind::Audio).unwrap().got.values() {
        assert_eq!(got.audio_level.as_deref(), Some(&[0x80 | 42][..]));
        assert_eq!(
            got.abs_send_time.as_deref(),
            Some(&got.timestamp.to_be_bytes()[1..])
        );
    }
    for got in receiver.stream(Kind::Video).unwrap().got.values() {
        assert_eq!(
            got.abs_send_time.as_deref(),
            Some(&got.timestamp.to_be_bytes()[1..])
        );
        assert_eq!(got.audio_level, None);
    }
}

#[test]
fn sender_reports_reach_viewers_with_the_publishers_own_clock() {
    let mut world = World::new(5);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let viewer = world.watch("news");
    world.run_until_connected(&[viewer]);
    world.run(ms(4500));
    let sent = &world.client(publisher).sender().sender_reports;
    let receiver = world.client(viewer).receiver();
    for kind in [Kind::Audio, Kind::Video] {
        let ssrc = receiver.stream(kind).unwrap().ssrc;
        let reports: Vec<_> = receiver
            .reports
            .iter()
            .filter(|(_, report)| report.ssrc == ssrc)
            .collect();
        assert!(reports.len() >= 4, "{kind}: {}", reports.len());
        for (_, report) in reports {
            let same = |own: &&_| -> bool {
                let own: &rtc_rtcp::sender_report::SenderReport = own;
                (own.ssrc, own.ntp_time, own.rtp_time) == (ssrc, report.ntp_time, report.rtp_time)
            };
            assert!(
                sent.iter().any(|own| same(&own)),
                "lip sync needs the publisher's own times"
            );
        }
        assert_eq!(receiver.cnames[&ssrc].as_ref(), b"camera");
    }
}

#[test]
fn transport_feedback_tells_the_publisher_of_every_packet() {
    let mut world = World::new(6);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    world.run(ms(3000));
    let sender = world.client(publisher).sender();
    let told: BTreeSet<u16> = sender
        .acknowledged
        .iter()
        .map(|(_, sequence)| *sequence)
        .collect();
    // All but the last few, whose feedback is still to come.
    assert!(sender.transport_sent > 400);
    assert!(
        told.len() as u64 >= sender.transport_sent - 30,
        "{} of {}",
        told.len(),
        sender.transport_sent
    );
    assert_eq!(
        told.len(),
        sender.acknowledged.len(),
        "each packet is told of once"
    );
    let times: Vec<_> = sender.feedback.iter().map(|(at, _)| *at).collect();
    let pause = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap();
    assert!(pause <= ms(250), "{pause:?} without feedback");
    let counts: Vec<u8> = sender
        .feedback
        .iter()
        .map(|(_, feedback)| feedback.fb_pkt_count)
        .collect();
    assert!(
        counts
            .windows(2)
            .all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "feedback is counted without a gap"
    );
}

#[test]
fn transport_feedback_leaves_out_what_was_lost() {
    let mut world = World::new(7);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let host = world.client(publisher).address.ip();
    world.network.set(
        host,
        true,
        Conditions {
            loss: 0.1,
            ..Conditions::default()
        },
    );
    let lost_before = world.network.lost();
    world.run(ms(3000));
    let lost = world.network.lost() - lost_before;
    let sender = world.client(publisher).sender();
    let told = sender.acknowledged.len() as u64;
    assert!(lost > 30);
    assert!(
        told + lost <= sender.transport_sent + 10,
        "told of {told}, {lost} lost, {} sent",
        sender.transport_sent
    );
    assert!(
        told + lost + 60 >= sender.transport_sent,
        "told of {told}, {lost} lost, {} sent",
        sender.transport_sent
    );
}

#[test]
fn a_publisher_without_transport_feedback_gets_remb() {
    let mut world = World::new(8);
    let options = OfferOptions {
        transport_cc: false,
        ..OfferOptions::new(Role::Publisher)
    };
    let publisher = world.publish_with("news", options, None);
    world.run_until_connected(&[publisher]);
    world.run(ms(5000));
    let sender = world.client(publisher).sender();
    assert!(sender.feedback.is_empty());
    assert!(
        sender.remb.len() >= 4 && sender.remb.is_sorted(),
        "{:?}",
        sender.remb
    );
}

#[test]
fn receiver_reports_tell_the_publisher_loss_and_round_trip() {
    let mut world = World::new(9);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    world.run(ms(3000));
    let sender = world.client(publisher).sender();
    let video = sender.stream(Kind::Video).ssrc;
    let of_video: Vec<_> = sender
        .reports
        .iter()
        .filter(|report| report.ssrc == video)
        .collect();
    assert!(of_video.len() >= 2);
    assert!(
        of_video
            .iter()
            .all(|report| (report.fraction_lost, report.total_lost) == (0, 0))
    );
    let known: Vec<u32> = sender
        .sender_reports
        .iter()
        .map(|report| (report.ntp_time >> 16) as u32)
        .collect();
    let last = of_video.last().unwrap();
    assert!(
        known.contains(&last.last_sender_report),
        "it answers a sender report"
    );
    assert!(last.delay > 0 && last.delay < 2 * 65_536, "{}", last.delay);
    assert_eq!(
        last.last_sequence_number & 0xffff,
        highest_known(&world, publisher, last.last_sequence_number)
    );

    let host = world.client(publisher).address.ip();
    world.network.set(
        host,
        true,
        Conditions {
            loss: 0.2,
            ..Conditions::default()
        },
    );
    let before = world.client(publisher).sender().reports.len();
    world.run(ms(3000));
    let reports = &world.client(publisher).sender().reports[before..];
    assert!(
        reports
            .iter()
            .any(|report| report.ssrc == video && report.fraction_lost > 20)
    );
}

/// The sequence number, if the publisher has sent it.
fn highest_known(world: &World, publisher: support::Id, extended: u32) -> u32 {
    let sent = &world.client(publisher).sender().stream(Kind::Video).sent;
    let known = sent
        .keys()
        .rev()
        .find(|index| **index as u16 == extended as u16);
    u32::from(*known.expect("a sequence number that was sent") as u16)
}

#[test]
fn channels_do_not_mix() {
    let mut world = World::new(10);
    let publishers = [world.publish("one"), world.publish("two")];
    world.run_until_connected(&publishers);
    let viewers = [world.watch("one"), world.watch("two")];
    world.run_until_connected(&viewers);
    world.run(ms(1000));
    for n in 0..2 {
        world.assert_exact(viewers[n], publishers[n]);
        assert_eq!(
            world.client(viewers[n]).receiver().streams.len(),
            2,
            "audio and video of one publisher"
        );
        assert!(world.got(viewers[n], publishers[n], Kind::Video) > 80);
        assert_eq!(world.got(viewers[n], publishers[1 - n], Kind::Video), 0);
    }
}
