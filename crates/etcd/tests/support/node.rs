//! A node in a process of its own, which can be paused and killed: this test program again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rekindle_vault::{KeyFile, Vault, VaultError};

use super::{World, moved, now, store, ufrag};

/// Tells the child where etcd is, where the key file is and which node it is.
const NODE: &str = "REKINDLE_TEST_NODE";

/// See the module. Its test program has a test `child_is_a_node`, which calls [`run`].
pub struct Node {
    pub process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Node {
    pub fn start(world: &World, name: &str) -> Self {
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
    pub fn ask(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.input, "{order}").expect("it listens");
    }

    pub fn answer(&mut self) -> String {
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

    pub fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

/// In the child: does what the parent asks, until it ends.
pub fn run() {
    let place = std::env::var(NODE).expect("called by a parent");
    let [address, key, name] = *place.split(' ').collect::<Vec<_>>() else {
        panic!("three words");
    };
    let keys = KeyFile::load(key.as_ref()).expect("the key file");
    let opened = Vault::open_shared(store(address, name), keys, now());
    let vault = opened.expect("the vault").vault;
    println!("answer: ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let outcome = match line.split_once(' ').expect("two words") {
            ("save", peer) => vault.save(&moved(peer, "192.0.2.1"), now()),
            ("remove", peer) => vault.remove(&ufrag(peer)).map(|_| ()),
            ("want", peer) => vault.ask_pull("a", &ufrag(peer)),
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
