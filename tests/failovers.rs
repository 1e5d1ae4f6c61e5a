//! Hosts that are lost again and again, and an etcd that is away for long, under a broadcast of native
//! clients. REKINDLE_FAILOVERS says how often (20 in the long form), REKINDLE_OUTAGE_SECONDS for how
//! long (60).
#![cfg(feature = "etcd")]

mod live;
mod nodes;
mod running;
mod support;

use std::time::{Duration, Instant};

use live::{Live, broadcast, renew, run_for, run_until, run_until_more_video};
use nodes::Cluster;
use rekindle_testing::etcd::Etcd;
use running::{PUBLISH, Server, WATCH, assert_problem, json, output, rekindle, until};

/// A number from the environment, for long forms.
fn setting(name: &str, short: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(short, |text| text.parse().expect("a number"))
}

/// Their host is gone: their pages find another one, and each runs a handshake there.
fn go_to(node: &Server, browsers: &mut [&mut Live]) {
    for one in browsers.iter_mut() {
        let mut events = node.events(&format!("{}/events", one.session));
        assert!(events.next().is_some());
        one.lead_to(node.media());
    }
    renew(browsers);
    run_until_more_video(browsers, 20);
}

/// `rekindle audit` of what is in etcd: its exit code, and how many peers there are.
fn audit(cluster: &Cluster) -> (Option<i32>, Option<u64>) {
    let address = cluster.etcd.address("vault");
    let audited = output(rekindle(cluster.path()).args([
        "audit",
        "--vault",
        &address,
        "--key-file",
        "key.txt",
        "--json",
    ]));
    let report: serde_json::Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    (audited.status.code(), report["vault"]["peers"].as_u64())
}

#[test]
fn a_broadcast_goes_to_and_fro_between_hosts_and_its_records_are_right() {
    let rounds = setting("REKINDLE_FAILOVERS", 2);
    let cluster = Cluster::new();
    let mut here = Some(cluster.start("a"));
    let mut there = Some(cluster.start("b"));
    let (mut publisher, mut viewer) = broadcast(here.as_ref().expect("it runs"), "news", 0xfa11);
    let mut both = [&mut publisher, &mut viewer];
    let mut took = Vec::new();
    for round in 1..=rounds {
        let (lost, next) = if round % 2 == 1 {
            ("a", "b")
        } else {
            ("b", "a")
        };
        here.take().expect("it runs").kill();
        let start = Instant::now();
        let node = there.take().expect("it runs");
        go_to(&node, &mut both);
        took.push(start.elapsed());
        assert_eq!(cluster.owners(), [next, next], "round {round}");
        (here, there) = (Some(node), Some(cluster.start(lost)));
        // What comes back has none of them, and takes none.
        run_for(&mut both, Duration::from_millis(300));
        assert_eq!(cluster.owners(), [next, next], "round {round}");
    }
    took.sort();
    println!(
        "{rounds} failovers: median {:?}, longest {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    for one in &both {
        assert_eq!(one.client.connected_at.len() as u64, rounds + 1);
    }
    assert_eq!(audit(&cluster), (Some(0), Some(2)));
    assert!(cluster.etcd.keys("vault/set-aside/").is_empty());
    let node = here.expect("it runs");
    let places = cluster.etcd.keys("vault/channels/");
    let places: Vec<_> = places
        .iter()
        .filter(|key| !key.ends_with("/publisher"))
        .collect();
    let [place] = places[..] else {
        panic!("{places:?}");
    };
    assert_eq!(cluster.etcd.get(place), cluster.owner_of_all());

    // And the end of it is one.
    for one in &both {
        assert_eq!(node.delete(&one.session).status(), 200);
    }
    assert_eq!((cluster.records(), cluster.owners().len()), (0, 0));
    until("nobody has the channel", || {
        cluster.etcd.keys("vault/channels/").is_empty()
    });
}

#[test]
fn while_all_members_of_etcd_are_away_for_long_media_flows_and_afterwards_all_is_as_before() {
    let outage = Duration::from_secs(setting("REKINDLE_OUTAGE_SECONDS", 5));
    let mut cluster = Cluster::on(Etcd::start_members(3));
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let (mut publisher, mut viewer) = broadcast(&a, "news", 0x0e7cd);
    let mut both = [&mut publisher, &mut viewer];
    (0..3).for_each(|at| cluster.etcd.kill(at));

    let end = Instant::now() + outage;
    let mut refused = 0;
    while Instant::now() < end || refused < 3 {
        assert_problem(a.offer("/whep/news", WATCH), 503, "store");
        assert_problem(b.offer("/whip/other", PUBLISH), 503, "store");
        refused += 1;
        run_until_more_video(&mut both, 50);
    }
    // One of them is somewhere else meanwhile, and one looks for its events.
    viewer.move_to_another_port();
    let mut both = [&mut publisher, &mut viewer];
    run_until_more_video(&mut both, 50);
    let events = format!("{}/events", both[1].session);
    assert!(a.events(&events).next().is_some());
    assert_eq!(a.get("/healthz").status(), 200);

    (0..3).for_each(|at| cluster.etcd.start_member(at));
    (0..3).for_each(|at| cluster.etcd.wait_ready(at));
    let mut joined = None;
    run_until(&mut both, "newcomers are let in", |_| {
        let mut answer = a.offer("/whep/news", WATCH);
        if answer.status() == 201 {
            joined = Some(running::header(&answer, "location").to_owned());
        } else {
            assert_eq!(json(&mut answer)["status"], 503);
        }
        joined.is_some()
    });
    let joined = joined.expect("a session");
    assert_eq!(a.delete(&joined).status(), 200);
    // Both are alive for each other again, and what was not written is.
    until("the nodes know each other", || {
        cluster.etcd.keys("vault/nodes/").len() == 2
    });
    until("what the newcomers left is gone", || cluster.records() == 2);
    assert_eq!(cluster.owners(), ["a", "a"]);
    assert_eq!(audit(&cluster), (Some(0), Some(2)));
    a.kill();
    go_to(&b, &mut both);
    assert_eq!(cluster.owners(), ["b", "b"]);
    println!("{refused} times two newcomers were refused in {outage:?}");
}
