//! What all peers together, or one of them, may make the core do.

mod support;

use rekindle::broadcast::Event;
use rekindle::sdp::Kind;
use support::{Certificate, Id, World, ms};

/// A broadcast with so many viewers, under a limit of handshakes.
fn broadcast(seed: u64, viewers: usize, max_handshakes: usize) -> (World, Id, Vec<Id>) {
    let mut world = World::new(seed);
    world.config.max_handshakes = max_handshakes;
    world.kill();
    world.start_server();
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    let viewers: Vec<_> = (0..viewers).map(|_| world.watch("news")).collect();
    world.run_until_connected(&viewers);
    world.run(ms(500));
    (world, publisher, viewers)
}

/// A ClientHello, and nothing more, in the name of each of these. How many were answered.
fn begin_handshakes(world: &mut World, ids: &[Id]) -> usize {
    let stranger = Certificate::new();
    let mut answered = 0;
    for id in ids {
        let (now, address) = (world.now, world.client(*id).address);
        let mut out = Vec::new();
        for datagram in world.client_mut(*id).client_hello(&stranger, now) {
            out.extend(world.attack(address, &datagram).1);
        }
        answered += usize::from(!out.is_empty());
    }
    answered
}

#[test]
fn beyond_the_limit_handshakes_are_not_begun_and_nobody_is_disturbed() {
    let (mut world, publisher, viewers) = broadcast(600, 12, 3);
    let since = world.now;
    assert_eq!(begin_handshakes(&mut world, &viewers), 3);
    assert_eq!(begin_handshakes(&mut world, &viewers), 0);
    // Their viewers wait for a publisher, so it has places of its own.
    let now = world.now;
    world.client_mut(publisher).renew(now);
    world.run_until_connected(&[publisher]);
    world.run(ms(1000));
    for id in &viewers {
        assert!(world.largest_gap(*id, Kind::Video, since) <= ms(250));
        world.assert_exact(*id, publisher);
    }
}

#[test]
fn handshakes_that_stand_still_keep_nobody_out_for_long() {
    let (mut world, _, viewers) = broadcast(601, 12, 3);
    assert_eq!(begin_handshakes(&mut world, &viewers), 3);
    let newcomer = world.watch("news");
    assert!(world.run_until_connected(&[newcomer]) < ms(5000));
    // And under a flood that takes every place that becomes free.
    let newcomer = world.watch("news");
    let begin = world.now;
    while !world.client(newcomer).is_connected() {
        begin_handshakes(&mut world, &viewers);
        world.run(ms(20));
        assert!(
            world.now - begin < ms(20_000),
            "the newcomer never gets a place"
        );
    }
}

#[test]
fn more_peers_than_places_all_come_back_after_a_restart() {
    let (mut world, publisher, viewers) = broadcast(602, 40, 4);
    world.restart(ms(50));
    let mut all = viewers.clone();
    all.push(publisher);
    let took = world.run_until_connected(&all);
    assert!(took < ms(5000), "{took:?}");
    world.run(ms(1000));
    viewers
        .iter()
        .for_each(|id| world.assert_exact(*id, publisher));
}

#[test]
fn a_peer_that_moves_to_and_fro_is_written_down_once_a_second() {
    let mut world = World::new(603);
    let publisher = world.publish("news");
    world.run_until_connected(&[publisher]);
    world.run(ms(200));
    let pwd = world
        .client(publisher)
        .session
        .credentials
        .server_pwd
        .clone();
    let addresses = [40_001_u16, 40_002].map(|port| ([192, 0, 2, 200], port).into());
    // A nominated check, and then something that only this publisher can send.
    let move_to = |world: &mut World, address| {
        let client = world.client_mut(publisher);
        let check = client.forged_check(&pwd);
        client.send_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
        let report = client.outgoing().pop().expect("a report");
        world.attack(address, &check);
        world.attack(address, &report);
    };
    let (begin, before) = (world.now, world.events.len());
    for _ in 0..1000 {
        for address in addresses {
            move_to(&mut world, address);
        }
        world.run(ms(5));
    }
    move_to(&mut world, addresses[0]);
    world.run(ms(1100));
    let moves: Vec<_> = world.events[before..]
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Address { address, .. } => Some(*address),
            _ => None,
        })
        .collect();
    let seconds = (world.now - begin).as_secs() as usize;
    assert!(
        (2..=seconds + 2).contains(&moves.len()),
        "{} in {seconds} s",
        moves.len()
    );
}
