//! Several nodes on one etcd: who may change what.

mod support;

use std::time::Duration;

use rekindle_testing::etcd;
use rekindle_vault::Opened;
use support::node::Node;
use support::{World, is_not_owner, moved, names, nodes, now, record, save, ufrag, until};

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_is_a_node() {
    support::node::run();
}

fn adopt(world: &World, opened: &Opened, name: &str) -> bool {
    let adopted = opened.vault.adopt(&ufrag(name), &world.keys());
    adopted.expect("read").is_some()
}

#[test]
fn a_node_lists_its_own_peers_only_and_comes_back_to_them() {
    let world = World::new();
    let first = world.open("a");
    let second = world.open("b");
    save(&first, "aaaaaaaa");
    save(&first, "aaaaaaab");
    save(&second, "bbbbbbbb");
    assert!(first.vault.remove(&ufrag("aaaaaaab")).expect("removed"));
    assert!(!first.vault.remove(&ufrag("aaaaaaab")).expect("gone"));
    assert_eq!(names(&world.open("a")), ["aaaaaaaa"]);
    assert_eq!(names(&world.open("b")), ["bbbbbbbb"]);
    assert_eq!(names(&world.open("c")), [""; 0]);
    assert_eq!(world.get("peers/aaaaaaab.age"), None);
    assert_eq!(world.owner("aaaaaaab"), None);
}

#[test]
fn a_peer_that_was_taken_over_is_changed_by_its_new_node_alone() {
    let world = World::new();
    let first = world.open("a");
    let second = world.open("b");
    save(&first, "aaaaaaaa");
    assert!(!adopt(&world, &second, "nobody00"));
    assert!(adopt(&world, &second, "aaaaaaaa"));
    assert_eq!(world.owner("aaaaaaaa").as_deref(), Some("b"));

    let before = world.all();
    assert!(is_not_owner(
        first.vault.save(&moved("aaaaaaaa", "192.0.2.9"), now())
    ));
    assert!(is_not_owner(first.vault.remove(&ufrag("aaaaaaaa"))));
    // A third, that has never had it, cannot make it its own by saving it.
    let third = world.open("c");
    assert!(is_not_owner(third.vault.save(&record("aaaaaaaa"), now())));
    // The first had it listed at its start, and does not read it any more.
    assert_eq!(first.reader.read(&ufrag("aaaaaaaa")).expect("read"), None);
    let mut after = world.all();
    after.retain(|(name, _)| !name.ends_with("/c"));
    let others = |all: Vec<(String, Option<Vec<u8>>)>| -> Vec<_> {
        let of_peers = |name: &str| name.starts_with("peers/") || name.starts_with("owners/");
        all.into_iter().filter(|(name, _)| of_peers(name)).collect()
    };
    assert_eq!(others(after), others(before));

    let new = moved("aaaaaaaa", "192.0.2.2");
    second.vault.save(&new, now()).expect("saved");
    // Back again, with what the second has written.
    let keys = world.keys();
    let back = first.vault.adopt(&ufrag("aaaaaaaa"), &keys).expect("read");
    assert_eq!(back, Some(new.clone()));
    assert!(is_not_owner(second.vault.save(&new, now())));
    // Once more: it is here already.
    let again = first.vault.adopt(&ufrag("aaaaaaaa"), &keys).expect("read");
    assert_eq!(again, Some(new));
    assert!(first.vault.remove(&ufrag("aaaaaaaa")).expect("removed"));
    assert!(!adopt(&world, &second, "aaaaaaaa"));
}

#[test]
fn two_nodes_that_claim_a_peer_at_once_leave_it_with_one_of_them() {
    let world = World::new();
    let home = world.open("home");
    let nodes = [world.open("a"), world.open("b")];
    for round in 0..20 {
        let name = format!("peer{round:04}");
        save(&home, &name);
        let barrier = std::sync::Barrier::new(nodes.len());
        let adopted = std::thread::scope(|scope| {
            let claims = [0, 1].map(|at| {
                let (world, node, barrier, name) = (&world, &nodes[at], &barrier, &name);
                scope.spawn(move || {
                    barrier.wait();
                    adopt(world, node, name)
                })
            });
            claims.map(|claim| claim.join().expect("it claims"))
        });
        assert!(adopted.contains(&true));
        let owner = world.owner(&name).expect("one owner");
        let can_save = [0, 1].map(|at| {
            let saved = nodes[at].vault.save(&moved(&name, "192.0.2.7"), now());
            assert!(saved.is_ok() || is_not_owner(saved));
            nodes[at]
                .vault
                .save(&moved(&name, "192.0.2.8"), now())
                .is_ok()
        });
        assert_eq!(can_save, [owner == "a", owner == "b"], "{owner}");
        assert!(is_not_owner(home.vault.save(&record(&name), now())));
    }
}

#[test]
fn a_process_that_was_paused_and_replaced_changes_nothing_any_more() {
    let world = World::new();
    let mut old = Node::start(&world, "a");
    assert_eq!(old.ask("save aaaaaaaa"), "done");
    assert_eq!(old.ask("save aaaaaaab"), "done");
    etcd::pause(&old.process);
    let new = world.open("a");
    new.vault.presence(b"new").expect("told");
    new.vault
        .save(&moved("aaaaaaaa", "192.0.2.3"), now())
        .expect("saved");
    // Ordered while it slept, and done when it wakes.
    for order in [
        "save aaaaaaaa",
        "save newpeer0",
        "remove aaaaaaab",
        "say old",
    ] {
        old.order(order);
    }
    let before = world.all();
    etcd::resume(&old.process);
    for _ in 0..4 {
        assert_eq!(old.answer(), "not owner");
    }
    assert_eq!(world.all(), before);
    // The time in which it renews its lease.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(world.all(), before);
    old.kill();
}

#[test]
fn a_process_that_was_replaced_takes_over_nothing_either() {
    let world = World::new();
    let other = world.open("b");
    save(&other, "bbbbbbbb");
    let old = world.open("a");
    let new = world.open("a");
    let keys = world.keys();
    assert!(is_not_owner(old.vault.adopt(&ufrag("bbbbbbbb"), &keys)));
    assert_eq!(world.owner("bbbbbbbb").as_deref(), Some("b"));
    assert!(adopt(&world, &new, "bbbbbbbb"));
}

#[test]
fn a_process_that_was_paused_too_long_is_back_unless_its_peers_went_elsewhere() {
    let world = World::new();
    let watcher = world.open("watcher");
    let mut old = Node::start(&world, "a");
    assert_eq!(old.ask("save aaaaaaaa"), "done");
    assert_eq!(old.ask("save aaaaaaab"), "done");
    assert_eq!(old.ask("say here"), "done");
    etcd::pause(&old.process);
    until("the paused node's lease ends", || {
        nodes(&watcher).len() == 1
    });
    // Another node takes one of its peers.
    assert!(adopt(&world, &watcher, "aaaaaaaa"));
    etcd::resume(&old.process);
    assert_eq!(old.ask("save aaaaaaaa"), "not owner");
    assert_eq!(old.ask("save aaaaaaab"), "done");
    until("it is alive again", || {
        nodes(&watcher)[0] == ("a".into(), "here".into())
    });
    old.kill();
}
