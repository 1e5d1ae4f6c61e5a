//! What strangers send changes nothing for those who are there.

mod support;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use rekindle::broadcast::{Departure, Event, Routed};
use rekindle::sdp::Kind;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use support::{Browser, Certificate, Datagram, Id, Offer, Random, World, ms};

fn broadcast(seed: u64) -> (World, Id, Id) {
    let (world, publisher, viewers) = World::broadcast(seed, 1, None);
    (world, publisher, viewers[0])
}

fn stranger() -> SocketAddr {
    "203.0.113.66:6666".parse().unwrap()
}

/// Keeps a copy of all datagrams to the server.
fn tap(world: &mut World) -> Rc<RefCell<Vec<Datagram>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (copy, server) = (seen.clone(), world.server_address);
    world.network.filter = Some(Box::new(move |datagram| {
        if datagram.to == server {
            copy.borrow_mut().push(datagram.clone());
        }
        true
    }));
    seen
}

/// The last check of this client that somebody saw on its way, in three seconds.
fn overheard_check(world: &mut World, client: Id) -> Datagram {
    let seen = tap(world);
    world.run(ms(3000));
    world.network.filter = None;
    let own = world.client(client).address;
    let check = seen
        .borrow()
        .iter()
        .rfind(|d| d.from == own && d.data[0] == 0)
        .cloned();
    check.unwrap()
}

/// For a second, media comes without a gap, and nobody has to do anything for it.
fn assert_undisturbed(world: &mut World, publisher: Id, viewer: Id) {
    let (since, events) = (world.now, world.events.len());
    let handshakes =
        |world: &World| [publisher, viewer].map(|id| world.client(id).handshakes_started);
    let before = handshakes(world);
    world.run(ms(1000));
    assert!(world.largest_gap(viewer, Kind::Video, since) <= ms(40));
    world.assert_nothing_missing(viewer, publisher, Kind::Video, ms(200));
    world.assert_exact(viewer, publisher);
    assert_eq!(handshakes(world), before);
    assert!(
        world.events[events..].is_empty(),
        "{:?}",
        &world.events[events..]
    );
    assert!(world.stray.is_empty(), "nothing goes to a stranger");
}

#[test]
fn a_spoofed_client_hello_leaves_live_keys_alone() {
    let (mut world, publisher, viewer) = broadcast(500);
    for id in [viewer, publisher] {
        let now = world.now;
        let thief = Certificate::new();
        let hello = world.client_mut(id).client_hello(&thief, now);
        let address = world.client(id).address;
        for datagram in hello {
            world.attack(address, &datagram);
        }
        assert_undisturbed(&mut world, publisher, viewer);
    }
}

#[test]
fn a_flood_of_spoofed_client_hellos_leaves_live_keys_alone_and_is_not_amplified() {
    let (mut world, publisher, viewer) = broadcast(501);
    let address = world.client(viewer).address;
    let thief = Certificate::new();
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for _ in 0..300 {
        let now = world.now;
        for datagram in world.client_mut(viewer).client_hello(&thief, now) {
            bytes_in += datagram.len();
            let (_, out) = world.attack(address, &datagram);
            bytes_out += out
                .iter()
                .map(|transmit| transmit.data.len())
                .sum::<usize>();
        }
        world.run(ms(3));
    }
    assert!(
        bytes_out < bytes_in,
        "{bytes_out} bytes out for {bytes_in} in"
    );
    assert_undisturbed(&mut world, publisher, viewer);
    // And the viewer itself can still renew its keys, soon.
    world.run(ms(2000));
    let now = world.now;
    world.client_mut(viewer).renew(now);
    assert!(world.run_until_connected(&[viewer]) < ms(1000));
}

#[test]
fn a_client_hello_from_an_unproven_address_is_not_answered() {
    let (mut world, publisher, viewer) = broadcast(502);
    let now = world.now;
    let thief = Certificate::new();
    for datagram in world.client_mut(viewer).client_hello(&thief, now) {
        assert_eq!(
            world.attack(stranger(), &datagram),
            (Routed::UnknownAddress, vec![])
        );
    }
    assert_undisturbed(&mut world, publisher, viewer);
}

#[test]
fn a_certificate_that_the_offer_does_not_name_never_gets_keys() {
    for viewer_too in [false, true] {
        let mut world = World::new(503);
        let publisher = world.publish("news");
        if viewer_too {
            world.run_until_connected(&[publisher]);
            // In DTLS 1.3 the client is done first; the server shortly after.
            world.run(ms(100));
        }
        let thief = if viewer_too {
            world.watch("news")
        } else {
            publisher
        };
        let before = world.count(|event| matches!(event, Event::Connected { .. }));
        world.client_mut(thief).session.certificate = Certificate::new();
        world.run(ms(5000));
        assert!(world.client(thief).handshakes_started > 0, "ICE came up");
        assert_eq!(
            world.count(|event| matches!(event, Event::Connected { .. })),
            before
        );
        let connected = usize::from(viewer_too);
        assert_eq!(world.snapshot().connected, connected);
        if viewer_too {
            assert!(
                world.client(thief).receiver().streams.is_empty(),
                "no media"
            );
        } else {
            assert_eq!(world.snapshot().packets_in, 0, "nothing it sends is taken");
        }
    }
}

#[test]
fn a_newcomer_whose_certificate_is_not_the_one_that_it_offered_is_turned_away_and_told() {
    // In DTLS 1.2 the certificate shows at once, in 1.3 when all is complete.
    for (only_12, within) in [(true, 4000), (false, 8000)] {
        let mut world = World::new(515);
        let publisher = world.publish("news");
        world.client_mut(publisher).session.certificate = Certificate::new();
        world.client_mut(publisher).manner.offer = Offer::only_12(only_12);
        let alerts = Rc::new(RefCell::new(0));
        let (count, server) = (alerts.clone(), world.server_address);
        world.network.filter = Some(Box::new(move |datagram| {
            *count.borrow_mut() += usize::from(
                datagram.from == server && datagram.data.starts_with(&[21, 0xfe, 0xfd, 0, 0]),
            );
            true
        }));
        world.run(ms(within));
        let gone = Event::Gone {
            ufrag: world.ufrag(publisher),
            why: Departure::NoHandshake,
        };
        assert_eq!(
            world.count(|event| *event == gone),
            1,
            "DTLS 1.2 only: {only_12}"
        );
        assert_eq!(*alerts.borrow(), 1);
        // The channel is free again.
        let next = world.publish("news");
        world.run_until_connected(&[next]);
    }
}

#[test]
fn a_wrong_certificate_after_a_restart_gets_nothing_and_the_right_one_does() {
    let (mut world, publisher, viewer) = broadcast(504);
    let right = std::mem::replace(
        &mut world.client_mut(viewer).session.certificate,
        Certificate::new(),
    );
    world.restart(ms(20));
    world.run_until_connected(&[publisher]);
    let got = world.got(viewer, publisher, Kind::Video);
    world.run(ms(3000));
    assert_eq!(world.got(viewer, publisher, Kind::Video), got);
    assert_eq!(world.snapshot().connected, 1);
    world.client_mut(viewer).session.certificate = right;
    let now = world.now;
    world.client_mut(viewer).renew(now);
    world.run(ms(1500));
    assert!(world.got(viewer, publisher, Kind::Video) > got);
    world.assert_exact(viewer, publisher);
}

#[test]
fn a_check_with_a_wrong_mac_gets_no_answer_and_changes_nothing() {
    let (mut world, publisher, viewer) = broadcast(505);
    for id in [viewer, publisher] {
        let forged = world
            .client_mut(id)
            .forged_check("another-password-24-long");
        let own = world.client(id).address;
        for from in [stranger(), own] {
            let (routed, out) = world.attack(from, &forged);
            assert_eq!((routed, out), (Routed::Done, vec![]));
        }
    }
    assert_undisturbed(&mut world, publisher, viewer);
}

#[test]
fn checks_damaged_in_any_byte_change_nothing() {
    let (mut world, publisher, viewer) = broadcast(506);
    let pwd = world.client(viewer).session.credentials.server_pwd.clone();
    let good = world.client_mut(viewer).forged_check(&pwd);
    // Up to the end of MESSAGE-INTEGRITY, of which FINGERPRINT is the rest.
    for at in 0..good.len() - 8 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let (_, out) = world.attack(stranger(), &bad);
        assert!(out.is_empty(), "byte {at}");
    }
    assert_undisturbed(&mut world, publisher, viewer);
}

#[test]
fn random_and_mutated_datagrams_disturb_nobody() {
    let (mut world, publisher, viewer) = broadcast(507);
    let seen = tap(&mut world);
    world.run(ms(500));
    // Checks are left to the tests about them.
    let captured: Vec<Datagram> = seen
        .borrow()
        .iter()
        .filter(|d| d.data[0] >= 20)
        .cloned()
        .collect();
    world.network.filter = None;
    let mut random = Random::new(508);
    let addresses = [
        world.client(publisher).address,
        world.client(viewer).address,
        stranger(),
    ];
    for _ in 0..4000 {
        let mut data = match random.below(2) {
            0 => (0..random.below(1400))
                .map(|_| random.draw() as u8)
                .collect(),
            _ => captured[random.below(captured.len() as u64) as usize]
                .data
                .to_vec(),
        };
        for _ in 0..=random.below(3) {
            if !data.is_empty() {
                let at = random.below(data.len() as u64) as usize;
                data[at] ^= 1 << random.below(8);
            }
        }
        data.truncate(random.below(2000) as usize);
        let from = addresses[random.below(3) as usize];
        let (_, out) = world.attack(from, &data);
        assert!(out.iter().all(|transmit| transmit.to != stranger().into()));
    }
    assert_undisturbed(&mut world, publisher, viewer);
}

#[test]
fn replayed_srtp_is_taken_once_and_after_a_restart_not_at_all() {
    let (mut world, publisher, viewer) = broadcast(509);
    let seen = tap(&mut world);
    world.run(ms(500));
    world.network.filter = None;
    let captured: Vec<Datagram> = seen
        .borrow()
        .iter()
        .filter(|d| d.rtp().is_some() || d.is_rtcp())
        .cloned()
        .collect();
    assert!(captured.len() > 60);
    // The last ones are still on their way.
    world.run(ms(50));
    let taken = world.snapshot().packets_in;
    for datagram in &captured {
        world.attack(datagram.from, &datagram.data);
    }
    assert_eq!(world.snapshot().packets_in, taken);

    world.restart(ms(20));
    world.run_until_connected(&[publisher, viewer]);
    world.run(ms(1000));
    let taken = world.snapshot().packets_in;
    for datagram in &captured {
        world.attack(datagram.from, &datagram.data);
    }
    assert_eq!(world.snapshot().packets_in, taken);
    assert_undisturbed(&mut world, publisher, viewer);
}

#[test]
fn captured_handshakes_replayed_after_a_restart_give_nobody_keys() {
    for browser in [Browser::Chromium, Browser::Firefox] {
        let mut world = World::new(510);
        let seen = tap(&mut world);
        let publisher = world.publish("news");
        world.run_until_connected(&[publisher]);
        let viewer = world.watch("news");
        world.run_until_connected(&[viewer]);
        world.run(ms(500));
        world.all_browsers(browser);
        world.network.filter = None;
        let captured: Vec<Datagram> = seen
            .borrow()
            .iter()
            .filter(|d| d.is_dtls())
            .cloned()
            .collect();
        world.restart(ms(20));
        for datagram in &captured {
            world.attack(datagram.from, &datagram.data);
        }
        assert_eq!(world.snapshot().connected, 0);
        let took = world.run_until_connected(&[publisher, viewer]);
        assert!(
            took < ms(1500),
            "{browser:?}: the true browsers are back after {took:?}"
        );
        world.run(ms(1500));
        assert_undisturbed(&mut world, publisher, viewer);
    }
}

#[test]
fn nothing_at_all_is_said_to_a_stranger() {
    let (mut world, _, viewer) = broadcast(511);
    let credentials = world.client(viewer).session.credentials.clone();
    let mut datagrams: Vec<Vec<u8>> =
        vec![vec![], vec![0], vec![22; 40], vec![0x80; 40], vec![0; 20]];
    datagrams.push(world.client_mut(viewer).forged_check("wrong"));
    world.client_mut(viewer).session.credentials.server_ufrag = "nobodyhere12".into();
    datagrams.push(
        world
            .client_mut(viewer)
            .forged_check(&credentials.server_pwd),
    );
    for datagram in datagrams {
        assert!(world.attack(stranger(), &datagram).1.is_empty());
    }
}

#[test]
fn a_viewer_turned_bad_harms_no_other_viewer() {
    let (mut world, publisher, good) = broadcast(512);
    let bad = world.watch("news");
    world.run_until_connected(&[bad]);
    world.run(ms(300));
    let sent = world.client(publisher).sender().stream(Kind::Video);
    let (ssrc, highest) = (sent.ssrc, sent.next_index as u16);
    let nacks_before = sent.nacks.len();
    let since = world.now;
    for round in 0..50_u16 {
        // Everything of the last thousand packets, and much that never was, again and again.
        let mut wanted: Vec<u16> = (0..1000).map(|n| highest.wrapping_sub(n)).collect();
        wanted.extend(round * 100..round * 100 + 100);
        wanted.sort_unstable();
        let nack = TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: ssrc,
            nacks: nack_pairs_from_sequence_numbers(&wanted),
        };
        let client = world.client_mut(bad);
        let packet = rtc_rtcp::packet::marshal(&[Box::new(nack)]).unwrap();
        client.send_rtcp(&packet);
        let pli = client.receiver_mut().pli();
        client.send_rtcp(&pli);
        world.run(ms(20));
    }
    assert!(world.largest_gap(good, Kind::Video, since) <= ms(40));
    world.assert_exact(good, publisher);
    assert_eq!(
        world
            .client(good)
            .receiver()
            .stream(Kind::Video)
            .unwrap()
            .again,
        0,
        "answers go to who asked"
    );
    let video = world.client(publisher).sender().stream(Kind::Video);
    assert!(video.plis.len() <= 6, "{} PLIs", video.plis.len());
    let nacks = video.nacks.len() - nacks_before;
    // The few hundred places before the first packet, each a few times: never what the viewer makes
    // up.
    assert!(nacks < 6000, "the publisher was asked {nacks} times");
    let resent = world.snapshot().retransmitted;
    assert!(resent < 4000, "{resent} packets sent again to the bad one");
}

#[test]
fn a_replayed_check_diverts_no_media() {
    // Whoever has seen a check on its way may send it again from elsewhere, and its MAC stays
    // valid. What that gains is an answer.
    let (mut world, publisher, viewer) = broadcast(513);
    let check = overheard_check(&mut world, viewer);
    world.attack(stranger(), &check.data);
    let since = world.now;
    world.run(ms(4500));
    let gap = world.largest_gap(viewer, Kind::Video, since);
    assert!(gap <= ms(150), "{gap:?}");
    world.assert_nothing_missing(viewer, publisher, Kind::Video, ms(1500));
    world.assert_exact(viewer, publisher);
    assert_eq!(world.client(viewer).connected_at.len(), 1);
    assert!(
        world.stray.iter().all(|d| d.data[0] < 4),
        "answers to the check, no media"
    );
}

#[test]
fn a_replayed_check_and_a_hello_from_there_bring_a_stranger_little() {
    // Whoever sees a check on its way can make a stranger's address count as proven, by sending it
    // again in the stranger's name, and then have handshakes begun with it.
    let (mut world, _, viewer) = broadcast(514);
    let check = overheard_check(&mut world, viewer);
    let thief = Certificate::new();
    let now = world.now;
    let hello = world.client_mut(viewer).client_hello(&thief, now);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for datagram in std::iter::once(&check.data).chain(&hello) {
        bytes_in += datagram.len();
        let (_, out) = world.attack(stranger(), datagram);
        bytes_out += out
            .iter()
            .map(|transmit| transmit.data.len())
            .sum::<usize>();
    }
    // What it repeats by itself.
    world.run(ms(15_000));
    bytes_out += world
        .stray
        .iter()
        .map(|datagram| datagram.data.len())
        .sum::<usize>();
    println!("{bytes_out} bytes out for {bytes_in} in");
    assert!(
        bytes_out <= 2 * bytes_in,
        "{bytes_out} bytes out for {bytes_in} in"
    );
}
