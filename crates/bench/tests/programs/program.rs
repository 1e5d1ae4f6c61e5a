//! The benchmark's program, run to its end, and a server for it.

// Each test that includes this uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The server's program, which the benchmark finds beside its own.
pub fn server() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_rekindle-bench")).with_file_name("rekindle");
    assert!(
        path.exists(),
        "there is no {path:?}: `cargo build` makes it"
    );
    path
}

/// Runs a subcommand with these options. Returns its JSON, and what it wrote.
pub fn bench(what: &str, options: &[&str]) -> (Value, String) {
    server();
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle-bench"))
        .args([what, "--json"])
        .arg(&json)
        .args(options)
        // Where its servers have their folders.
        .env("TMPDIR", folder.path())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&json).expect("a result");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    (serde_json::from_str(&text).expect("JSON"), table)
}

/// A server that runs already, in a folder of its own.
pub struct Running {
    child: Child,
    pub url: String,
    _folder: tempfile::TempDir,
}

impl Running {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(server())
            .current_dir(folder.path())
            .args([
                "serve",
                "--http=127.0.0.1:0",
                "--udp=127.0.0.1:0",
                "--announce=json",
                "--join-rate=0",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let address = ready["http"].as_str().expect("an address");
        Self {
            url: format!("http://{address}/whep/any"),
            child,
            _folder: folder,
        }
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
