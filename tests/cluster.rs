//! Servers that share a vault in a real etcd: sessions come where their pages ask, and nobody loses
//! any while etcd is away.
#![cfg(feature = "etcd")]

mod live;
mod nodes;
mod running;
mod support;

use std::time::{Duration, Instant};

use live::{Live, renew, run_for, run_until, run_until_connected};
use nodes::Cluster;
use rekindle::ids::Role;
use running::{PUBLISH, Server, WATCH, assert_problem, header, output, rekindle, until};

#[test]
fn a_session_goes_on_at_the_node_that_is_asked_for_it_and_comes_back() {
    let cluster = Cluster::new();
    let a = cluster.start("a");
    let b = cluster.start("b");
    let session = a.join("/whip/news", PUBLISH);
    let path = format!("{session}/events");
    let (_, hello) = a.events(&path).next().expect("an event");
    assert_eq!(hello["role"], "publisher");
    assert_eq!(cluster.owner().as_deref(), Some("a"));
    let nodes = |server: &Server| {
        let (_, hello) = server.events(&path).next().expect("an event");
        hello["nodes"].clone()
    };
    until("a's pages are told of b", || {
        nodes(&a)[0]["url"] == "http://b.example"
    });
    assert!(
        nodes(&a)[0]["media"][0].is_string(),
        "and of where it receives media"
    );

    a.kill();
    let (_, hello) = b.events(&path).next().expect("an event");
    assert_eq!(
        (&hello["role"], &hello["connected"]),
        (&"publisher".into(), &false.into())
    );
    assert_eq!(cluster.owner().as_deref(), Some("b"));

    // A process that comes back has nothing of the other's: it deletes nothing, and is asked again.
    let a = cluster.start("a");
    assert_eq!(cluster.owner().as_deref(), Some("b"));
    assert!(a.events(&path).next().is_some());
    assert_eq!(cluster.owner().as_deref(), Some("a"));
    assert_eq!(a.delete(&session).status(), 200);
    assert_eq!(cluster.records(), 0);
    assert_eq!(cluster.owner(), None);
    assert_problem(a.get(&path), 404, "no-session");
}

#[test]
fn a_record_is_with_the_node_at_which_the_browser_ran_its_last_handshake() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let mut publisher = Live::join(&a, Role::Publisher, "news", 1);
    run_until_connected(&mut [&mut publisher]);
    let path = format!("{}/events", publisher.session);
    let _first = a.events(&path);

    // The page goes to another node, and a has it still.
    let _there = b.events(&path);
    assert_eq!(cluster.owner().as_deref(), Some("b"));
    publisher.lead_to(b.media());
    renew(&mut [&mut publisher]);
    run_for(&mut [&mut publisher], Duration::from_secs(4));
    assert_eq!(
        cluster.owner().as_deref(),
        Some("b"),
        "a takes nothing back by itself"
    );

    // And comes back.
    let _back = a.events(&path);
    publisher.lead_to(a.media());
    renew(&mut [&mut publisher]);
    run_until(&mut [&mut publisher], "it is a's again", |_| {
        cluster.owner().as_deref() == Some("a")
    });
    // b has it no more, whatever it does.
    assert_eq!(b.delete(&publisher.session).status(), 200);
    assert_eq!(cluster.owner().as_deref(), Some("a"));
}

#[test]
fn certificates_that_one_node_makes_are_known_to_the_others_when_they_need_them() {
    let cluster = Cluster::new();
    let a = cluster.start("a");
    let before = format!("{}/events", a.join("/whip/one", PUBLISH));
    // Knows the first certificate alone, and has no peer.
    let b = cluster.start("b");
    let mut rotating = cluster.command("a");
    let a = a.kill_and_start_again_as(rotating.arg("--rotate-identity"));
    let after = format!("{}/events", a.join("/whip/two", PUBLISH));
    // Knows both.
    let c = cluster.start("c");
    std::thread::sleep(Duration::from_secs(1));
    a.kill();
    assert!(b.events(&after).next().is_some(), "one that was made since");
    assert!(
        c.events(&before).next().is_some(),
        "one that nobody here goes by"
    );
    assert!(c.events(&after).next().is_some());
    assert!(b.events(&before).next().is_some());
    assert_problem(b.get("/session/nobodys/events"), 404, "no-session");
}

#[test]
fn who_asks_another_node_for_a_channel_is_sent_to_its_publishers() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let session = a.join("/whip/music/live", PUBLISH);
    let sent = |path: &str, offer: &str| {
        let answer = b.offer(path, offer);
        (
            answer.status().as_u16(),
            header(&answer, "location").to_owned(),
        )
    };
    until("b knows where a is", || {
        sent("/whep/music/live", WATCH).0 == 307
    });
    let there = "http://a.example/whep/music/live";
    assert_eq!(sent("/whep/music/live", WATCH), (307, there.to_owned()));
    let there = "http://a.example/whip/music/live";
    assert_eq!(sent("/whip/music/live", PUBLISH), (307, there.to_owned()));
    assert_eq!(a.offer("/whep/music/live", WATCH).status(), 201);
    assert_problem(b.offer("/whep/other", WATCH), 409, "no-publisher");

    // It moves with its publisher.
    assert!(b.events(&format!("{session}/events")).next().is_some());
    assert_eq!(b.offer("/whep/music/live", WATCH).status(), 201);
    assert_eq!(
        a.offer("/whep/music/live", WATCH).status(),
        201,
        "who is here stays"
    );

    // And ends with it.
    assert_eq!(b.delete(&session).status(), 200);
    until("nobody has it", || {
        cluster.etcd.keys("vault/channels/").is_empty()
    });
}

#[test]
fn after_a_restart_a_channel_is_still_where_it_was_and_a_dead_node_holds_none() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.join("/whip/news", PUBLISH);
    a.kill();
    let a = cluster.start("a");
    until("b sends publishers to a", || {
        b.offer("/whip/news", PUBLISH).status() == 307
    });
    a.kill();
    until("a counts as dead", || {
        cluster.etcd.keys("vault/nodes/") == ["vault/nodes/b"]
    });
    until("b takes it", || {
        b.offer("/whip/news", PUBLISH).status() == 201
    });
}

#[test]
fn a_session_that_no_node_has_is_nobodys_and_one_without_its_key_is_refused() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let session = a.join("/whip/news", PUBLISH);
    assert_eq!(a.delete(&session).status(), 200);
    assert_problem(b.get(&format!("{session}/events")), 404, "no-session");
    let forged = session.replace("/session/", "/session/x");
    assert_problem(b.get(&format!("{forged}/events")), 404, "no-session");
}

#[test]
fn without_etcd_newcomers_are_turned_away_and_those_here_go_on() {
    let mut cluster = Cluster::new();
    let server = cluster.start("a");
    let session = server.join("/whip/news", PUBLISH);
    let mut events = server.events(&format!("{session}/events"));
    assert!(events.next().is_some());
    cluster.etcd.kill(0);
    assert_problem(server.offer("/whep/news", WATCH), 503, "store");
    let mut again = server.events(&format!("{session}/events"));
    assert!(again.next().is_some(), "who is here is greeted");
    cluster.etcd.start_member(0);
    cluster.etcd.wait_ready(0);
    until("newcomers are let in again", || {
        server.offer("/whep/news", WATCH).status() == 201
    });
    // A restart finds all of them.
    server.kill();
    let server = cluster.start("a");
    assert!(server.events(&format!("{session}/events")).next().is_some());
}

#[test]
fn while_etcd_hangs_nobody_waits_for_others_and_removals_are_made_up_for() {
    const MANY: usize = 20;
    let cluster = Cluster::new();
    let server = cluster.start("a");
    let publisher = server.join("/whip/news", PUBLISH);
    let sessions: Vec<_> = (0..MANY)
        .map(|_| server.join("/whep/news", WATCH))
        .collect();
    assert_eq!(cluster.records(), MANY + 1);
    cluster.etcd.pause(0);
    assert_problem(server.offer("/whep/news", WATCH), 503, "store");
    // From now on it is known to be away: three newcomers wait for less than one did before.
    let start = Instant::now();
    for _ in 0..3 {
        assert_problem(server.offer("/whep/news", WATCH), 503, "store");
    }
    let newcomers = start.elapsed();
    assert!(newcomers < Duration::from_secs(9), "{newcomers:?}");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for session in &sessions {
            let url = server.url(session);
            scope.spawn(|| {
                let answer = ureq::delete(url).call().expect("an answer");
                assert_eq!(answer.status(), 200);
            });
        }
    });
    let removals = start.elapsed();
    assert!(removals < Duration::from_secs(15), "{removals:?}");
    println!("3 newcomers are refused in {newcomers:?}, {MANY} leave in {removals:?}");

    // They have left, and only their records are still there: also those of the newcomers.
    cluster.etcd.resume(0);
    until("all records are gone", || cluster.records() == 1);
    let events = format!("{publisher}/events");
    assert!(server.events(&events).next().is_some());
    for session in sessions {
        assert_problem(server.get(&format!("{session}/events")), 404, "no-session");
    }
    assert!(server.log().contains("takes changes again"));
}

#[test]
fn a_node_that_ends_cleanly_is_gone_for_the_others_at_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    assert_eq!(cluster.etcd.keys("vault/nodes/").len(), 2);
    let (code, _) = b.terminate();
    assert_eq!(code, Some(0));
    assert_eq!(cluster.etcd.keys("vault/nodes/"), ["vault/nodes/a"]);
    drop(a);
}

#[test]
fn nothing_but_ciphertext_names_and_addresses_is_in_etcd() {
    let cluster = Cluster::new();
    let server = cluster.start("a");
    server.join("/whip/secret-channel", PUBLISH);
    for key in cluster.etcd.keys("vault/") {
        let value = cluster.etcd.get(&key).expect("a value");
        let text = String::from_utf8_lossy(&value);
        assert!(
            !key.contains("secret-channel") && !text.contains("secret-channel"),
            "{key}"
        );
        if key.ends_with(".age") {
            assert!(value.starts_with(b"age-encryption.org/v1\n"), "{key}");
        }
    }
}

#[test]
fn a_start_that_finds_no_etcd_or_no_such_name_is_to_be_tried_again() {
    let mut cluster = Cluster::new();
    cluster.etcd.kill(0);
    let gone = cluster.etcd.address("vault");
    for (address, why) in [
        (&*gone, "no answer within"),
        ("etcd://no-such-host.invalid/vault", "no-such-host.invalid"),
    ] {
        let mut command = rekindle(cluster.path());
        command.args(["--vault", address, "--key-file", "key.txt", "--node", "a"]);
        command.args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
        let ended = output(&mut command);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        // 2 would say that something must be changed first, and no supervisor would start it again.
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
