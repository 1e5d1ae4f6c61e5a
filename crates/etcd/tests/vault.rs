//! A vault in etcd has the files of a folder, byte for byte, and is looked after as well.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use rekindle_testing::etcd;
use rekindle_vault::shared::{Change, Transaction};
use rekindle_vault::{KeyFile, Rotated, Vault, VaultError};
use support::{World, names, now, record, save, store, ufrag};

#[test]
fn the_values_in_etcd_are_the_files_that_a_folder_would_hold() {
    let world = World::new();
    let opened = world.open("a");
    save(&opened, "aaaaaaaa");
    save(&opened, "bbbbbbbb");
    assert_eq!((opened.boot, opened.first_run), (1, true));
    assert_eq!(
        world.names(),
        [
            "identity.age",
            "nodes/a",
            "owners/aaaaaaaa",
            "owners/bbbbbbbb",
            "peers/aaaaaaaa.age",
            "peers/bbbbbbbb.age",
            "processes/a"
        ]
    );

    // As etcd's own client reads them, in a folder.
    let folder = world.etcd.dir().join("vault");
    let value = |name: &str| world.get(name).expect("there");
    fs::create_dir_all(folder.join("peers")).expect("made");
    for name in ["identity.age", "peers/aaaaaaaa.age", "peers/bbbbbbbb.age"] {
        fs::write(folder.join(name), value(name)).expect("written");
    }
    let there = Vault::open(&folder, world.keys(), now()).expect("the folder is a vault");
    assert_eq!((there.boot, there.first_run), (2, false));
    assert_eq!(there.identity.sha256(), opened.identity.sha256());
    for name in ["aaaaaaaa", "bbbbbbbb"] {
        let read = there.reader.read(&ufrag(name)).expect("readable");
        assert_eq!(read, Some(record(name)));
    }

    // And a folder's file is read out of etcd. The MAC binds it to its name.
    there.vault.save(&record("cccccccc"), now()).expect("saved");
    there.vault.commit_boot().expect("written");
    let file = fs::read(folder.join("peers/cccccccc.age")).expect("readable");
    world.put(
        "identity.age",
        &fs::read(folder.join("identity.age")).expect("readable"),
    );
    for name in ["cccccccc", "dddddddd"] {
        world.put(&format!("peers/{name}.age"), &file);
        world.put(&format!("owners/{name}"), b"a");
    }
    let again = world.open("a");
    let read = again.reader.read(&ufrag("cccccccc")).expect("readable");
    assert_eq!(read, Some(record("cccccccc")));
    assert_eq!(again.reader.read(&ufrag("dddddddd")).expect("read"), None);
    assert_eq!(world.owner("dddddddd"), None);
    assert_eq!(world.get("peers/dddddddd.age"), None);
    assert_eq!(world.get("set-aside/dddddddd.3.age"), Some(file));
}

#[test]
fn a_record_that_was_saved_is_there_after_etcd_was_killed() {
    let mut world = World::new();
    let opened = world.open("a");
    for n in 0..20 {
        save(&opened, &format!("peer{n:04}"));
    }
    world.etcd.kill(0);
    world.etcd.start_member(0);
    world.etcd.wait_ready(0);
    drop(opened);
    let again = world.open("a");
    assert_eq!(names(&again).len(), 20);
    for name in names(&again) {
        let read = again.reader.read(&ufrag(&name)).expect("readable");
        assert_eq!(read, Some(record(&name)));
    }
}

#[test]
fn nodes_that_start_at_once_have_one_identity_and_boots_of_their_own() {
    let world = World::new();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let world = &world;
        let starts: Vec<_> = (0..8)
            .map(|n| scope.spawn(move || world.open(&format!("node{n}"))))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("it opens"))
            .collect()
    });
    let boots: BTreeSet<u64> = opened.iter().map(|o| o.boot).collect();
    assert_eq!(boots, (1..=8).collect());
    assert_eq!(opened.iter().filter(|o| o.first_run).count(), 1);
    let certificates: BTreeSet<_> = opened.iter().map(|o| o.identity.sha256()).collect();
    assert_eq!(certificates.len(), 1);
    assert_eq!(world.open("node0").boot, 9);
}

#[test]
fn another_key_file_opens_nothing_and_changes_nothing() {
    let world = World::new();
    let opened = world.open("a");
    save(&opened, "aaaaaaaa");
    opened.vault.withdraw().expect("done");
    let before = world.all();
    let other = KeyFile::generate(&world.etcd.dir().join("other.txt")).expect("a key file");
    let error = Vault::open_shared(world.store("b"), other, now()).expect_err("another key");
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
    assert!(error.to_string().contains("etcd://127.0.0.1:"), "{error}");
    assert_eq!(world.all(), before);
}

#[test]
fn no_vault_is_made_among_other_keys_or_where_an_identity_was_lost() {
    let world = World::new();
    world.put("thesis.tex", b"x");
    let error = world.try_open("a").expect_err("not empty");
    assert!(
        matches!(&error, VaultError::NotEmpty { found, .. } if found == "thesis.tex"),
        "{error}"
    );
    world.etcd.control(&["del", "vaults/one/thesis.tex"]);
    world.put("peers/aaaaaaaa.age", b"x");
    let error = world.try_open("a").expect_err("an identity is missing");
    assert!(
        matches!(error, VaultError::IdentityMissing { files: 1, .. }),
        "{error}"
    );
    assert_eq!(world.names(), ["peers/aaaaaaaa.age"]);
}

#[test]
fn an_identity_that_was_put_back_is_noticed_by_the_records_that_are_ahead() {
    let world = World::new();
    let first = world.open("a");
    save(&first, "aaaaaaaa");
    let old = world.get("identity.age").expect("there");
    let second = world.open("b");
    let third = world.open("c");
    save(&third, "cccccccc");
    world.put("identity.age", &old);

    // To a node that runs, which has not known of the third yet.
    let error = second
        .vault
        .adopt(&ufrag("cccccccc"), &world.keys())
        .expect_err("rolled back");
    let rolled_back = |error: &VaultError| {
        matches!(
            error,
            VaultError::RolledBack {
                identity: 1,
                record: 3,
                ..
            }
        )
    };
    assert!(rolled_back(&error), "{error}");
    assert_eq!(world.owner("cccccccc").as_deref(), Some("c"));
    // The next boot is the second, and finds a record of the third.
    let again = world.open("c");
    let error = again.reader.read(&ufrag("cccccccc")).expect_err("ahead");
    assert!(
        matches!(
            error,
            VaultError::RolledBack {
                identity: 2,
                record: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_node_takes_over_the_count_of_boots_that_others_have_gone_on_with() {
    let world = World::new();
    let first = world.open("a");
    let second = world.open("b");
    save(&second, "bbbbbbbb");
    // Of a boot that the first did not know of.
    let adopted = first.vault.adopt(&ufrag("bbbbbbbb"), &world.keys());
    assert_eq!(adopted.expect("usable"), Some(record("bbbbbbbb")));
    let again = world.open("a");
    assert_eq!((again.boot, names(&again)), (3, vec!["bbbbbbbb".into()]));
}

#[test]
fn a_new_certificate_is_taken_over_by_the_nodes_that_read_it() {
    let world = World::new();
    world.open("a");
    let second = world.open("b");
    let mut first = world.open("a");
    let old = first.identity.sha256();
    assert_eq!(first.rotate_identity(now()).expect("made"), Rotated::Yes);
    let new = first.identity.sha256();
    assert_ne!(old, new);
    assert_eq!(first.earlier[0].sha256(), old);
    let mut peer = record("aaaaaaaa");
    let hex: Vec<String> = new.iter().map(|byte| format!("{byte:02X}")).collect();
    peer.answer += &format!("a=fingerprint:sha-256 {}\r\n", hex.join(":"));
    first.vault.save(&peer, now()).expect("saved");

    // The other node cannot serve it before it has the certificate.
    let keys = world.keys();
    let adopt = || second.vault.adopt(&ufrag("aaaaaaaa"), &keys).expect("read");
    assert_eq!(adopt(), None);
    assert_eq!(world.owner("aaaaaaaa").as_deref(), Some("a"));
    let (current, earlier) = second.vault.identities_now(&keys).expect("read");
    assert_eq!((current.sha256(), earlier[0].sha256()), (new, old));
    assert_eq!(adopt(), Some(peer));

    // No node knows what the others need, so nothing is forgotten.
    second.vault.forget_identities(&[old]).expect("nothing");
    assert_eq!(world.open("c").earlier[0].sha256(), old);
}

#[test]
fn another_key_file_is_taken_by_each_node_for_its_own_peers() {
    let world = World::new();
    let first = world.open("a");
    let second = world.open("b");
    save(&first, "aaaaaaaa");
    save(&second, "bbbbbbbb");
    let old = fs::read_to_string(world.key_path()).expect("readable");
    let new_path = world.etcd.dir().join("new.txt");
    KeyFile::generate(&new_path).expect("a key file");
    let new = fs::read_to_string(&new_path).expect("readable");
    fs::write(world.key_path(), format!("{new}{old}")).expect("written");

    let outcome = first.vault.rotate(world.keys()).expect("rotated");
    assert_eq!((outcome.peers, outcome.unusable), (1, 0));
    let new = || KeyFile::load(&new_path).expect("the key file");
    // The identity and the first node's peer are under the new key, the second's is not yet.
    let third = Vault::open_shared(world.store("c"), new(), now()).expect("the new key opens it");
    let adopt = |name| third.vault.adopt(&ufrag(name), &new()).expect("read");
    assert_eq!(adopt("aaaaaaaa"), Some(record("aaaaaaaa")));
    assert_eq!(adopt("bbbbbbbb"), None);
    second.vault.rotate(world.keys()).expect("rotated");
    assert_eq!(adopt("bbbbbbbb"), Some(record("bbbbbbbb")));
    // What the second writes from now on is under it as well.
    save(&second, "dddddddd");
    assert_eq!(adopt("dddddddd"), Some(record("dddddddd")));
}

#[test]
fn an_anchor_holds_a_vault_in_etcd_too() {
    let world = World::new();
    let anchor = world.etcd.dir().join("anchor");
    let mut opened = world.open("a");
    opened.hold_to(&anchor).expect("a new anchor");
    let old = world.get("identity.age").expect("there");
    let mut again = world.open("a");
    again.hold_to(&anchor).expect("further than the anchor");
    world.put("identity.age", &old);
    // One boot behind, since this start counts.
    let mut behind = world.open("a");
    let error = behind.hold_to(&anchor).expect_err("behind");
    assert!(error.to_string().contains("old copy"), "{error}");
}

#[test]
fn etcd_without_room_says_so_and_still_forgets() {
    let etcd = etcd::Etcd::start_with(&["--quota-backend-bytes=3000000"]);
    let world = World::on(etcd);
    let opened = world.open("a");
    let mut large = record("large000");
    large.offer += &format!("a=x:{}\r\n", "x".repeat(90_000));
    let mut saved = Vec::new();
    let error = (0..200)
        .find_map(|n| {
            let name = format!("large{n:03}");
            large.ice.ufrag = ufrag(&name);
            let outcome = opened.vault.save(&large, now());
            saved.push(name);
            outcome.err()
        })
        .expect("3 MB are full");
    assert!(matches!(error, VaultError::Full { .. }), "{error:?}");
    let last = saved.pop().expect("one failed");
    assert_eq!(world.owner(&last), None);
    // Peers that leave leave all the same.
    assert!(opened.vault.remove(&ufrag(&saved[0])).expect("removed"));
    assert_eq!(world.owner(&saved[0]), None);
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
                    let changes: Vec<_> = keys.iter().map(|key| Change::Put(key, b"a")).collect();
                    let made = store.commit(&Transaction {
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
    let open = |prefix: &str| {
        let store = store(&world.etcd.address(prefix), "a");
        Vault::open_shared(store, world.keys(), now()).expect("it opens")
    };
    let one = open("vaults/one");
    save(&one, "aaaaaaaa");
    for prefix in ["vaults/one1", "vaults/on", "vaults"] {
        // The last is the parent of others, and there are other keys below it.
        if prefix == "vaults" {
            let store = store(&world.etcd.address(prefix), "a");
            let error = Vault::open_shared(store, world.keys(), now()).expect_err("not empty");
            assert!(matches!(error, VaultError::NotEmpty { .. }), "{error}");
        } else {
            let other = open(prefix);
            assert!(other.first_run && names(&other).is_empty());
            assert_ne!(other.identity.sha256(), one.identity.sha256());
        }
    }
}

#[test]
fn many_peers_are_removed_at_once_and_none_of_another_nodes() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let name = |i: usize| format!("peer{i:04}");
    let all: Vec<_> = (0..150).map(|i| ufrag(&name(i))).collect();
    for i in 0..150 {
        save(&a, &name(i));
    }
    let taken = b.vault.adopt(&all[70], &world.keys()).expect("an answer");
    assert_eq!(taken, Some(record(&name(70))));
    a.vault.remove(&all[80]).expect("removed");

    // More than go into one transaction.
    let removed = a.vault.remove_each(&all);
    for (i, removed) in removed.iter().enumerate() {
        match i {
            70 => assert!(matches!(removed, Err(VaultError::NotOwner)), "{removed:?}"),
            80 => assert!(matches!(removed, Ok(false)), "{removed:?}"),
            _ => assert!(matches!(removed, Ok(true)), "{i}: {removed:?}"),
        }
    }
    assert_eq!(removed.len(), 150);
    let left = world.etcd.keys(&format!("{}/peers/", support::PREFIX));
    assert_eq!(
        left,
        [format!("{}/peers/{}.age", support::PREFIX, name(70))]
    );
    assert_eq!(world.owner(&name(70)).as_deref(), Some("b"));
    assert_eq!(
        world
            .etcd
            .keys(&format!("{}/owners/", support::PREFIX))
            .len(),
        1
    );
}

#[test]
fn a_process_whose_node_is_another_one_removes_nothing() {
    let world = World::new();
    let before = world.open("a");
    let names: Vec<_> = ["aaaaaaaa", "bbbbbbbb", "cccccccc"].map(ufrag).into();
    for name in &names {
        save(&before, name.as_str());
    }
    let _after = world.open("a");
    for removed in before.vault.remove_each(&names) {
        assert!(matches!(removed, Err(VaultError::NotOwner)), "{removed:?}");
    }
    assert_eq!(
        world
            .etcd
            .keys(&format!("{}/peers/", support::PREFIX))
            .len(),
        3
    );
}
