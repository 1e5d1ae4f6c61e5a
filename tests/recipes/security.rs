//! What SECURITY.md and the threat model have their readers try.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::chapters::{block, root};
use super::running::{Server, output, rekindle, said, signal};
use super::steps::{Recipe, have, shell};
use rekindle_testing::agreement;

const DOCUMENT: &str = "SECURITY.md";

/// The exit status that `echo` printed.
fn status(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn ten_minutes_of_a_reviewer() {
    if !have("curl") || !have("age") {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address").to_string();
    drop(port);
    let others = [("127.0.0.1:8080", &*address)];
    let mut recipe = Recipe::new(DOCUMENT, "$ cargo build --release && PATH=", &others);
    for folder in ["crates", "tests", "threat-model"] {
        symlink(root().join(folder), recipe.folder().join(folder)).expect("linked");
    }
    recipe.next("cargo build --release");
    // `%1` is a job of the shell that has started it.
    let session: Vec<_> = ["rekindle & sleep 2", "curl -H", "kill -9 %1"]
        .map(|start| recipe.next(start).command)
        .into();
    let session = format!("export REKINDLE_HTTP={address}\n{}", session.join("\n"));
    let answered = shell(recipe.folder(), &session);
    let answer = String::from_utf8_lossy(&answered.stdout);
    assert!(answered.status.success(), "{answer}{}", said(&answered));
    assert!(answer.contains("a=fingerprint:sha-256 "), "{answer}");
    assert!(
        recipe
            .run("rekindle audit rekindle-state")
            .contains("identity.age")
    );
    recipe.run("rekindle audit rekindle-state --key-file");
    assert!(recipe.run("for file in").contains("a=ice-ufrag:"));
    recipe.ends();

    without_our_code(&recipe);
    what_must_fail(&recipe);
}

/// The stock `age` program, and the decoder in Python.
fn without_our_code(first: &Recipe) {
    let mut recipe = first.also(DOCUMENT, "$ age -d -i rekindle-key.txt", &[]);
    let dump = recipe.run("age -d -i");
    assert!(dump.contains(">rekindle"), "{dump}");
    recipe.run("age -d -i");
    recipe.next("python3 -m venv");
    let Some(python) = agreement::python() else {
        return;
    };
    let python = python.to_str().expect("text");
    recipe.replace("target/venv/bin/python", python);
    assert!(recipe.run(python).contains("identity.age"));
    recipe.run("rekindle audit rekindle-state --key-file");
    recipe.ends();
}

fn what_must_fail(first: &Recipe) {
    let mut recipe = first.also(DOCUMENT, "$ cp -r threat-model/example-full-state", &[]);
    recipe.run("cp -r");
    let audited = |recipe: &Recipe, command: &str| {
        let done = shell(recipe.folder(), &format!("set +e\n{command}"));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(status(&done.stdout), "1", "{text}{}", said(&done));
        text
    };
    let step = recipe.next("rekindle audit kept");
    assert!(audited(&recipe, &step.command).contains("forbidden"));
    // The name that the recipe gives to its copy is that of nobody.
    let step = recipe.next("cp rekindle-state/identity.age");
    assert!(audited(&recipe, &step.command).contains("somebody00"));
    recipe.ends();
}

#[test]
fn the_process_is_looked_at_from_outside() {
    let document = "threat-model/process.md";
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let process = server.process().to_string();
    // There are servers of other tests.
    let others = [("$(pgrep -x rekindle)", &*process)];
    let mut recipe = Recipe::new(document, "$ grep -E 'NoNewPrivs", &others);
    let rights = recipe.run("grep -E");
    assert!(rights.contains("NoNewPrivs:\t1"), "{rights}");
    for line in rights.lines() {
        let expected = match line.rsplit(':').nth(1).expect("a name") {
            name if name.ends_with("NoNewPrivs") => "1",
            name if name.ends_with("Seccomp") => "2",
            name if name.ends_with("Seccomp_filters") => continue,
            // Of root's CAP_IPC_LOCK alone is left, by which memory is locked.
            _ if line.ends_with("\t0000000000004000") => continue,
            _ => "\t0000000000000000",
        };
        assert!(line.ends_with(expected), "{line}");
    }
    let limit = recipe.run("grep core");
    assert_eq!(limit.split_whitespace().nth(4), Some("0"), "{limit}");
    let step = recipe.next("cat /proc/");
    // Root reads all memory by a capability.
    let as_user = "setpriv --bounding-set -all --inh-caps -all";
    let is_root = shell(root(), "test $(id -u) = 0").status.success();
    let prefix = if is_root { as_user } else { "" };
    let refused = shell(recipe.folder(), &format!("{prefix} {}", step.command));
    assert!(said(&refused).contains("Permission denied"), "{refused:?}");

    let session = server.join("/whip/main", super::running::PUBLISH);
    let step = recipe.next("kill -ABRT");
    let mut server = server;
    assert!(shell(recipe.folder(), &step.command).status.success());
    assert_eq!(server.ends(), None, "a signal has ended it");
    let cores = |path: PathBuf| path.to_string_lossy().contains("core");
    let entries = fs::read_dir(folder.path()).expect("a folder");
    assert!(
        !entries
            .map(|entry| entry.expect("an entry").path())
            .any(cores)
    );
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    assert_eq!(
        server
            .events(&format!("{session}/events"))
            .next()
            .expect("an event")
            .0,
        "hello"
    );
    recipe.next("cargo test hardening");
    recipe.ends();
    // It was a signal that it can be sent.
    assert!(!server.log().is_empty());
    signal(server.process(), "TERM");
}

#[test]
fn a_mac_is_what_pythons_standard_library_says() {
    if !have("age") || !have("python3") {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let document = "threat-model/persisted-format.md";
    let script = block(document, "import hmac, subprocess").text;
    for name in ["peers", "key.txt"] {
        let example = root().join("threat-model/example");
        symlink(example.join(name), folder.path().join(name)).expect("linked");
    }
    let shown = script.trim_end().rsplit("# ").next().expect("a comment");
    let (start, end) = shown.split_once("...").expect("two ends");
    let script = format!("{script}print(mac.hex())\n");
    let mut python = Command::new("python3");
    let done = output(python.args(["-c", &script]).current_dir(folder.path()));
    let mac = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert!(done.status.success(), "{}", said(&done));
    assert!(mac.starts_with(start) && mac.ends_with(end), "{mac}");
}
