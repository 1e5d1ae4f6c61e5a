//! Nodes that take channels from each other: a viewer is answered where it asks, and goes on
//! whichever of the nodes is killed.
#![cfg(feature = "etcd")]

mod live;
mod nodes;
mod running;
mod support;

use std::time::{Duration, Instant};

use live::{Live, renew, run_for, run_until, run_until_connected, run_until_more_video};
use nodes::Cluster;
use rekindle::ids::Role;
use rekindle::sdp::Kind;
use running::{PUBLISH, Server, WATCH, header, output, rekindle, text, until};

/// A node that takes channels from others.
fn start(cluster: &Cluster, node: &str) -> Server {
    Server::start_as(cluster.command(node).args(["--pull", "4"]))
}

/// Waits until a node is told of another one.
fn knows(server: &Server, other: &str) {
    let url = format!("http://{other}.example/");
    until("the node knows the other one", || {
        let policy = server.get("/");
        header(&policy, "content-security-policy").contains(url.trim_end_matches('/'))
    });
}

/// A publisher at one node and a viewer at another.
fn broadcast(a: &Server, b: &Server) -> (Live, Live) {
    let mut publisher = Live::join(a, Role::Publisher, "news", 1);
    run_until_connected(&mut [&mut publisher]);
    let mut viewer = Live::join(b, Role::Viewer, "news", 2);
    run_until_connected(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 50);
    (publisher, viewer)
}

#[test]
fn a_viewer_sees_a_publisher_of_another_node() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    assert_eq!(cluster.etcd.keys("vault/pulls/").len(), 1);
    run_for(&mut [&mut publisher, &mut viewer], Duration::from_secs(1));
    let receiver = viewer.client.receiver();
    assert!(
        !receiver.reports.is_empty(),
        "sender reports come, for lip sync"
    );
    assert_eq!(receiver.streams.len(), 2, "sound and picture");
    let metrics = text(&mut b.get("/metrics"));
    assert!(
        metrics.contains("\nrekindle_channels_pulled 1\n"),
        "{metrics}"
    );
    // Its record is a viewer's as any other.
    let mut audit = rekindle(cluster.path());
    audit.args(["audit", "--vault", &cluster.etcd.address("vault")]);
    let audited = output(audit.args(["--key-file", "key.txt"]));
    assert!(audited.status.success(), "{audited:?}");
    // Nobody watches any more.
    assert_eq!(b.delete(&viewer.session).status(), 200);
    run_until(&mut [&mut publisher], "the channel is let go", |_| {
        cluster.etcd.keys("vault/pulls/").is_empty() && cluster.records() == 1
    });
}

#[test]
fn what_is_missed_is_asked_of_the_publisher_through_both_nodes() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    let asked = |one: &Live| one.client.sender().stream(Kind::Video).plis.len();
    let before = asked(&publisher);
    let mut late = Live::join(&b, Role::Viewer, "news", 3);
    let all = &mut [&mut publisher, &mut viewer, &mut late];
    run_until(all, "a newcomer's keyframe is asked for", |all| {
        asked(all[0]) > before
    });
    run_until_more_video(all, 50);
    assert_eq!(cluster.etcd.keys("vault/pulls/").len(), 1, "once for both");

    // What the publisher sends is lost for a moment.
    let nacked = || {
        let text = text(&mut a.get("/metrics"));
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("rekindle_nack_received_total "));
        line.expect("a count").parse::<u64>().expect("a number")
    };
    let before = nacked();
    // For so long that b asks a, who has nothing either.
    publisher.client.sender_mut().answers_nacks = false;
    let from = publisher.client.sender().stream(Kind::Video).next_index;
    std::thread::sleep(Duration::from_millis(100));
    publisher.client.handle_timeout(Instant::now());
    drop(publisher.client.outgoing());
    let to = publisher.client.sender().stream(Kind::Video).next_index;
    assert!(to > from);
    let all = &mut [&mut publisher, &mut viewer, &mut late];
    run_until(all, "b asks a", |_| nacked() > before);
    all[0].client.sender_mut().answers_nacks = true;
    run_until(all, "all of it comes after all", |all| {
        let has = |one: &&mut Live| {
            let got = &one
                .client
                .receiver()
                .stream(Kind::Video)
                .expect("video")
                .got;
            (from..to).all(|index| got.contains_key(&index))
        };
        all[1..].iter().all(has)
    });
}

/// Kills a node and starts it again where its browsers look for it.
fn kill_and_start_again(cluster: &Cluster, server: Server, node: &str) -> Server {
    server.kill_and_start_again_as(cluster.command(node).args(["--pull", "4"]))
}

#[test]
fn viewers_go_on_when_the_publishers_node_is_killed_and_started_again() {
    let cluster = Cluster::new();
    let (mut a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    let handshakes = viewer.client.handshakes;
    for _ in 0..2 {
        a = kill_and_start_again(&cluster, a, "a");
        renew(&mut [&mut publisher]);
        run_until_more_video(&mut [&mut publisher, &mut viewer], 100);
    }
    assert_eq!(viewer.client.handshakes, handshakes, "its own keys stay");
    assert_eq!(viewer.client.receiver().streams.len(), 2, "and its streams");
    assert_eq!(cluster.etcd.keys("vault/pulls/a/").len(), 1);
}

#[test]
fn viewers_go_on_when_their_own_node_is_killed_and_started_again() {
    let cluster = Cluster::new();
    let (a, mut b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    for _ in 0..2 {
        b = kill_and_start_again(&cluster, b, "b");
        let mut all = [&mut publisher, &mut viewer];
        let now = Instant::now();
        all[1].client.renew(now);
        run_until_more_video(&mut all, 100);
    }
    assert_eq!(
        viewer.client.receiver().streams.len(),
        2,
        "its streams stay"
    );
    let (mut publisher, mut late) = (publisher, Live::join(&b, Role::Viewer, "news", 9));
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut late], 20);
    // What its earlier processes have asked for goes with their leases, and the records when
    // nothing more is heard of their peers.
    run_until(
        &mut [&mut publisher, &mut viewer],
        "one wish is left",
        |_| cluster.etcd.keys("vault/pulls/").len() == 1,
    );
}

#[test]
fn viewers_follow_a_publisher_to_another_node() {
    let cluster = Cluster::new();
    let (a, b, c) = (
        start(&cluster, "a"),
        start(&cluster, "b"),
        start(&cluster, "c"),
    );
    knows(&b, "a");
    knows(&b, "c");
    knows(&c, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    // Two nodes take it, both from where its publisher is.
    let mut other = Live::join(&c, Role::Viewer, "news", 3);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut other]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut other], 50);
    assert_eq!(cluster.etcd.keys("vault/pulls/a/").len(), 2);
    assert_eq!(cluster.etcd.keys("vault/pulls/").len(), 2);

    // For good; and the page finds c.
    a.kill();
    assert!(
        c.events(&format!("{}/events", publisher.session))
            .next()
            .is_some()
    );
    publisher.lead_to(c.media());
    renew(&mut [&mut publisher]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut other], 200);
    for one in [&viewer, &other] {
        assert_eq!(one.client.handshakes, 1, "its own keys stay");
        assert_eq!(one.client.receiver().streams.len(), 2, "and its streams");
    }
    run_until(
        &mut [&mut publisher, &mut viewer, &mut other],
        "c has it, and takes it from nobody",
        |_| {
            let pulls = cluster.etcd.keys("vault/pulls/");
            pulls.len() == 1 && pulls[0].starts_with("vault/pulls/c/")
        },
    );
    // A viewer whose node is gone comes to one without the publisher, which then takes the channel.
    let path = format!("{}/events", other.session);
    assert!(b.events(&path).next().is_some());
    other.lead_to(b.media());
    renew(&mut [&mut other]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut other], 50);

    // And nothing is left of it.
    for session in [&viewer.session, &other.session] {
        assert_eq!(b.delete(session).status(), 200);
    }
    run_until(&mut [&mut publisher], "the channel is let go", |_| {
        cluster.etcd.keys("vault/pulls/").is_empty() && cluster.records() == 1
    });
    let exported = cluster.path().join("exported");
    let mut export = rekindle(cluster.path());
    export.args(["export", "--vault", &cluster.etcd.address("vault")]);
    assert!(output(export.arg(&exported)).status.success());
}

#[test]
fn a_node_without_the_option_sends_viewers_on_and_a_forged_wish_is_not_heard() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), cluster.start("b"));
    knows(&b, "a");
    let session = a.join("/whip/news", PUBLISH);
    let sent = b.offer("/whep/news", WATCH);
    assert_eq!(sent.status(), 307);
    let publisher = cluster.etcd.keys("vault/owners/");
    let ufrag = publisher[0].rsplit('/').next().expect("a name").to_owned();
    cluster
        .etcd
        .put(&format!("vault/pulls/b/{ufrag}"), b"a\n0123");
    b.wait_for_log("that no node of this vault's has", 1);
    assert_eq!(cluster.owner().as_deref(), Some("a"));
    assert_eq!(a.delete(&session).status(), 200);
}

#[test]
fn a_node_that_is_told_of_another_publisher_takes_nothing() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    a.join("/whip/secret", PUBLISH);
    let [secret] = &cluster.etcd.keys("vault/owners/")[..] else {
        panic!("one peer");
    };
    let secret = secret.rsplit('/').next().expect("a name").to_owned();
    let known = cluster.etcd.keys("vault/channels/");
    a.join("/whip/news", PUBLISH);
    let keys = cluster.etcd.keys("vault/channels/");
    let is_news = |key: &&String| !known.contains(key) && key.ends_with("/publisher");
    let key = keys.iter().find(is_news).expect("a channel").clone();
    let right = cluster.etcd.get(&key).expect("a name");
    let asks = || b.offer("/whep/news", WATCH).status().as_u16();
    for wrong in [secret.as_bytes(), b"nobody12", b"/"] {
        cluster.etcd.put(&key, wrong);
        assert_eq!(asks(), 307);
    }
    assert!(cluster.etcd.keys("vault/pulls/").is_empty());
    cluster.etcd.put(&key, &right);
    assert_eq!(asks(), 201);
}

#[test]
fn viewers_get_the_next_publisher_whichever_node_it_comes_to() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (publisher, mut viewer) = broadcast(&a, &b);
    assert_eq!(a.delete(&publisher.session).status(), 200);
    // Another one, with other streams, at the same node.
    let mut publisher = Live::join(&a, Role::Publisher, "news", 11);
    run_until_connected(&mut [&mut publisher, &mut viewer]);
    let seen = |all: &[&mut Live], streams: usize| {
        let video = all[1].client.receiver().stream(Kind::Video);
        all[1].client.receiver().streams.len() >= streams
            && video.is_some_and(|video| video.got.len() > 50)
    };
    let all = &mut [&mut publisher, &mut viewer];
    run_until(all, "the next one's picture comes", |all| seen(all, 4));
    assert_eq!(a.delete(&publisher.session).status(), 200);
    // And one at the viewer's own.
    until("a has it no more", || {
        cluster.etcd.keys("vault/channels/").is_empty()
    });
    publisher = Live::join(&b, Role::Publisher, "news", 12);
    let all = &mut [&mut publisher, &mut viewer];
    run_until(all, "the picture comes from here", |all| seen(all, 6));
    run_until(all, "nothing is taken from elsewhere", |_| {
        cluster.etcd.keys("vault/pulls/").is_empty()
    });
    assert_eq!(viewer.client.handshakes, 1, "its own keys stay");
}

#[test]
fn without_etcd_what_is_taken_goes_on() {
    let mut cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    cluster.etcd.kill(0);
    // Longer than a lease.
    let all = &mut [&mut publisher, &mut viewer];
    run_for(all, Duration::from_secs(7));
    run_until_more_video(all, 50);
    cluster.etcd.start_member(0);
    cluster.etcd.wait_ready(0);
    run_for(all, Duration::from_secs(4));
    run_until_more_video(all, 50);
    assert_eq!(cluster.etcd.keys("vault/pulls/a/").len(), 1);
    // And it can end.
    assert_eq!(b.delete(&viewer.session).status(), 200);
    run_until(&mut [&mut publisher], "the channel is let go", |_| {
        cluster.etcd.keys("vault/pulls/").is_empty() && cluster.records() == 1
    });
}
