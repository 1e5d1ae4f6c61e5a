//! Servers that share a vault in a real etcd.
#![allow(dead_code)] // Not every test file needs all of it.

use std::path::Path;

use rekindle_testing::etcd::Etcd;

use crate::running::{Server, output, rekindle};

/// Nodes on one etcd, with one key file.
pub struct Cluster {
    folder: tempfile::TempDir,
    pub etcd: Etcd,
}

impl Cluster {
    pub fn new() -> Self {
        Self::on(Etcd::start())
    }

    pub fn on(etcd: Etcd) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = output(rekindle(folder.path()).args(["keygen", "--output", "key.txt"]));
        assert!(made.status.success(), "{made:?}");
        Self { folder, etcd }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, node: &str) -> std::process::Command {
        let mut command = rekindle(self.path());
        let url = format!("http://{node}.example");
        command.args([
            "--vault",
            &self.etcd.address("vault"),
            "--key-file",
            "key.txt",
        ]);
        command.args(["--node", node, "--node-url", &url, "--join-rate", "0"]);
        command
    }

    pub fn start(&self, node: &str) -> Server {
        Server::start_as(&mut self.command(node))
    }

    /// The node that may change the record of the only session.
    pub fn owner(&self) -> Option<String> {
        let keys = self.etcd.keys("vault/owners/");
        let [key] = &keys[..] else {
            return None;
        };
        let value = self.etcd.get(key)?;
        Some(String::from_utf8(value).expect("a name"))
    }

    /// The nodes that may change the records that there are.
    pub fn owners(&self) -> Vec<String> {
        let keys = self.etcd.keys("vault/owners/");
        let owners = keys.iter().filter_map(|key| self.etcd.get(key));
        let owner = |value| String::from_utf8(value).expect("a name");
        owners.map(owner).collect()
    }

    /// The node that may change all of them.
    pub fn owner_of_all(&self) -> Option<Vec<u8>> {
        let owners = self.owners();
        let first = owners.first()?;
        let one = owners.iter().all(|owner| owner == first);
        one.then(|| first.clone().into_bytes())
    }

    pub fn records(&self) -> usize {
        self.etcd.keys("vault/peers/").len()
    }
}
