//! Several nodes on one etcd: who may change what, who is alive.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_etcd::Options;
use rekindle_testing::etcd;
use rekindle_vault::{KeyFile, Opened, Vault, VaultError};
use support::{World, connect, moved, names, nodes, now, record, save, ufrag, until};

/// Tells the child where etcd is, where the key file is and which node it is.
const NODE: &str = "REKINDLE_TEST_NODE";

/// A node in a process of its own: this test program again.
struct Node {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(world: &World, name: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_is_a_node", "--ignored", "--nocapture"])
            .arg("--test-threads=1")
            .env(
                NODE,
                format!("{} {} {name}", world.address(), world.key_path().display()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let mut node = Self {
            process,
            input,
            output,
        };
        assert_eq!(node.answer(), "ready");
        node
    }

    /// Has it do something, and gives what came of it.
    fn ask(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.input, "{order}").expect("it listens");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.output.read_line(&mut line).expect("its output");
            assert!(length > 0, "the child died");
            // The test harness writes into the same line.
            if let Some((_, answer)) = line.trim().split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_is_a_node() {
    let place = std::env::var(NODE).expect("called by a parent");
    let [address, key, name] = *place.split(' ').collect::<Vec<_>>() else {
        panic!("three words");
    };
    let keys = KeyFile::load(key.as_ref()).expect("the key file");
    let opened = Vault::open_shared(support::store(address, name), keys, now());
    let vault = opened.expect("the vault").vault;
    println!("answer: ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let outcome = match line.split_once(' ').expect("two words") {
            ("save", peer) => vault.save(&moved(peer, "192.0.2.1"), now()),
            ("remove", peer) => vault.remove(&ufrag(peer)).map(|_| ()),
            ("say", what) => vault.presence(what.as_bytes()),
            other => panic!("{other:?}"),
        };
        match outcome {
            Ok(()) => println!("answer: done"),
            Err(VaultError::NotOwner) => println!("answer: not owner"),
            Err(error) => println!("answer: {error}"),
        }
    }
}

fn adopt(world: &World, opened: &Opened, name: &str) -> bool {
    let adopted = opened.vault.adopt(&ufrag(name), &world.keys());
    adopted.expect("read").is_some()
}

fn is_not_owner<T>(outcome: Result<T, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::NotOwner))
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

    let waits = |revision: u64, so: &dyn Fn(&[(String, Vec<u8>)]) -> bool| {
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
    let two = |nodes: &[(String, Vec<u8>)]| nodes.iter().any(|(_, value)| value == b"two");
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
    let three = |nodes: &[(String, Vec<u8>)]| nodes.iter().any(|(name, _)| name == "c");
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

#[test]
fn more_peers_than_one_answer_of_etcd_holds_are_all_listed() {
    let world = World::new();
    let opened = world.open("a");
    // As owners only; nothing reads the records here.
    let (sender, receiver) = std::sync::mpsc::channel();
    let store = world.store("a");
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (sender, store) = (sender.clone(), Arc::clone(&store));
            scope.spawn(move || {
                for n in 0..6 {
                    let keys: Vec<String> = (0..100)
                        .map(|m| format!("owners/peer{:06}", (part * 6 + n) * 100 + m))
                        .collect();
                    let changes: Vec<_> = keys
                        .iter()
                        .map(|key| rekindle_vault::shared::Change::Put(key, b"a"))
                        .collect();
                    let made = store.commit(&rekindle_vault::shared::Transaction {
                        conditions: &[],
                        changes: &changes,
                    });
                    sender.send(made.expect("made")).expect("heard");
                }
            });
        }
    });
    drop(sender);
    assert!(receiver.iter().all(|made| made));
    drop(opened);
    let start = Instant::now();
    let again = world.open("a");
    println!("4800 peers: opened in {:?}", start.elapsed());
    assert_eq!(names(&again).len(), 4800);
}

#[test]
fn prefixes_that_begin_alike_are_vaults_apart() {
    let world = World::new();
    let options = |node: &str| Options {
        node: node.into(),
        ..Options::default()
    };
    let open = |prefix: &str| {
        let store = connect(&world.etcd.address(prefix), options("a"));
        Vault::open_shared(store, world.keys(), now()).expect("it opens")
    };
    let one = open("vaults/one");
    save(&one, "aaaaaaaa");
    for prefix in ["vaults/one1", "vaults/on", "vaults"] {
        // The last is the parent of others, and there are other keys below it.
        if prefix == "vaults" {
            let store = connect(&world.etcd.address(prefix), options("a"));
            let error = Vault::open_shared(store, world.keys(), now()).expect_err("not empty");
            assert!(matches!(error, VaultError::NotEmpty { .. }), "{error}");
        } else {
            let other = open(prefix);
            assert!(other.first_run && names(&other).is_empty());
            assert_ne!(other.identity.sha256(), one.identity.sha256());
        }
    }
}
