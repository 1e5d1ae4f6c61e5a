//! Tests of the vault, on a real file system and with real processes.

mod audit;
mod audit_findings;
mod audit_folder;
mod audit_full_state;
mod decoder;
mod faults;
mod identities;
mod key;
mod process;
mod rekey;
mod store;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rekindle_ids::{IceCredentials, IcePassword, Role, Ufrag};

use super::*;

/// A folder of its own for every test, with a key file in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        KeyFile::generate(&place.key_path()).expect("a key file");
        place
    }

    fn key_path(&self) -> PathBuf {
        self.dir.path().join("key.txt")
    }

    fn vault_path(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    fn peer_path(&self, name: &str) -> PathBuf {
        self.vault_path().join("peers").join(format!("{name}.age"))
    }

    fn keys(&self) -> KeyFile {
        KeyFile::load(&self.key_path()).expect("the key file")
    }

    fn try_open(&self) -> Result<Opened, VaultError> {
        Vault::open(&self.vault_path(), self.keys(), now())
    }

    fn open(&self) -> Opened {
        self.try_open().expect("the vault opens")
    }

    /// A vault with these peers, closed again.
    fn with_peers(names: &[&str]) -> Self {
        let place = Self::new();
        let opened = place.open();
        for name in names {
            opened.vault.save(&record(name), now()).expect("saved");
        }
        place
    }

    /// Names of all entries under the vault, sorted.
    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, prefix: &str, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).expect("a folder") {
                let entry = entry.expect("an entry");
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type().expect("a type").is_dir() {
                    walk(&entry.path(), &format!("{name}/"), found);
                }
                found.push(name);
            }
        }
        let mut found = Vec::new();
        walk(&self.vault_path(), "", &mut found);
        found.sort();
        found
    }
}

/// A fixed time, so that no test depends on the clock.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ufrag(name: &str) -> Ufrag {
    Ufrag::new(name).expect("a ufrag")
}

fn record(name: &str) -> PeerRecord {
    PeerRecord {
        role: Role::Viewer,
        channel: "lobby".into(),
        ice: IceCredentials {
            ufrag: ufrag(name),
            pwd: IcePassword::new("p".repeat(24)),
        },
        offer: format!(
            "v=0\r\na=ice-ufrag:{name}-browser\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
        ),
        answer: format!(
            "v=0\r\na=ice-ufrag:{name}\r\na=ice-pwd:{}\r\n",
            "p".repeat(24)
        ),
        joined_at: 1_799_999_999,
    }
}
