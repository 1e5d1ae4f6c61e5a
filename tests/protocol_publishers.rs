//! Publishers come, go, and follow each other, while the viewers stay.

mod support;

use rekindle::broadcast::{Departure, Event, Refusal};
use rekindle::ids::Role;
use rekindle::sdp::{Codec, Kind};
use support::{Id, OfferOptions, World, ms};

fn broadcast(seed: u64, viewers: usize) -> (World, Id, Vec<Id>) {
    World::broadcast(seed, viewers, None)
}

/// The viewers, with the connection they have, get what this publisher sends, from a keyframe on.
fn assert_taken_over(world: &mut World, publisher: Id, viewers: &[Id]) {
    world.run_until_connected(&[publisher]);
    world.run(ms(2000));
    let video = world.client(publisher).sender().stream(Kind::Video);
    for viewer in viewers {
        let client = world.client(*viewer);
        assert_eq!(client.connected_at.len(), 1, "no handshake was needed");
        world.assert_exact(*viewer, publisher);
        let stream = client
            .receiver()
            .streams
            .iter()
            .find(|s| s.ssrc == video.ssrc)
            .expect("the new stream came");
        assert!(
            stream.order[..12].iter().any(|index| video.sent[index].key),
            "it starts with a keyframe"
        );
        world.assert_nothing_missing(*viewer, publisher, Kind::Video, ms(300));
        assert_eq!(client.receiver().strange, 0);
    }
}

#[test]
fn another_publisher_with_other_streams_follows() {
    let (mut world, publisher, viewers) = broadcast(400, 3);
    world.leave(publisher);
    world.run(ms(1000));
    let next = world.publish("news");
    assert_taken_over(&mut world, next, &viewers);
}

#[test]
fn another_codec_follows_without_a_new_offer_of_the_viewers() {
    let (mut world, mut publisher, viewers) = broadcast(410, 2);
    for (name, first) in [("H264", "H264"), ("VP9", "VP9"), ("VP8", "VP8")] {
        world.leave(publisher);
        let options = OfferOptions {
            video: vec![name],
            ..OfferOptions::new(Role::Publisher)
        };
        publisher = world.publish_with("news", options, None);
        assert_taken_over(&mut world, publisher, &viewers);
        let expected = match first {
            "H264" => Codec::H264 {
                profile: 0x42e0,
                packetization_mode: 1,
            },
            "VP9" => Codec::Vp9 { profile: 0 },
            _ => Codec::Vp8,
        };
        let sender = world.client(publisher).sender();
        assert_eq!(sender.stream(Kind::Video).payload.codec, expected);
    }
}

#[test]
fn a_second_publisher_is_refused_while_the_first_is_there() {
    let (mut world, _, viewers) = broadcast(420, 1);
    let refused = world.join(
        Role::Publisher,
        "news",
        OfferOptions::new(Role::Publisher),
        None,
    );
    assert_eq!(refused, Err(Refusal::PublisherPresent));
    let before = world
        .client(viewers[0])
        .receiver()
        .stream(Kind::Video)
        .unwrap()
        .got
        .len();
    world.run(ms(500));
    assert!(
        world
            .client(viewers[0])
            .receiver()
            .stream(Kind::Video)
            .unwrap()
            .got
            .len()
            > before
    );
}

#[test]
fn a_publisher_that_fell_silent_is_replaced_by_a_newcomer() {
    let (mut world, publisher, viewers) = broadcast(430, 2);
    world.close(publisher);
    world.run(ms(1000));
    let early = world.join(
        Role::Publisher,
        "news",
        OfferOptions::new(Role::Publisher),
        None,
    );
    assert_eq!(early, Err(Refusal::PublisherPresent), "it may yet be heard");
    world.run(ms(5000));
    let next = world.publish("news");
    let gone = Event::Gone {
        ufrag: world.ufrag(publisher),
        why: Departure::Replaced,
    };
    assert_taken_over(&mut world, next, &viewers);
    assert_eq!(world.count(|event| *event == gone), 1);
}

#[test]
fn nobody_watches_a_channel_without_a_publisher() {
    let mut world = World::new(440);
    let refused = world.join(Role::Viewer, "news", OfferOptions::new(Role::Viewer), None);
    assert_eq!(refused, Err(Refusal::NoPublisher));
}

#[test]
fn a_publisher_that_left_before_a_restart_is_followed_after_it() {
    let (mut world, publisher, viewers) = broadcast(450, 2);
    world.leave(publisher);
    world.run(ms(300));
    world.restart(ms(100));
    world.run_until_connected(&viewers);
    let next = world.publish("news");
    world.run_until_connected(&[next]);
    world.run(ms(2000));
    for viewer in &viewers {
        world.assert_exact(*viewer, next);
        assert!(world.got(*viewer, next, Kind::Video) > 150);
        world.assert_nothing_missing(*viewer, next, Kind::Video, ms(300));
    }
}

#[test]
fn the_source_is_reported_as_it_comes_and_goes() {
    let (mut world, publisher, _) = broadcast(460, 1);
    world.leave(publisher);
    world.run(ms(3500));
    let next = world.publish("news");
    world.run_until_connected(&[next]);
    world.run(ms(500));
    let sources = world.events.iter().filter_map(|(_, event)| match event {
        Event::Source { live, streams, .. } => Some((*live, streams)),
        _ => None,
    });
    let (mut lives, streams): (Vec<bool>, Vec<_>) = sources.unzip();
    // It is told again with every stream that begins.
    lives.dedup();
    assert_eq!(lives, [true, false, true]);
    let told: Vec<u32> = streams
        .last()
        .unwrap()
        .iter()
        .map(|stream| stream.ssrc.media)
        .collect();
    let sender = world.client(next).sender();
    let sent: Vec<u32> = sender.streams().map(|stream| stream.ssrc).collect();
    assert_eq!(told, sent);
}

#[test]
fn a_camera_that_pauses_goes_on_where_it_was() {
    let (mut world, publisher, viewers) = broadcast(470, 1);
    world.client_mut(publisher).sender_mut().camera.running = false;
    world.run(ms(4000));
    // Frames of the pause were never made.
    let now = world.now;
    let sender = world.client_mut(publisher).sender_mut();
    sender.camera.resume(now);
    world.run(ms(1000));
    world.assert_exact(viewers[0], publisher);
    world.assert_nothing_missing(viewers[0], publisher, Kind::Video, ms(100));
    assert_eq!(world.client(publisher).connected_at.len(), 1);
}
