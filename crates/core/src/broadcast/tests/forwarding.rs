//! Media from the publisher to viewers, and requests the other way.

use rekindle_ids::{Role, TransportAddress};
use rtc_rtcp::sender_report::SenderReport;
use rtc_shared::marshal::Marshal;

use super::world::*;
use crate::broadcast::rtcp::{self, Item};
use crate::broadcast::{Event, Routed};

fn plis(world: &World, publisher: usize) -> usize {
    let packets = world.browsers[publisher].rtcp.iter();
    packets
        .flat_map(|p| rtcp::read(p))
        .filter(|item| matches!(item, Item::KeyframeRequest { ssrc: VIDEO }))
        .count()
}

fn nacked(world: &mut World, publisher: usize) -> Vec<u16> {
    let packets = std::mem::take(&mut world.browsers[publisher].rtcp);
    let items = packets.iter().flat_map(|p| rtcp::read(p));
    items
        .flat_map(|item| match item {
            Item::Nack { pairs, .. } => rtcp::nacked(pairs).collect::<Vec<_>>(),
            _ => vec![],
        })
        .collect()
}

#[test]
fn media_reaches_all_viewers_with_their_own_payload_types_and_mids() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewers = [world.connected(Role::Viewer), world.connected(Role::Viewer)];
    world.video(publisher, 65_535, KEY);
    world.video(publisher, 0, DELTA);
    for viewer in viewers {
        let packets = &world.browsers[viewer].rtp;
        assert_eq!(world.browsers[viewer].sequences(VIDEO), [65_535, 0]);
        assert_eq!(packets[0].header.payload_type, 100);
        assert_eq!(packets[0].payload(), KEY);
        assert_eq!(packets[0].extension(1), Some(&b"v"[..]));
    }
    assert!(world.events.contains(&source(true)));
    let snapshot = world.core.snapshot(world.now);
    assert_eq!(
        (
            snapshot.connected,
            snapshot.packets_in,
            snapshot.packets_out
        ),
        (3, 2, 4)
    );
    assert_eq!(world.standings(), [(CHANNEL.to_owned(), true, 2)]);
}

#[test]
fn what_passes_through_each_channel_is_counted_apart_and_comes_to_all_of_it() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.connected(Role::Viewer);
    let other_publisher = world.connected_to("other", Role::Publisher);
    let other_viewer = world.connected_to("other", Role::Viewer);
    for sequence in 0..10 {
        world.video(publisher, sequence, if sequence == 0 { KEY } else { DELTA });
    }
    world.video(other_publisher, 1, KEY);
    // Sent once more, to one viewer.
    world.rtcp(viewer, &rtcp::nacks(1, VIDEO, &[4])[0]);
    let report = rtc_rtcp::reception_report::ReceptionReport {
        ssrc: VIDEO,
        fraction_lost: 64,
        ..Default::default()
    };
    let report = rtcp::receiver_report(1, vec![report], None).unwrap();
    world.rtcp(other_viewer, &report);

    let snapshot = world.core.snapshot(world.now);
    let [main, other] = &snapshot.channels[..] else {
        panic!("{snapshot:?}");
    };
    assert_eq!((&*main.name, &*other.name), (CHANNEL, "other"));
    assert_eq!((main.received.packets, main.sent.packets), (10, 21));
    assert_eq!((other.received.packets, other.sent.packets), (1, 1));
    assert_eq!((main.loss.count, other.loss.count), (0, 1));
    assert_eq!(other.loss.sum, 64);
    let received = main.received.bytes + other.received.bytes;
    let sent = main.sent.bytes + other.sent.bytes;
    assert_eq!((received, sent), (snapshot.bytes_in, snapshot.bytes_out));
    assert!(other.sent.bytes > KEY.len() as u64 && other.sent.bytes < main.sent.bytes);

    // A channel that has gone and come again counts anew.
    for id in [other_publisher, other_viewer] {
        let ufrag = world.browsers[id].ufrag();
        world.core.leave(world.now, &ufrag);
    }
    world.connected_to("other", Role::Publisher);
    let again = world.core.snapshot(world.now).channels.swap_remove(1);
    assert_eq!((again.received.packets, again.sent.packets), (0, 0));
}

#[test]
fn what_nobody_agreed_on_is_dropped_and_counted() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let mut foreign = video_packet(1, KEY);
    foreign[8..12].copy_from_slice(&7u32.to_be_bytes());
    world.rtp(publisher, &foreign);
    world.video(publisher, 1, KEY);
    world.rtp(publisher, &rtx_packet(1, 1, KEY));
    world.rtp(viewer, &video_packet(2, KEY));
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1]);
    let snapshot = world.core.snapshot(world.now);
    assert_eq!((snapshot.unknown, snapshot.duplicates), (1, 1));
}

#[test]
fn a_viewers_nack_is_answered_by_rtx_then_on_the_original_ssrc() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    for sequence in 0..10 {
        world.video(publisher, sequence, if sequence == 0 { KEY } else { DELTA });
    }
    let first = world.browsers[viewer].rtp[4].clone();
    world.browsers[viewer].rtp.clear();
    let nack = &rtcp::nacks(1, VIDEO, &[4])[0];
    world.rtcp(viewer, nack);
    let rtx = world.browsers[viewer].rtp.pop().unwrap();
    assert_eq!((rtx.header.ssrc, rtx.header.payload_type), (VIDEO_RTX, 101));
    assert_eq!(rtx.unwrap_rtx(VIDEO, 100).unwrap(), first);
    world.pass(30 * MS);
    world.rtcp(viewer, nack);
    assert_eq!(
        world.browsers[viewer].rtp.pop().unwrap(),
        first,
        "byte for byte"
    );
    assert_eq!(world.core.snapshot(world.now).retransmitted, 2);
}

#[test]
fn what_viewers_ask_for_and_report_is_counted_with_the_bytes_that_they_get() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    for sequence in 0..10 {
        world.video(publisher, sequence, if sequence == 0 { KEY } else { DELTA });
    }
    let before = world.core.snapshot(world.now);
    assert!(before.bytes_in > 10 * 12, "{before:?}");
    // Without the extensions that it has not agreed on.
    let got = world.browsers[viewer].rtp.iter().map(|packet| packet.len());
    assert_eq!(before.bytes_out, got.sum::<usize>() as u64);
    let report = |fraction_lost| rtc_rtcp::reception_report::ReceptionReport {
        ssrc: VIDEO,
        fraction_lost,
        ..Default::default()
    };
    let reports = rtcp::receiver_report(1, vec![report(0), report(64)], None).unwrap();
    world.rtcp(viewer, &reports);
    world.rtcp(viewer, &rtcp::nacks(1, VIDEO, &[4, 5])[0]);
    world.rtcp(viewer, &rtcp::pli(1, VIDEO).unwrap());
    // A publisher's reports are of what it gets, which is nothing.
    world.rtcp(publisher, &reports);
    let after = world.core.snapshot(world.now);
    assert_eq!((after.nacked, after.keyframe_requests), (2, 1));
    assert_eq!((after.loss.count, after.loss.sum), (2, 64));
    assert!(after.bytes_out > before.bytes_out);

    let lost = after.nacks;
    world.video(publisher, 13, DELTA);
    world.pass(30 * MS);
    assert!(
        world.core.snapshot(world.now).nacks > lost,
        "10 to 12 are missing"
    );
}

#[test]
fn a_packet_lost_on_the_way_in_is_asked_for_and_forwarded_late() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 10, KEY);
    world.browsers[publisher].rtcp.clear();
    world.video(publisher, 13, DELTA);
    assert_eq!(nacked(&mut world, publisher), [11, 12]);
    world.rtcp(viewer, &rtcp::nacks(1, VIDEO, &[11, 12])[0]);
    assert_eq!(
        nacked(&mut world, publisher),
        [0u16; 0],
        "asked for already"
    );
    world.rtp(publisher, &rtx_packet(500, 11, DELTA));
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [10, 13, 11]);
    world.pass(60 * MS);
    assert_eq!(nacked(&mut world, publisher), [12]);
}

#[test]
fn new_viewers_close_together_cost_one_keyframe_request() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    world.video(publisher, 1, KEY);
    for _ in 0..4 {
        world.connected(Role::Viewer);
    }
    assert_eq!(plis(&world, publisher), 1);
    world.pass(100 * MS);
    world.video(publisher, 2, KEY);
    world.pass(5000 * MS);
    assert_eq!(plis(&world, publisher), 1);
    assert_eq!(world.core.snapshot(world.now).plis, 1);
}

#[test]
fn a_keyframe_request_without_an_answer_is_repeated() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    world.rtcp(viewer, &rtcp::pli(1, VIDEO).unwrap());
    world.video(publisher, 2, DELTA);
    world.pass(2100 * MS);
    assert_eq!(plis(&world, publisher), 3);
    world.video(publisher, 3, KEY);
    world.pass(5000 * MS);
    assert_eq!(plis(&world, publisher), 3);
}

#[test]
fn sender_reports_go_on_at_once_and_again_to_whoever_comes_later() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    world.video(publisher, 1, KEY);
    let report = SenderReport {
        ssrc: VIDEO,
        ntp_time: 5,
        rtp_time: 6,
        ..Default::default()
    };
    world.rtcp(publisher, &report.marshal().unwrap());
    let late = world.connected(Role::Viewer);
    for id in [viewer, late] {
        let items: Vec<_> = world.browsers[id]
            .rtcp
            .iter()
            .flat_map(|p| rtcp::read(p))
            .collect();
        let [Item::SenderReport { ssrc: VIDEO, info }] = items.as_slice() else {
            panic!("{items:?}")
        };
        assert_eq!((info.ntp_time, info.rtp_time), (5, 6));
    }
}

#[test]
fn the_publisher_gets_receiver_reports_and_congestion_feedback() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    for sequence in 0..100 {
        world.video(publisher, sequence, DELTA);
        world.pass(20 * MS);
    }
    let packets = &world.browsers[publisher].rtcp;
    let kinds: Vec<_> = packets.iter().map(|p| (p[1], p[0] & 0x1F)).collect();
    let reports = kinds.iter().filter(|kind| **kind == (201, 1)).count();
    let feedback = kinds.iter().filter(|kind| **kind == (205, 15)).count();
    assert!((1..=2).contains(&reports), "{reports}");
    assert!((15..=21).contains(&feedback), "{feedback}");
}

#[test]
fn datagrams_of_strangers_change_nothing() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let stranger = TransportAddress::udp(([203, 0, 113, 9], 9));
    let mut forged = world.browsers[viewer].stun();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(world.send_from(stranger, &forged), Routed::Done);
    assert_eq!(
        world.send_from(stranger, &[0x80; 40]),
        Routed::UnknownAddress
    );
    let mut unknown = world.browsers[viewer].stun();
    let at = unknown.windows(5).position(|w| w == b"ufrag").unwrap();
    unknown[at] = b'x';
    assert_eq!(world.send_from(stranger, &unknown), Routed::UnknownUfrag);
    assert_eq!(world.core.poll_demand(), None, "there are no more records");
    // Noise from the publisher's own address.
    let address = world.browsers[publisher].address;
    for first in [0, 20, 22, 0x80, 0x90] {
        world.send_from(address, &[first; 60]);
    }
    world.video(publisher, 1, KEY);
    assert_eq!(world.browsers[viewer].sequences(VIDEO), [1]);
}

#[test]
fn a_browser_that_moves_takes_its_media_along_and_its_old_address_may_be_anothers() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    let (old, new) = (
        world.browsers[viewer].address,
        TransportAddress::udp(([192, 0, 2, 77], 77)),
    );
    world.browsers[viewer].address = new;
    world.check(viewer);
    world.video(publisher, 1, KEY);
    assert_eq!(
        world.browsers[viewer].sequences(VIDEO),
        [0_u16; 0],
        "a check alone may be somebody's replay"
    );
    world.rtcp(viewer, &[0x80, 201, 0, 1, 0, 0, 0, 9]);
    world.video(publisher, 2, DELTA);
    assert_eq!(
        world.browsers[viewer].sequences(VIDEO),
        [2],
        "media follows an authentic packet from the nominated address"
    );
    let moved = Event::Address {
        ufrag: world.browsers[viewer].ufrag(),
        address: new.socket,
    };
    // It moved a moment ago already, when it joined.
    world.pass(std::time::Duration::from_secs(1));
    assert!(world.events.contains(&moved));
    let stun = world.browsers[publisher].stun();
    assert_eq!(
        world.send_from(old, &stun),
        Routed::Done,
        "it is the viewer's, for all that is known"
    );
    let packet = world.encrypted_rtp(publisher, &video_packet(3, DELTA));
    assert_eq!(world.send_from(old, &packet), Routed::Authentic);
    world.core.leave(world.now, &world.browsers[viewer].ufrag());
    assert_eq!(
        world.core.snapshot(world.now).packets_in,
        3,
        "the address is the publisher's now"
    );
    assert_eq!(world.send_from(new, &[0x80; 40]), Routed::UnknownAddress);
}

#[test]
fn a_peer_has_four_addresses_and_keeps_those_that_it_has_shown_to_be_its_own() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let own = world.browsers[publisher].address;
    let addresses: Vec<_> = (1..=6)
        .map(|port| TransportAddress::udp(([192, 0, 2, 9], port)))
        .collect();
    for address in &addresses {
        let stun = world.browsers[publisher].stun();
        assert_eq!(world.send_from(*address, &stun), Routed::Checked);
    }
    let is_known = |world: &mut World, from| world.send_from(from, &[0x80; 40]) == Routed::Done;
    let known: Vec<_> = addresses
        .iter()
        .map(|from| is_known(&mut world, *from))
        .collect();
    assert_eq!(known, [false, false, false, true, true, true]);
    assert!(is_known(&mut world, own));
    world.video(publisher, 1, KEY);
    assert_eq!(world.core.snapshot(world.now).packets_in, 1);
}

#[test]
fn a_check_takes_no_address_from_a_peer_that_has_keys() {
    let mut world = World::new();
    let publisher = world.connected(Role::Publisher);
    let viewer = world.connected(Role::Viewer);
    // A session of somebody's own, with no address of its own.
    let bad = world.browser(Role::Viewer);
    world
        .core
        .join(world.now, world.browsers[bad].join.clone())
        .unwrap();
    for number in 0..20 {
        for victim in [publisher, viewer] {
            let stun = world.browsers[bad].stun();
            world.send_from(world.browsers[victim].address, &stun);
        }
        world.video(publisher, number, if number == 0 { KEY } else { DELTA });
        world.rtcp(viewer, &[0x80, 201, 0, 1, 0, 0, 0, 9]);
    }
    assert_eq!(world.browsers[viewer].sequences(VIDEO).len(), 20);
    assert_eq!(world.core.snapshot(world.now).packets_in, 20);
    let ufrag = world.browsers[bad].ufrag();
    let told = |event: &Event| matches!(event, Event::Address { ufrag: who, .. } if *who == ufrag);
    assert!(
        !world.events.iter().any(told),
        "what it claims is not written down"
    );
}

#[test]
fn a_copy_of_a_check_from_elsewhere_claims_nothing() {
    let mut world = World::new();
    let viewer = world.connected(Role::Publisher);
    let stun = world.browsers[viewer].stun();
    let own = world.browsers[viewer].address;
    world.send_from(own, &stun);
    let elsewhere = TransportAddress::udp(([203, 0, 113, 9], 9));
    world.send_from(elsewhere, &stun);
    assert_eq!(
        world.send_from(elsewhere, &[0x80; 40]),
        Routed::UnknownAddress
    );
}
