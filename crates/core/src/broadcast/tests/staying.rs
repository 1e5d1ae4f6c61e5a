//! Who may join, who stays, and who is let go.

use std::time::Duration;

use rekindle_ids::{Role, TransportAddress, Ufrag};
use rekindle_sdp::{Codec, Source};

use super::world::*;
use crate::broadcast::{Config, Departure, Event, Refusal, Routed};

const SECOND: Duration = Duration::from_secs(1);

fn gone(world: &mut World) -> Vec<(Ufrag, Departure)> {
    let events = world.take_events();
    let gone = events.into_iter().filter_map(|event| match event {
        Event::Gone { ufrag, why } => Some((ufrag, why)),
        _ => None,
    });
    gone.collect()
}

fn ufrag(name: &str) -> Ufrag {
    Ufrag::new(name).unwrap()
}

#[test]
fn a_viewer_needs_a_publisher_and_learns_its_codecs() {
    let mut world = World::new();
    let now = world.now;
    let u = ufrag("viewer01");
    assert_eq!(
        world.core.reserve(now, Role::Viewer, CHANNEL, &u),
        Err(Refusal::NoPublisher)
    );
    assert_eq!(
        world
            .core
            .reserve(now, Role::Publisher, CHANNEL, &ufrag("publish1")),
        Ok(Source::default())
    );
    assert_eq!(
        world.core.reserve(now, Role::Viewer, CHANNEL, &u),
        Err(Refusal::NoPublisher),
        "only reserved"
    );
    world.pass(6 * SECOND);
    world.connected(Role::Publisher);
    let now = world.now;
    assert_eq!(
        world.core.reserve(now, Role::Viewer, CHANNEL, &u),
        Ok(Source {
            codecs: vec![Codec::Opus, Codec::Vp8],
            streams: streams()
        })
    );
    let stranger = world.browser(Role::Viewer);
    let mut join = world.browsers[stranger].join.clone();
    join.channel = "other".into();
    assert_eq!(world.core.join(now, join), Err(Refusal::NoPublisher));
}

#[test]
fn a_place_is_held_for_whoever_reserved_it_for_a_few_seconds() {
    let mut world = World::new();
    let (a, b) = (ufrag("publish1"), ufrag("publish2"));
    world
        .core
        .reserve(world.now, Role::Publisher, CHANNEL, &a)
        .unwrap();
    assert_eq!(
        world.core.reserve(world.now, Role::Publisher, CHANNEL, &b),
        Err(Refusal::PublisherPresent)
    );
    assert!(
        world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &a)
            .is_ok()
    );
    world.pass(5 * SECOND);
    assert!(
        world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &b)
            .is_ok()
    );
    world.pass(7 * SECOND);
    assert_eq!(
        world.standings(),
        [],
        "a reservation alone leaves no channel behind"
    );
}

#[test]
fn a_publisher_from_the_last_boot_goes_before_a_newcomer_who_only_reserved_the_place() {
    let mut world = World::new();
    let (returning, newcomer) = (
        world.browser(Role::Publisher),
        world.browser(Role::Publisher),
    );
    let u = world.browsers[newcomer].ufrag();
    world
        .core
        .reserve(world.now, Role::Publisher, CHANNEL, &u)
        .unwrap();
    world.browsers[returning].join.resumed = true;
    world
        .core
        .join(world.now, world.browsers[returning].join.clone())
        .unwrap();
    assert_eq!(
        world
            .core
            .join(world.now, world.browsers[newcomer].join.clone()),
        Err(Refusal::PublisherPresent)
    );
    assert_eq!(gone(&mut world), []);
}

#[test]
fn a_silent_publisher_gives_way_to_a_newcomer_and_its_viewers_stay() {
    let mut world = World::new();
    let first = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(first, 1, KEY);
    world.pass(SECOND);
    let second = world.browser(Role::Publisher);
    let u = world.browsers[second].ufrag();
    assert_eq!(
        world.core.reserve(world.now, Role::Publisher, CHANNEL, &u),
        Err(Refusal::PublisherPresent)
    );
    // Its viewers are told after two seconds that nothing comes; from then on another one may.
    world.pass(SECOND);
    world.take_events();
    world
        .core
        .reserve(world.now, Role::Publisher, CHANNEL, &u)
        .unwrap();
    world
        .core
        .join(world.now, world.browsers[second].join.clone())
        .unwrap();
    world.check(second);
    world.handshake(second);
    let replaced = (world.browsers[first].ufrag(), Departure::Replaced);
    assert_eq!(gone(&mut world), [replaced]);
    // The newcomer uses the same SSRC: it goes on after the first one's packets.
    world.video(second, 1, KEY);
    world.video(second, 2, KEY);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1, 2]);
}

#[test]
fn who_stops_checking_is_gone_after_consent_expires() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    for sequence in 0..31 {
        world.video(publisher, sequence, DELTA);
        world.check(publisher);
        world.pass(SECOND);
    }
    assert_eq!(
        gone(&mut world),
        [(world.browsers[viewer].ufrag(), Departure::Silent)]
    );
    let stun = world.browsers[viewer].stun();
    assert_eq!(
        world.send(viewer, &stun),
        Routed::Checked,
        "answered with an error for a while, from the address that it came to"
    );
    world.pass(31 * SECOND);
    assert!(matches!(world.send(viewer, &stun), Routed::UnknownUfrag));
}

#[test]
fn a_peer_that_never_connects_is_gone_after_half_a_minute() {
    let mut world = World::new();
    let publisher = world.browser(Role::Publisher);
    world
        .core
        .join(world.now, world.browsers[publisher].join.clone())
        .unwrap();
    for _ in 0..29 {
        world.check(publisher);
        world.pass(SECOND);
    }
    assert_eq!(gone(&mut world), []);
    world.pass(2 * SECOND);
    assert_eq!(
        gone(&mut world),
        [(world.browsers[publisher].ufrag(), Departure::Silent)]
    );
}

#[test]
fn of_a_new_peer_that_is_not_heard_it_is_said_once_and_taken_back_when_it_is() {
    let mut world = World::new();
    let heard = world.connected(Role::Publisher);
    let unheard = world.browser(Role::Viewer);
    world
        .core
        .join(world.now, world.browsers[unheard].join.clone())
        .unwrap();
    world.take_events();
    let told = |world: &mut World| {
        let events = world.take_events().into_iter();
        let told = events.filter(|event| matches!(event, Event::Unheard { .. }));
        told.collect::<Vec<_>>()
    };
    world.pass(7 * SECOND);
    assert_eq!(told(&mut world), []);
    world.check(heard);
    world.pass(2 * SECOND);
    let ufrag = world.browsers[unheard].ufrag();
    let says = |unheard| Event::Unheard {
        ufrag: ufrag.clone(),
        unheard,
    };
    assert_eq!(told(&mut world), [says(true)]);
    world.pass(5 * SECOND);
    assert_eq!(told(&mut world), []);
    world.check(unheard);
    assert_eq!(told(&mut world), [says(false)]);
    world.check(unheard);
    world.pass(9 * SECOND);
    assert_eq!(told(&mut world), []);
}

#[test]
fn who_is_awaited_after_a_restart_is_not_called_unheard() {
    let mut world = World::new();
    world.connected(Role::Publisher);
    world.restart();
    world.take_events();
    world.pass(20 * SECOND);
    let events = world.take_events();
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Unheard { .. })),
        "{events:?}"
    );
}

#[test]
fn after_a_restart_the_silent_are_awaited_and_the_stuck_let_go() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.restart();
    assert_eq!(world.core.snapshot(world.now).awaited, 2);
    let newcomer = ufrag("publish9");
    world.pass(6 * SECOND);
    assert_eq!(
        world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &newcomer),
        Err(Refusal::PublisherPresent),
        "the awaited publisher holds its place"
    );
    assert!(
        world
            .core
            .reserve(world.now, Role::Viewer, CHANNEL, &newcomer)
            .is_ok(),
        "viewers may come meanwhile"
    );
    // The publisher is heard, but cannot run a new handshake.
    for _ in 0..10 {
        world.check(publisher);
        world.pass(SECOND);
    }
    assert_eq!(
        gone(&mut world),
        [(world.browsers[publisher].ufrag(), Departure::NoRehandshake)]
    );
    let stun = world.browsers[publisher].stun();
    assert_eq!(
        world.send(publisher, &stun),
        Routed::Checked,
        "its STUN is answered with an error"
    );
    world.pass(100 * SECOND);
    assert_eq!(gone(&mut world), []);
    world.pass(4 * SECOND);
    assert_eq!(
        gone(&mut world),
        [(world.browsers[viewer].ufrag(), Departure::Silent)]
    );
}

#[test]
fn a_publisher_that_does_not_come_back_after_a_restart_makes_room_for_another() {
    let mut world = World::new();
    world.connected(Role::Publisher);
    world.restart();
    let newcomer = ufrag("publish9");
    world.pass(14 * SECOND);
    assert_eq!(
        world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &newcomer),
        Err(Refusal::PublisherPresent),
    );
    world.pass(2 * SECOND);
    assert!(
        world
            .core
            .reserve(world.now, Role::Publisher, CHANNEL, &newcomer)
            .is_ok()
    );
}

#[test]
fn a_publisher_that_leaves_ends_the_source_but_not_its_viewers() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    world.take_events();
    assert!(
        world
            .core
            .leave(world.now, &world.browsers[publisher].ufrag())
    );
    assert!(
        !world
            .core
            .leave(world.now, &world.browsers[publisher].ufrag())
    );
    world.pass(MS);
    world.check(viewer);
    let left = Event::Gone {
        ufrag: world.browsers[publisher].ufrag(),
        why: Departure::Left,
    };
    let ended = source(false);
    let events = world.take_events();
    assert!(
        events.contains(&left) && events.contains(&ended),
        "{events:?}"
    );
    assert_eq!(world.standings(), [(CHANNEL.to_owned(), false, 1)]);
    world.core.leave(world.now, &world.browsers[viewer].ufrag());
    assert_eq!(world.standings(), []);
}

#[test]
fn a_source_that_pauses_is_told_of_after_two_seconds() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    world.video(publisher, 1, KEY);
    world.take_events();
    world.pass(1900 * MS);
    assert_eq!(world.take_events(), []);
    world.pass(1200 * MS);
    assert_eq!(world.take_events(), [source(false)]);
    world.video(publisher, 2, KEY);
    assert_eq!(world.take_events(), [source(true)]);
}

#[test]
fn a_full_server_takes_nobody_else() {
    let mut world = World::with(Config {
        max_peers: 2,
        ..Config::default()
    });
    world.connected(Role::Publisher);
    world.connected(Role::Viewer);
    let late = world.browser(Role::Viewer);
    let u = world.browsers[late].ufrag();
    assert_eq!(
        world.core.reserve(world.now, Role::Viewer, CHANNEL, &u),
        Err(Refusal::Full)
    );
    assert_eq!(
        world
            .core
            .join(world.now, world.browsers[late].join.clone()),
        Err(Refusal::Full)
    );
}

#[test]
fn joining_twice_changes_nothing() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    assert_eq!(
        world
            .core
            .join(world.now, world.browsers[publisher].join.clone()),
        Ok(())
    );
    assert_eq!(world.core.snapshot(world.now).connected, 1);
}

#[test]
fn a_peer_over_tcp_comes_back_over_another_connection_and_no_connection_is_recorded() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.browser(Role::Viewer);
    // By UDP that address and port are the publisher's.
    let place = world.browsers[publisher].address.socket;
    world.browsers[viewer].address = TransportAddress::tcp(place);
    let join = world.browsers[viewer].join.clone();
    let now = world.now;
    let ufrag = world.browsers[viewer].ufrag();
    world
        .core
        .reserve(now, Role::Viewer, CHANNEL, &ufrag)
        .unwrap();
    world.core.join(now, join).unwrap();
    world.check(viewer);
    world.handshake(viewer);
    world.video(publisher, 1, KEY);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1]);
    world.pass(2 * SECOND);
    let events = world.take_events();
    let recorded = events.iter().filter(|event| {
        matches!(event, Event::Address { ufrag, .. } if *ufrag == world.browsers[viewer].ufrag())
    });
    assert_eq!(recorded.count(), 0);

    world.restart();
    world.check(publisher);
    world.handshake(publisher);
    // What the browser sends before its check is nobody's.
    world.browsers[viewer].address = TransportAddress::tcp(([192, 0, 2, 7], 50_000));
    assert_eq!(world.send(viewer, &[0x80; 40]), Routed::UnknownAddress);
    world.check(viewer);
    world.handshake(viewer);
    world.video(publisher, 2, KEY);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1, 2]);
}
