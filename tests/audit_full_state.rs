//! The auditor on the vault of a server that runs in full-state mode: it finds every session key,
//! and nothing that is not accounted for.
#![cfg(feature = "full-state")]

mod live;
mod running;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use live::{broadcast, run_for};
use running::{Server, output, rekindle, said};
use serde_json::Value;

const KEY: &str = "rekindle-key.txt";

/// A broadcast in full-state mode, with every counter written more than once, and what it has left
/// after a kill.
fn play(folder: &Path, look: impl FnOnce()) {
    let server = Server::start(folder, &["--mode", "full-state"]);
    let (mut publisher, mut viewer) = broadcast(&server, "kept", 0xa0d1);
    run_for(
        &mut [&mut publisher, &mut viewer],
        Duration::from_millis(2500),
    );
    look();
    server.kill();
}

fn audit(folder: &Path, options: &[&str]) -> (Output, Value) {
    let audited = output(rekindle(folder).args(["audit", "--json"]).args(options));
    let report =
        serde_json::from_slice(&audited.stdout).unwrap_or_else(|_| panic!("{}", said(&audited)));
    (audited, report)
}

/// Code and place of all findings, sorted, each once.
fn findings(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let place = |file: String| {
        file.split_once('/')
            .map_or(file.clone(), |(folder, _)| format!("{folder}/*"))
    };
    let list = report["findings"].as_array().expect("a list").iter();
    let mut found: Vec<_> = list
        .map(|f| (text(&f["code"]), place(text(&f["file"]))))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// As it is in the file.
fn plaintext(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let output = Command::new("age")
        .args(["-d", "-i", KEY, &format!("rekindle-state/{path}")])
        .current_dir(folder)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("{}", said(&output)),
        Err(error) => {
            let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
            assert!(!ci, "CI needs the Debian package age: {error}");
            println!("skipped: the program age is not installed (Debian package: age)");
            None
        }
    }
}

#[test]
fn every_byte_that_a_full_state_server_keeps_is_accounted_for_and_fails_the_audit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path();
    let expected: Vec<(String, String)> = [
        ("forbidden", "counters.age"),
        ("forbidden", "sessions/*"),
        ("full-state", "identity.age"),
        ("full-state", "sessions"),
    ]
    .map(|(code, file)| (code.to_owned(), file.to_owned()))
    .into();
    // While it runs, a file may be on its way to its place: no more than that is different.
    play(path, || {
        let (audited, report) = audit(path, &["rekindle-state", "--key-file", KEY]);
        assert_eq!(audited.status.code(), Some(1));
        assert_eq!(findings(&report), expected, "{:#}", report["findings"]);
        assert_eq!(report["vault"]["lock"], "held");
    });

    let whole = ["rekindle-state", "--key-file", KEY];
    let (audited, report) = audit(path, &whole);
    assert_eq!(audited.status.code(), Some(1));
    let more: Vec<_> = findings(&report)
        .into_iter()
        .filter(|f| !expected.contains(f))
        .collect();
    // What the killed process was writing.
    assert!(more.iter().all(|(code, _)| code == "temporary"), "{more:?}");
    assert_eq!(report["totals"]["unaccounted"], 0);
    let mut keys = 0;
    let mut ceilings = 0;
    for file in report["files"].as_array().expect("a list") {
        let Some(content) = file["content"].as_object() else {
            continue;
        };
        assert_eq!(content["mac"], "right");
        let mut at = 0;
        for item in content["items"].as_array().expect("a list") {
            assert_eq!(item["offset"], at);
            at += item["length"].as_u64().expect("a number");
            let field = item["field"].as_str().expect("text");
            let forbidden = item["class"] == "forbidden";
            keys += usize::from(forbidden && (field == "client key" || field == "server key"));
            ceilings += usize::from(forbidden && field.ends_with(" ceiling"));
            assert!(!forbidden || item["value"].as_str().expect("text").starts_with('#'));
        }
        assert_eq!(file["age"]["plaintext_bytes"], at);
    }
    assert_eq!(keys, 4, "of two peers, one for each direction");
    assert!(ceilings >= 2, "of what the viewer is sent");
    let (key, vault) = (path.join(KEY), path.join("rekindle-state"));
    rekindle_testing::agreement::must_agree(&report, &key, &vault, cfg!(feature = "full-state"));

    // One by one, sealed and as the stock program decrypts them.
    for file in report["files"].as_array().expect("a list") {
        if file["content"].is_null() {
            continue;
        }
        let name = file["path"].as_str().expect("text");
        let code = i32::from(!name.starts_with("peers/"));
        let (one, _) = audit(
            path,
            &[&format!("rekindle-state/{name}"), "--key-file", KEY],
        );
        assert_eq!(one.status.code(), Some(code), "{name}");
        let Some(plaintext) = plaintext(path, name) else {
            return;
        };
        let mut command = rekindle(path);
        command
            .args(["audit", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(&plaintext).expect("written");
        drop(input);
        let judged = child.wait_with_output().expect("ends");
        assert_eq!(judged.status.code(), Some(code), "{name}");
        let shown = String::from_utf8_lossy(&judged.stdout);
        assert_eq!(
            shown.contains("FINDINGS: 1 finding in 1 file."),
            code == 1,
            "{shown}"
        );
    }

    // The default mode clears it all away before it starts.
    Server::start(path, &["--mode", "rehandshake"]).terminate();
    let (audited, report) = audit(path, &whole);
    assert_eq!(report["totals"]["forbidden"], 0);
    assert!(
        !path.join("rekindle-state/sessions").exists()
            && !path.join("rekindle-state/counters.age").exists()
    );
    assert_eq!(audited.status.code(), Some(0), "{:#}", report["findings"]);
}

/// Makes `threat-model/example-full-state/` anew: `cargo test --features full-state --test
/// audit_full_state -- --ignored`. Then put the tables into the document.
#[test]
#[ignore = "makes the example of full_state mode anew"]
fn make_the_full_state_example() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("threat-model");
    let key = folder.path().join(KEY);
    fs::copy(model.join("example/key.txt"), &key).expect("copied");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    play(folder.path(), || {});
    let (from, to) = (
        folder.path().join("rekindle-state"),
        model.join("example-full-state"),
    );
    let _ = fs::remove_dir_all(&to);
    for place in ["", "peers", "sessions"] {
        fs::create_dir_all(to.join(place)).expect("made");
        for entry in fs::read_dir(from.join(place)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_age = path.extension().is_some_and(|extension| extension == "age");
            if is_age
                && !path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with('.'))
            {
                fs::copy(
                    &path,
                    to.join(place).join(path.file_name().expect("a name")),
                )
                .expect("copied");
            }
        }
    }
}
