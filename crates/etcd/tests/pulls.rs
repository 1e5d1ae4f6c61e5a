//! Nodes that ask each other for channels, on one etcd.

mod support;

use std::time::{Duration, Instant};

use support::node::Node;
use support::{PATIENCE, World, moved, now, save, ufrag};

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_is_a_node() {
    support::node::run();
}

#[test]
fn a_node_hears_what_others_want_of_it_until_they_do_not_any_more() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let (revision, asked) = a.vault.wait_pulls(0, PATIENCE).expect("at once");
    assert!(asked.is_empty());
    save(&b, "aaaaaaaa");
    let (revision, asked) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| a.vault.wait_pulls(revision, PATIENCE).expect("news"));
        b.vault.ask_pull("a", &ufrag("aaaaaaaa")).expect("asked");
        waits.join().expect("it waits")
    });
    assert_eq!(asked, [ufrag("aaaaaaaa")]);
    // It is the very record, and nobody has taken it over by looking.
    let looked = a.vault.look(&ufrag("aaaaaaaa"), &world.keys());
    assert_eq!(looked.expect("read").expect("there").channel, "lobby");
    assert_eq!(world.owner("aaaaaaaa").as_deref(), Some("b"));

    // Beside what the node says of itself, and beside others.
    b.vault.presence(b"b").expect("told");
    b.vault.ask_pull("a", &ufrag("bbbbbbbb")).expect("asked");
    b.vault.end_pull("a", &ufrag("aaaaaaaa")).expect("told");
    let (_, asked) = a.vault.wait_pulls(0, PATIENCE).expect("at once");
    assert_eq!(asked, [ufrag("bbbbbbbb")]);
    assert!(a.vault.wait_pulls(revision, PATIENCE).is_ok());
    // Both are there for longer than a lease.
    std::thread::sleep(Duration::from_secs(7));
    let (_, asked) = a.vault.wait_pulls(0, PATIENCE).expect("at once");
    assert_eq!(asked, [ufrag("bbbbbbbb")]);
    assert_eq!(a.vault.nodes().expect("told").len(), 2);
    b.vault.withdraw().expect("told");
    let (_, asked) = a.vault.wait_pulls(0, PATIENCE).expect("at once");
    assert!(asked.is_empty());
}

#[test]
fn nobody_who_can_write_to_etcd_has_a_node_take_a_peer_over() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    b.vault.ask_pull("a", &ufrag("aaaaaaaa")).expect("asked");
    let value = world.get("pulls/a/aaaaaaaa").expect("a value");
    // Somebody else's wish, for another peer and another node.
    world.put("pulls/a/bbbbbbbb", &value);
    world.put("pulls/b/aaaaaaaa", &value);
    world.put("pulls/a/cccccccc", b"b\n");
    world.put("pulls/a/no peer", &value);
    let asked = |opened: &rekindle_vault::Opened| {
        let asked = opened.vault.wait_pulls(0, PATIENCE).expect("at once");
        asked.1
    };
    assert_eq!(asked(&a), [ufrag("aaaaaaaa")]);
    assert!(asked(&b).is_empty());
}

#[test]
fn what_a_killed_node_wanted_is_gone_with_its_lease() {
    let world = World::new();
    let a = world.open("a");
    let mut b = Node::start(&world, "b");
    assert_eq!(b.ask("save aaaaaaaa"), "done");
    assert_eq!(b.ask("want aaaaaaaa"), "done");
    let asked = || a.vault.wait_pulls(0, PATIENCE).expect("at once").1;
    assert_eq!(asked(), [ufrag("aaaaaaaa")]);
    b.kill();
    let start = Instant::now();
    while !asked().is_empty() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
    // Its record stays, for whoever takes it over.
    let record = a.vault.adopt(&ufrag("aaaaaaaa"), &world.keys());
    assert!(record.expect("read").is_some());
    a.vault
        .save(&moved("aaaaaaaa", "192.0.2.7"), now())
        .expect("it is a's");
}

#[test]
fn a_channel_is_with_its_publisher_and_says_who_that_is() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let nowhere = b.vault.channel_place("tag").expect("read");
    assert_eq!((nowhere.node.as_deref(), &nowhere.publisher), (None, &None));
    let place = |opened: &rekindle_vault::Opened, who: &str, seen| {
        let placed = opened.vault.place_channel("tag", &ufrag(who), seen);
        placed.expect("said")
    };
    assert!(place(&a, "aaaaaaaa", Some(&nowhere)));
    assert!(!place(&b, "bbbbbbbb", Some(&nowhere)), "a was quicker");
    let tags = ["other".to_owned(), "tag".to_owned()];
    let places = b.vault.channel_places(&tags).expect("read");
    assert_eq!(places[0].node, None);
    assert_eq!(places[1].node.as_deref(), Some("a"));
    assert_eq!(places[1].publisher, Some(ufrag("aaaaaaaa")));
    a.vault.leave_channel("tag").expect("left");
    assert!(
        world
            .names()
            .iter()
            .all(|name| !name.starts_with("channels/"))
    );
}
