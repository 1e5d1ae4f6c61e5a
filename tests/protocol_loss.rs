//! Loss on either side of the server is healed, and keyframes are asked for no more often than they
//! help.

mod support;

use rekindle::sdp::Kind;
use support::{Conditions, Id, World, ms};

fn lossy(loss: f64) -> Conditions {
    Conditions {
        delay: ms(20),
        loss,
        ..Conditions::default()
    }
}

fn broadcast(seed: u64, viewers: usize) -> (World, Id, Vec<Id>) {
    World::broadcast(seed, viewers, None)
}

#[test]
fn loss_towards_a_viewer_is_healed_from_the_servers_history_by_rtx() {
    let (mut world, publisher, viewers) = broadcast(20, 2);
    let host = world.client(viewers[0]).address.ip();
    let ssrc = world.client(publisher).sender().stream(Kind::Video).ssrc;
    let mut seen = 0;
    world.network.filter = Some(Box::new(move |datagram| {
        let video = datagram.to.ip() == host && datagram.rtp().is_some_and(|(of, _)| of == ssrc);
        seen += u32::from(video);
        !video || seen % 10 != 0
    }));
    world.run(ms(5000));
    let lost = world.network.lost();
    world.network.filter = None;
    world.run(ms(500));
    assert!(lost > 40);
    world.assert_exact(viewers[0], publisher);
    world.assert_nothing_missing(viewers[0], publisher, Kind::Video, ms(100));
    assert_eq!(world.client(viewers[0]).receiver().by_rtx, lost);
    assert_eq!(world.snapshot().retransmitted, lost);
    let video = world.client(publisher).sender().stream(Kind::Video);
    assert!(video.nacks.is_empty(), "the publisher was not bothered");
    assert_eq!(
        world.client(viewers[1]).receiver().by_rtx,
        0,
        "nor was the other viewer"
    );
}

#[test]
fn heavy_loss_towards_a_viewer_is_healed_though_retransmissions_are_lost_too() {
    let (mut world, publisher, viewers) = broadcast(26, 1);
    let host = world.client(viewers[0]).address.ip();
    world.network.set(host, false, lossy(0.3));
    world.run(ms(5000));
    world.network.set(host, false, lossy(0.0));
    world.run(ms(1500));
    world.assert_exact(viewers[0], publisher);
    world.assert_nothing_missing(viewers[0], publisher, Kind::Video, ms(300));
}

#[test]
fn loss_between_publisher_and_server_is_healed_by_the_servers_own_nacks() {
    let (mut world, publisher, viewers) = broadcast(21, 2);
    for viewer in &viewers {
        world.client_mut(*viewer).receiver_mut().viewer.automatic = false;
    }
    let host = world.client(publisher).address.ip();
    world.network.set(host, true, lossy(0.1));
    world.run(ms(5000));
    world.network.set(host, true, lossy(0.0));
    world.run(ms(1500));
    assert!(world.client(publisher).sender().stream(Kind::Video).resent > 20);
    for viewer in viewers {
        world.assert_exact(viewer, publisher);
        world.assert_nothing_missing(viewer, publisher, Kind::Video, ms(300));
        assert_eq!(world.client(viewer).receiver().viewer.nacks, 0);
    }
}

#[test]
fn loss_everywhere_with_reordering_and_duplication_heals() {
    let (mut world, publisher, viewers) = broadcast(22, 3);
    world.network.default = Conditions {
        delay: ms(15),
        jitter: ms(20),
        loss: 0.05,
        duplicate: 0.02,
        ..Conditions::default()
    };
    world.run(ms(8000));
    world.network.default = Conditions::default();
    world.run(ms(2000));
    for viewer in viewers {
        world.assert_exact(viewer, publisher);
        world.assert_nothing_missing(viewer, publisher, Kind::Video, ms(500));
    }
}

#[test]
fn connections_come_about_in_spite_of_loss() {
    for seed in 0..12 {
        let mut world = World::new(100 + seed);
        world.network.default = Conditions {
            delay: ms(20),
            jitter: ms(10),
            loss: 0.2,
            duplicate: 0.1,
            ..Conditions::default()
        };
        let publisher = world.publish("news");
        world.run_until_connected(&[publisher]);
        let viewer = world.watch("news");
        world.run_until_connected(&[viewer]);
        world.run(ms(1000));
        world.assert_exact(viewer, publisher);
        assert!(
            world.got(viewer, publisher, Kind::Video) > 30,
            "seed {seed}"
        );
    }
}

#[test]
fn what_the_publisher_no_longer_sends_costs_a_keyframe() {
    let (mut world, publisher, viewers) = broadcast(23, 1);
    world.client_mut(publisher).sender_mut().answers_nacks = false;
    world.client_mut(viewers[0]).receiver_mut().viewer.automatic = false;
    let plis = world
        .client(publisher)
        .sender()
        .stream(Kind::Video)
        .plis
        .len();
    let video = world.client(publisher).sender().stream(Kind::Video).ssrc;
    let mut to_lose = 3;
    let server = world.server_address;
    world.network.filter = Some(Box::new(move |datagram| {
        let lose = to_lose > 0
            && datagram.to == server
            && datagram.rtp().is_some_and(|(ssrc, _)| ssrc == video);
        to_lose -= u32::from(lose);
        !lose
    }));
    world.run(ms(3000));
    let stream = world.client(publisher).sender().stream(Kind::Video);
    assert!(stream.nacks.len() >= 3, "it was asked first");
    assert_eq!(
        stream.plis.len(),
        plis + 1,
        "then the server asked for one keyframe, for all viewers"
    );
}

#[test]
fn plis_are_merged_and_rate_limited() {
    let (mut world, publisher, viewers) = broadcast(24, 6);
    let before = world
        .client(publisher)
        .sender()
        .stream(Kind::Video)
        .plis
        .len();
    let begin = world.now;
    // Six viewers, each five times a second, for four seconds.
    for _ in 0..20 {
        for viewer in &viewers {
            let client = world.client_mut(*viewer);
            let pli = client.receiver_mut().pli();
            client.send_rtcp(&pli);
        }
        world.run(ms(200));
    }
    let plis = &world.client(publisher).sender().stream(Kind::Video).plis[before..];
    assert!((4..=9).contains(&plis.len()), "{} PLIs of 120", plis.len());
    assert!(
        plis.windows(2).all(|pair| pair[1] - pair[0] >= ms(490)),
        "at least half a second apart"
    );
    assert!(plis[0] - begin < ms(30), "the first goes on at once");
}

#[test]
fn a_lost_pli_is_sent_again() {
    let (mut world, publisher, viewers) = broadcast(25, 1);
    let before = world
        .client(publisher)
        .sender()
        .stream(Kind::Video)
        .plis
        .len();
    let host = world.client(publisher).address.ip();
    world.network.set(host, false, lossy(1.0));
    let client = world.client_mut(viewers[0]);
    let pli = client.receiver_mut().pli();
    client.send_rtcp(&pli);
    world.run(ms(500));
    world.network.set(host, false, lossy(0.0));
    world.run(ms(2500));
    let plis = world
        .client(publisher)
        .sender()
        .stream(Kind::Video)
        .plis
        .len()
        - before;
    assert_eq!(
        plis, 1,
        "it came in the end, and the keyframe ended the requests"
    );
}
