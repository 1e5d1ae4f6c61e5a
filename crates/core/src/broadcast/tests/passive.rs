//! Peers that are the DTLS server, since their offer says `a=setup:passive`.

use rekindle_ids::Role;

use super::world::*;
use crate::broadcast::{Departure, Event};
use crate::peer::Transmit;

impl World {
    /// A passive peer that has joined and has not sent anything.
    fn passive(&mut self, role: Role) -> usize {
        let id = self.browser(role);
        self.browsers[id].serve_dtls(self.now);
        let ufrag = self.browsers[id].ufrag();
        self.core.reserve(self.now, role, CHANNEL, &ufrag).unwrap();
        self.core
            .join(self.now, self.browsers[id].join.clone())
            .unwrap();
        id
    }
}

fn is_dtls(transmit: &Transmit) -> bool {
    matches!(transmit.data[0], 20..=63)
}

#[test]
fn a_passive_publisher_is_seen_by_a_passive_viewer() {
    let mut world = World::new();
    let publisher = world.passive(Role::Publisher);
    world.check(publisher);
    assert!(world.browsers[publisher].sending.is_some());
    let viewer = world.passive(Role::Viewer);
    world.check(viewer);
    for sequence in 0..5 {
        world.video(publisher, sequence, KEY);
    }
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [0, 1, 2, 3, 4]);
    // Once it has keys, nothing begins anew.
    let before = world.browsers[viewer].material.clone();
    world.pass(MS * 2000);
    world.check(viewer);
    assert_eq!(world.browsers[viewer].material, before);
}

#[test]
fn an_attempt_whose_first_datagrams_are_lost_is_begun_again() {
    for lost in 1..6 {
        let mut world = World::new();
        let publisher = world.passive(Role::Publisher);
        let mut left = lost;
        world.arrives = Box::new(move |transmit| {
            left -= i32::from(is_dtls(transmit) && left > 0);
            left == 0 || !is_dtls(transmit)
        });
        for _ in 0..6 {
            world.check(publisher);
            world.pass(MS * 1000);
        }
        assert!(world.browsers[publisher].sending.is_some(), "{lost} lost");
    }
}

#[test]
fn an_address_that_answers_nothing_gets_few_hellos() {
    let mut world = World::new();
    let publisher = world.passive(Role::Publisher);
    let (tell, told) = std::sync::mpsc::channel();
    world.arrives = Box::new(move |transmit| {
        let dtls = is_dtls(transmit);
        if dtls {
            tell.send(transmit.data.len()).unwrap();
        }
        !dtls
    });
    // One check, in the name of somebody else's address.
    world.check(publisher);
    world.pass(MS * 20_000);
    let sizes: Vec<usize> = told.try_iter().collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().sum::<usize>() < 1000, "{sizes:?}");
}

#[test]
fn no_hello_goes_to_an_address_where_somebody_else_is() {
    let mut world = World::new();
    let honest = world.connected(Role::Publisher);
    let address = world.browsers[honest].address;
    let other = world.passive(Role::Viewer);
    let before = world.browsers[honest].material.clone();
    let check = world.browsers[other].stun();
    let (tell, told) = std::sync::mpsc::channel();
    world.arrives = Box::new(move |transmit| {
        if is_dtls(transmit) {
            tell.send(()).unwrap();
        }
        true
    });
    world.send_from(address, &check);
    world.pass(MS * 3000);
    assert_eq!(told.try_iter().count(), 0);
    assert_eq!(world.browsers[honest].material, before);
}

#[test]
fn a_passive_peer_whose_answers_are_of_no_use_is_let_go_with_an_alert() {
    let mut world = World::new();
    let publisher = world.passive(Role::Publisher);
    let ufrag = world.browsers[publisher].ufrag();
    // It has another certificate than it offers, so that its signature is good and its name is
    // wrong.
    world.browsers[publisher].dtls = None;
    world.check(publisher);
    let from = world.browsers[publisher].address;
    let fatal = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 40];
    world.send_from(from, &fatal);
    world.pass(MS * 4000);
    let gone = Event::Gone {
        ufrag,
        why: Departure::NoHandshake,
    };
    assert!(world.take_events().contains(&gone));
}

#[test]
fn after_a_restart_a_passive_peer_is_plain() {
    let mut world = World::new();
    let publisher = world.passive(Role::Publisher);
    world.check(publisher);
    world.browsers[publisher].join.renews = false;
    world.restart();
    world.pass(MS * 1500);
    let ufrag = world.browsers[publisher].ufrag();
    let check = world.browsers[publisher].stun();
    world.send(publisher, &check);
    let gone = Event::Gone {
        ufrag,
        why: Departure::NoRehandshake,
    };
    assert!(world.take_events().contains(&gone));
}
