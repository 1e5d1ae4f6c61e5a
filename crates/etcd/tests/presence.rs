//! Which nodes are alive on one etcd, and what they say of themselves.

mod support;

use std::time::{Duration, Instant};

use support::node::Node;
use support::{World, is_not_owner, names, nodes, now, record, save};

/// Nodes with what they say.
type Alive = [(String, Vec<u8>)];

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_is_a_node() {
    support::node::run();
}

#[test]
fn a_killed_node_is_back_at_once_and_has_never_been_away_for_the_others() {
    let world = World::new();
    let watcher = world.open("watcher");
    let mut old = Node::start(&world, "a");
    assert_eq!(old.ask("save aaaaaaaa"), "done");
    assert_eq!(old.ask("say old"), "done");
    old.kill();
    let start = Instant::now();
    let new = world.open("a");
    let took = start.elapsed();
    println!("opened in {took:?}");
    // Its lease would have gone on for five seconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(names(&new), ["aaaaaaaa"]);
    // It says what the old one said, until it says something itself.
    assert_eq!(nodes(&watcher)[0], ("a".into(), "old".into()));
    new.vault.presence(b"new").expect("told");
    // Longer than the lease of the old process.
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        assert_eq!(nodes(&watcher)[0], ("a".into(), "new".into()));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn nodes_learn_of_each_other_as_they_come_change_and_go() {
    let world = World::new();
    let first = world.open("a");
    first.vault.presence(b"one").expect("told");
    assert_eq!(nodes(&first), [("a".into(), "one".into())]);
    let limit = Duration::from_secs(30);
    let (revision, _) = first.vault.wait_nodes(0, limit).expect("at once");

    // Nothing happens, and the wait ends.
    let short = Duration::from_millis(300);
    let start = Instant::now();
    let (same, there) = first.vault.wait_nodes(revision, short).expect("no news");
    assert!(start.elapsed() >= short);
    assert_eq!(there.len(), 1);

    let waits = |revision: u64, so: &dyn Fn(&Alive) -> bool| {
        let mut revision = revision;
        let start = Instant::now();
        loop {
            let (next, there) = first.vault.wait_nodes(revision, limit).expect("news");
            revision = next;
            if so(&there) {
                return revision;
            }
            assert!(start.elapsed() < limit, "{there:?}");
        }
    };
    let (revision, second) = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waits(same, &|nodes| nodes.len() == 2));
        let second = world.open("b");
        (waiter.join().expect("it waits"), second)
    });
    second.vault.presence(b"two").expect("told");
    let two = |nodes: &Alive| nodes.iter().any(|(_, value)| value == b"two");
    let revision = waits(revision, &two);
    // A clean end is known at once; what it has stays.
    save(&second, "bbbbbbbb");
    second.vault.withdraw().expect("told");
    let start = Instant::now();
    let revision = waits(revision, &|nodes| nodes.len() == 1);
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(is_not_owner(second.vault.save(&record("bbbbbbbc"), now())));
    assert_eq!(names(&world.open("b")), ["bbbbbbbb"]);

    // A killed process is known when its lease is over.
    let mut third = Node::start(&world, "c");
    assert_eq!(third.ask("say three"), "done");
    let three = |nodes: &Alive| nodes.iter().any(|(name, _)| name == "c");
    let revision = waits(revision, &three);
    third.kill();
    waits(revision, &|nodes| !three(nodes));
}

#[test]
fn nobody_who_can_write_to_etcd_speaks_for_a_node() {
    let world = World::new();
    let mut first = world.open("a");
    first
        .vault
        .presence(b"{\"url\":\"https://a.example\"}")
        .expect("told");
    let said = world.get("nodes/a").expect("there");
    assert!(said.starts_with(b"{\"url\":\"https://a.example\"}\n"));
    let text = String::from_utf8(said.clone()).expect("text");
    for (node, value) in [
        ("b", said),
        ("c", text.replace("a.example", "c.example").into_bytes()),
        ("d", b"{\"url\":\"https://d.example\"}".to_vec()),
        ("e", b"\n".to_vec()),
    ] {
        world.put(&format!("nodes/{node}"), &value);
    }
    let only_a = [("a".to_owned(), "{\"url\":\"https://a.example\"}".to_owned())];
    assert_eq!(nodes(&first), only_a);
    // Nodes that do not know a new certificate yet understand each other.
    let second = world.open("f");
    first.rotate_identity(now()).expect("made");
    first.vault.presence(b"new").expect("told");
    second.vault.presence(b"old").expect("told");
    for node in [&first, &second, &world.open("g")] {
        let there = nodes(node);
        assert_eq!(
            there[..2],
            [("a".into(), "new".into()), ("f".into(), "old".into())]
        );
    }
}

#[test]
fn a_history_that_was_compacted_away_is_no_reason_to_wait() {
    let world = World::new();
    let opened = world.open("a");
    let limit = Duration::from_secs(60);
    let (revision, _) = opened.vault.wait_nodes(0, limit).expect("at once");
    opened.vault.presence(b"new").expect("told");
    for n in 0..5 {
        save(&opened, &format!("peer{n:04}"));
    }
    let (now, _) = opened.vault.wait_nodes(0, limit).expect("at once");
    world.etcd.control(&["compaction", &now.to_string()]);
    let start = Instant::now();
    let (_, there) = opened.vault.wait_nodes(revision, limit).expect("news");
    assert!(start.elapsed() < limit / 2);
    assert_eq!(there, [("a".into(), b"new".to_vec())]);
}
