//! Where a peer is reached, and for how long: consent on the path that media takes, and the
//! connections of media over TCP.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rekindle_ids::{Role, TransportAddress};

use super::world::*;
use crate::broadcast::{Departure, Event, Routed};

const SECOND: Duration = Duration::from_secs(1);

fn elsewhere(port: u16) -> TransportAddress {
    TransportAddress::udp(([203, 0, 113, 9], port))
}

fn connection(port: u16) -> TransportAddress {
    TransportAddress::tcp(([203, 0, 113, 9], port))
}

/// Counts the bytes of media that go to a browser.
fn media_to(world: &mut World, id: usize) -> Rc<Cell<usize>> {
    let (to, count) = (world.browsers[id].address, Rc::<Cell<usize>>::default());
    let counted = count.clone();
    world.arrives = Box::new(move |sent| {
        if sent.to == to && sent.data[0] >= 128 {
            counted.set(counted.get() + sent.data.len());
        }
        true
    });
    count
}

#[test]
fn media_to_an_address_ends_with_the_consent_that_comes_from_there() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let media = media_to(&mut world, viewer);
    // Whoever was at that address is there no more, and asks for its media from elsewhere.
    for second in 0..60 {
        world.video(publisher, second, DELTA);
        world.check(publisher);
        let check = world.browsers[viewer].stun();
        world.send_from(elsewhere(1), &check);
        world.pass(SECOND);
        if second == 35 {
            assert!(media.replace(0) > 0);
        }
    }
    assert_eq!(media.get(), 0);
    let gone = Event::Gone {
        ufrag: world.browsers[viewer].ufrag(),
        why: Departure::Silent,
    };
    assert!(world.take_events().contains(&gone));
}

#[test]
fn checks_of_all_kinds_from_where_media_goes_keep_it_going() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let media = media_to(&mut world, viewer);
    for second in 0..100 {
        world.video(publisher, second, DELTA);
        world.check(publisher);
        world.check(viewer);
        world.pass(SECOND);
        if second == 90 {
            media.set(0);
        }
    }
    assert!(media.get() > 0);
}

#[test]
fn copies_of_a_check_from_elsewhere_are_no_consent() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let check = world.browsers[publisher].stun();
    world.send(publisher, &check);
    for _ in 0..40 {
        world.send_from(elsewhere(1), &check);
        world.pass(SECOND);
    }
    assert_eq!(world.core.snapshot(world.now).connected, 0);
}

#[test]
fn a_connection_is_a_peers_by_a_check_of_its_own_and_a_peer_has_four() {
    let mut world = World::new();
    world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let check = world.browsers[viewer].stun();
    assert_eq!(world.send_from(connection(1), &check), Routed::Checked);
    assert!(world.core.has_address(connection(1)));
    assert_eq!(world.send_from(connection(2), &check), Routed::Checked);
    assert!(
        !world.core.has_address(connection(2)),
        "a copy claims nothing"
    );
    assert_eq!(world.core.poll_left(), None);
    for port in 1..20 {
        let check = world.browsers[viewer].stun();
        world.send_from(connection(port), &check);
    }
    let has = |world: &World| {
        let has = |port: &u16| world.core.has_address(connection(*port));
        (1..20).filter(has).count()
    };
    assert_eq!(has(&world), 3, "and the one that media goes to");
    let mut left = 0;
    while let Some(address) = world.core.poll_left() {
        assert!(!world.core.has_address(address));
        left += 1;
    }
    assert_eq!(left, 16);
    let ufrag = world.browsers[viewer].ufrag();
    world.core.leave(world.now, &ufrag);
    assert_eq!(has(&world), 0);
    assert_eq!(std::iter::from_fn(|| world.core.poll_left()).count(), 3);
}

#[test]
fn the_connection_of_a_peer_that_was_removed_is_nobodys() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    world.pass(31 * SECOND);
    let check = world.browsers[publisher].stun();
    assert_eq!(
        world.send_from(connection(1), &check),
        Routed::Checked,
        "it is told that it is gone"
    );
    assert!(!world.core.has_address(connection(1)));
}
