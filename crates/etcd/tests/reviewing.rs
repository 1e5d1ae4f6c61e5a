//! What a reviewer and an operator do with a vault in etcd besides serving: export, audit, rekey.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rekindle_vault::audit::{self, Verdict};
use rekindle_vault::shared::{Condition, Entry, Listing, StoreError, Transaction, export, rekey};
use rekindle_vault::{KeyFile, SharedStore, Vault, VaultError};
use support::{World, names, now, record, save, ufrag};

#[test]
fn an_exported_vault_is_the_same_bytes_and_passes_the_audit_and_the_other_decoder() {
    let world = World::new();
    let opened = world.open("a");
    save(&opened, "aaaaaaaa");
    save(&opened, "bbbbbbbb");
    world.put("owners/ssssssss", b"a");
    world.put("peers/ssssssss.age", b"no age file");
    let again = world.open("a");
    assert_eq!(again.reader.read(&ufrag("ssssssss")).expect("read"), None);
    // Names that lead elsewhere, by whoever can write to etcd.
    for strange in ["peers/../../out.age", "peers/.age", "set-aside/a/b.age"] {
        world.put(strange, b"x");
    }
    let before = world.all();

    let folder = world.etcd.dir().join("exported");
    let exported = export(&*world.store("b"), &folder).expect("exported");
    assert_eq!(
        (exported.peers, exported.set_aside, exported.strange),
        (2, 1, 3)
    );
    assert_eq!(world.all(), before);
    for name in [
        "identity.age",
        "peers/aaaaaaaa.age",
        "peers/bbbbbbbb.age",
        "set-aside/ssssssss.2.age",
    ] {
        let file = fs::read(folder.join(name)).expect("there");
        assert_eq!(Some(file), world.get(name), "{name}");
        let mode = fs::metadata(folder.join(name))
            .expect("there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    assert!(!world.etcd.dir().join("out.age").exists());
    let mode = fs::metadata(&folder).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let error = export(&*world.store("b"), &folder).expect_err("it is there");
    assert!(matches!(error, VaultError::Io { .. }), "{error}");

    fs::remove_dir_all(folder.join("set-aside")).expect("removed");
    let options = audit::Options {
        target: folder.clone(),
        key_file: Some(world.key_path()),
        ..audit::Options::default()
    };
    let report = audit::audit(&options, &mut std::io::empty(), now()).expect("a report");
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
    let report = serde_json::to_value(&report).expect("JSON");
    rekindle_testing::schema::must_fit(&report);
    rekindle_testing::agreement::must_agree(&report, &world.key_path(), &folder, false);

    let nowhere = support::store(&world.etcd.address("nowhere"), "b");
    let error = export(&*nowhere, &world.etcd.dir().join("none")).expect_err("no vault");
    assert!(
        matches!(error, VaultError::IdentityMissing { .. }),
        "{error}"
    );
    assert!(!world.etcd.dir().join("none").exists());
}

fn new_keys(world: &World) -> KeyFile {
    let path = world.etcd.dir().join("new.txt");
    match path.exists() {
        true => KeyFile::load(&path),
        false => KeyFile::generate(&path),
    }
    .expect("a key file")
}

#[test]
fn a_rekey_puts_every_file_under_the_new_key_and_is_refused_while_a_node_is_there() {
    let world = World::new();
    let first = world.open("a");
    save(&first, "aaaaaaaa");
    save(&first, "bbbbbbbb");
    let before = world.all();
    let run = || rekey(world.store("tool"), world.keys(), new_keys(&world));
    let error = run().expect_err("a node is there");
    assert!(matches!(error, VaultError::InUse(_)), "{error}");
    assert_eq!(world.all(), before);
    first.vault.withdraw().expect("gone");

    world.put("peers/ssssssss.age", b"no age file");
    let outcome = run().expect("done");
    assert_eq!(
        (outcome.peers, outcome.unusable, outcome.set_aside),
        (2, 1, 1)
    );
    let error = world.try_open("a").expect_err("the old key");
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
    let again = Vault::open_shared(world.store("a"), new_keys(&world), now()).expect("the new key");
    assert_eq!(again.boot, 2);
    assert_eq!(names(&again), ["aaaaaaaa", "bbbbbbbb"]);
    for name in ["aaaaaaaa", "bbbbbbbb"] {
        let read = again.reader.read(&ufrag(name)).expect("readable");
        assert_eq!(read, Some(record(name)));
    }
}

/// Real etcd, over a connection that is cut for good after some transactions.
struct Cut {
    store: Arc<dyn SharedStore>,
    left: AtomicUsize,
}

impl SharedStore for Cut {
    fn address(&self) -> &str {
        self.store.address()
    }

    fn node(&self) -> &str {
        self.store.node()
    }

    fn start(&self) -> std::io::Result<()> {
        self.store.start()
    }

    fn read(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.read(keys)
    }

    fn list(&self, folder: &str) -> Result<Listing, StoreError> {
        self.store.list(folder)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.store.names(folder)
    }

    fn commit(&self, transaction: &Transaction<'_>) -> Result<bool, StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        {
            Ok(_) => self.store.commit(transaction),
            Err(_) => Err(StoreError::Unavailable("cut".into())),
        }
    }

    fn keep(&self, key: &str, value: &[u8], fence: Condition<'_>) -> Result<bool, StoreError> {
        self.store.keep(key, value, fence)
    }

    fn release(&self, key: &str) -> Result<(), StoreError> {
        self.store.release(key)
    }

    fn let_go(&self) -> Result<(), StoreError> {
        self.store.let_go()
    }

    fn wait(&self, folder: &str, revision: u64, limit: Duration) -> Result<(), StoreError> {
        self.store.wait(folder, revision, limit)
    }
}

#[test]
fn a_rekey_that_is_cut_off_anywhere_loses_nothing_and_is_finished_by_running_it_again() {
    let world = World::new();
    let first = world.open("a");
    let peers = ["aaaaaaaa", "bbbbbbbb", "cccccccc"];
    for name in peers {
        save(&first, name);
    }
    let old = || world.keys();
    let new = || new_keys(&world);
    drop(first);
    world.open("a").vault.withdraw().expect("gone");
    let mut cut_off = 0;
    for left in 0.. {
        let cut = Arc::new(Cut {
            store: world.store("tool"),
            left: AtomicUsize::new(left),
        });
        match rekey(cut, old(), new()) {
            Ok(outcome) => {
                assert_eq!((outcome.peers, outcome.unusable), (3, 0));
                break;
            }
            Err(error) => assert!(matches!(error, VaultError::Unavailable { .. }), "{error}"),
        }
        cut_off += 1;
        if left > 0 {
            // No node starts on half of it, whichever key file it has.
            for keys in [old(), new()] {
                let error = Vault::open_shared(world.store("a"), keys, now()).expect_err("half");
                let refused = matches!(error, VaultError::Rekeying(_) | VaultError::WrongKey(_));
                assert!(refused, "{error}");
            }
        }
    }
    assert!(cut_off >= 3, "{cut_off}");
    let again = Vault::open_shared(world.store("a"), new(), now()).expect("the new key");
    assert_eq!(names(&again), peers);
    for name in peers {
        let read = again.reader.read(&ufrag(name)).expect("readable");
        assert_eq!(read, Some(record(name)));
    }
    assert_eq!(world.get("rekeying"), None);
}

#[test]
fn a_node_that_was_paused_or_is_just_starting_changes_nothing_after_a_rekey() {
    let world = World::new();
    let paused = world.open("a");
    save(&paused, "aaaaaaaa");
    // As after its lease has ended: it is not among those that are alive.
    world.etcd.control(&["del", "vaults/one/nodes/a"]);
    rekey(world.store("tool"), world.keys(), new_keys(&world)).expect("done");
    let before = world.get("peers/aaaaaaaa.age");
    let not_owner = |outcome| matches!(outcome, Err(VaultError::NotOwner));
    assert!(not_owner(paused.vault.save(&record("aaaaaaaa"), now())));
    assert!(not_owner(paused.vault.save(&record("bbbbbbbb"), now())));
    assert!(not_owner(paused.vault.presence(b"here")));
    assert_eq!(world.get("peers/aaaaaaaa.age"), before);
}
