//! A vault in a real etcd.
#![allow(dead_code, reason = "each test program uses some of it")]

pub mod node;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rekindle_etcd::{Address, Etcd, Options};
use rekindle_ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle_testing::etcd;
use rekindle_vault::{KeyFile, Opened, PeerRecord, SharedStore, Vault, VaultError};

/// CI machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The prefix of the keys.
pub const PREFIX: &str = "vaults/one";

/// An etcd of its own for every test, and a key file.
pub struct World {
    pub etcd: etcd::Etcd,
}

impl World {
    pub fn new() -> Self {
        Self::on(etcd::Etcd::start())
    }

    pub fn on(etcd: etcd::Etcd) -> Self {
        let world = Self { etcd };
        KeyFile::generate(&world.key_path()).expect("a key file");
        world
    }

    pub fn key_path(&self) -> PathBuf {
        self.etcd.dir().join("key.txt")
    }

    pub fn keys(&self) -> KeyFile {
        KeyFile::load(&self.key_path()).expect("the key file")
    }

    pub fn address(&self) -> String {
        self.etcd.address(PREFIX)
    }

    /// The store as a node sees it.
    pub fn store(&self, node: &str) -> Arc<dyn SharedStore> {
        store(&self.address(), node)
    }

    pub fn try_open(&self, node: &str) -> Result<Opened, VaultError> {
        Vault::open_shared(self.store(node), self.keys(), now())
    }

    pub fn open(&self, node: &str) -> Opened {
        self.try_open(node).expect("the vault opens")
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.etcd.get(&format!("{PREFIX}/{name}"))
    }

    pub fn put(&self, name: &str, value: &[u8]) {
        self.etcd.put(&format!("{PREFIX}/{name}"), value);
    }

    pub fn owner(&self, name: &str) -> Option<String> {
        let value = self.get(&format!("owners/{name}"));
        value.map(|value| String::from_utf8(value).expect("a name"))
    }

    /// Names of all keys.
    pub fn names(&self) -> Vec<String> {
        let prefix = format!("{PREFIX}/");
        let keys = self.etcd.keys(&prefix).into_iter();
        keys.map(|key| key[prefix.len()..].to_owned()).collect()
    }

    /// All keys with their values.
    pub fn all(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let names = self.names().into_iter();
        names.map(|name| (name.clone(), self.get(&name))).collect()
    }
}

pub fn store(address: &str, node: &str) -> Arc<dyn SharedStore> {
    // Machines that others use are slow; what is tested is that it ends.
    let limit = Duration::from_secs(10);
    store_within(address, node, limit)
}

pub fn store_within(address: &str, node: &str, limit: Duration) -> Arc<dyn SharedStore> {
    let options = Options {
        node: node.into(),
        limit,
        ..Options::default()
    };
    connect(address, options)
}

pub fn connect(address: &str, options: Options) -> Arc<dyn SharedStore> {
    let address = Address::new(address, options).expect("an address");
    let store = Etcd::connect(&address).expect("a client");
    store.start().expect("a thread");
    Arc::new(store)
}

/// A fixed time, so that no test depends on the clock.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub fn ufrag(name: &str) -> Ufrag {
    Ufrag::new(name).expect("a ufrag")
}

pub fn record(name: &str) -> PeerRecord {
    PeerRecord {
        role: Role::Viewer,
        channel: "lobby".into(),
        ice: IceCredentials {
            ufrag: ufrag(name),
            pwd: IcePassword::new("p".repeat(24)),
        },
        offer: format!("v=0\r\na=ice-ufrag:{name}-browser\r\n"),
        answer: format!("v=0\r\na=ice-ufrag:{name}\r\n"),
        joined_at: 1_799_999_999,
    }
}

/// The same peer, at another address.
pub fn moved(name: &str, address: &str) -> PeerRecord {
    let mut record = record(name);
    record.offer += &format!("a=candidate:1 1 udp 1 {address} 9 typ host\r\n");
    record
}

pub fn save(opened: &Opened, name: &str) {
    opened.vault.save(&record(name), now()).expect("saved");
}

/// Waits until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The nodes that are alive, sorted, with what they say.
pub fn nodes(opened: &Opened) -> Vec<(String, String)> {
    let mut nodes: Vec<_> = opened
        .vault
        .nodes()
        .expect("a list")
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value).expect("text")))
        .collect();
    nodes.sort();
    nodes
}

pub fn names(opened: &Opened) -> Vec<String> {
    let mut names: Vec<_> = opened
        .reader
        .names()
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    names.sort();
    names
}

/// Whether it was refused because it is another's.
pub fn is_not_owner<T>(outcome: Result<T, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::NotOwner))
}
