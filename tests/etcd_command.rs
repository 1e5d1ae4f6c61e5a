//! `rekindle export`, `audit` and `rekey` as a reviewer runs them on a vault in etcd.

mod running;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::SystemTime;

use rekindle::ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle::vault::{KeyFile, Opened, PeerRecord, SharedStore, Vault, VaultError};
use rekindle_testing::etcd::Etcd;
use running::{output, refused, rekindle, said};
use serde_json::Value;

const KEY: &str = "key.txt";
const NEW: &str = "new.txt";

/// An etcd with the vault of a node that has ended, and a folder with its key file.
struct Scene {
    etcd: Etcd,
    folder: tempfile::TempDir,
    address: String,
}

impl Scene {
    fn new() -> Self {
        let etcd = Etcd::start();
        let scene = Self {
            address: etcd.address("vault"),
            folder: tempfile::tempdir().expect("temporary folder"),
            etcd,
        };
        for key in [KEY, NEW] {
            KeyFile::generate(&scene.folder.path().join(key)).expect("a key file");
        }
        let opened = scene.open(KEY).expect("the vault opens");
        let record = PeerRecord {
            role: Role::Viewer,
            channel: "lobby".into(),
            ice: IceCredentials {
                ufrag: Ufrag::new("aaaaaaaa").expect("a fragment"),
                pwd: IcePassword::new("p".repeat(24)),
            },
            offer: "v=0\r\n".into(),
            answer: "v=0\r\na=ice-ufrag:aaaaaaaa\r\n".into(),
            joined_at: 1_799_999_999,
        };
        opened
            .vault
            .save(&record, SystemTime::now())
            .expect("saved");
        opened.vault.withdraw().expect("gone");
        scene
    }

    fn open(&self, key: &str) -> Result<Opened, VaultError> {
        let options = rekindle_etcd::Options {
            node: "a".into(),
            ..rekindle_etcd::Options::default()
        };
        let address = rekindle_etcd::Address::new(&self.address, options).expect("an address");
        let store = Arc::new(rekindle_etcd::Etcd::connect(&address).expect("a client"));
        store.start().expect("a thread");
        let keys = KeyFile::load(&self.folder.path().join(key)).expect("the key file");
        Vault::open_shared(store, keys, SystemTime::now())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        // Where copies of a vault are made, and must not be left.
        fs::create_dir_all(self.folder.path().join("tmp")).expect("made");
        let mut command = rekindle(self.folder.path());
        command.env("TMPDIR", self.folder.path().join("tmp"));
        output(command.args(arguments))
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn an_exported_vault_is_one_that_audit_and_the_age_program_read() {
    let scene = Scene::new();
    let exported = scene.run(&["export", "--vault", &scene.address, "copy"]);
    assert_eq!(exported.status.code(), Some(0), "{}", said(&exported));
    for name in ["identity.age", "peers/aaaaaaaa.age"] {
        let file = fs::read(scene.folder.path().join("copy").join(name)).expect("there");
        assert_eq!(Some(file), scene.etcd.get(&format!("vault/{name}")));
    }
    let audited = scene.run(&["audit", "copy", "--key-file", KEY]);
    assert_eq!(audited.status.code(), Some(0), "{}", said(&audited));
    refused(
        scene.folder.path(),
        &["export", "--vault", &scene.address, "copy"],
        &["cannot create a new folder", "copy"],
    );
}

#[test]
fn an_audit_of_a_vault_in_etcd_says_the_same_and_leaves_no_copy() {
    let scene = Scene::new();
    let audit = |more: &[&str]| {
        let arguments = [&["audit", "--vault", &scene.address, "--json"], more].concat();
        let audited = scene.run(&arguments);
        assert!(is_empty(&scene.folder.path().join("tmp")));
        audited
    };
    let audited = audit(&["--key-file", KEY]);
    assert_eq!(audited.status.code(), Some(0), "{}", said(&audited));
    let report: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    rekindle_testing::schema::must_fit(&report);
    assert_eq!(report["target"], *scene.address);
    assert_eq!(report["vault"]["peers"], 1);
    // Another key file: it could not look.
    assert_eq!(audit(&["--key-file", NEW]).status.code(), Some(2));
    // Without one, what shows from outside.
    assert_eq!(audit(&[]).status.code(), Some(0));
    scene.etcd.put("vault/peers/bbbbbbbb.age", b"no age file");
    assert_eq!(audit(&["--key-file", KEY]).status.code(), Some(1));
}

#[test]
fn a_rekey_of_a_vault_in_etcd_waits_for_its_nodes_to_end() {
    let scene = Scene::new();
    let rekey = || {
        let keys = ["--key-file", KEY, "--new-key-file", NEW];
        scene.run(&[&["rekey", "--vault", &scene.address][..], &keys].concat())
    };
    let node = scene.open(KEY).expect("a node");
    let in_use = rekey();
    assert_eq!(in_use.status.code(), Some(2));
    assert!(
        said(&in_use).contains("another process uses the vault"),
        "{}",
        said(&in_use)
    );
    node.vault.withdraw().expect("gone");
    let done = rekey();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(matches!(scene.open(KEY), Err(VaultError::WrongKey(_))));
    assert!(scene.open(NEW).is_ok());
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let mut scene = Scene::new();
    let folder = scene.folder.path().to_owned();
    let export = |address: &str, parts: &[&str]| {
        refused(&folder, &["export", "--vault", address, "copy"], parts);
    };
    export("etcd://u:secret@a/x", &["no user or password"]);
    export("redis://a/x", &["etcd://HOST:PORT"]);
    export("etcds://127.0.0.1/x", &["vouch"]);
    export(&scene.etcd.address("nowhere"), &["identity.age is missing"]);
    scene.etcd.kill(0);
    let address = scene.address.clone();
    export(&address, &["no answer within", "Check that most members"]);
    let audited = scene.run(&["audit", "--vault", &address]);
    assert_eq!(audited.status.code(), Some(2));
    assert!(
        said(&audited).contains("no answer within"),
        "{}",
        said(&audited)
    );
}
