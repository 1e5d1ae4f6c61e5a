//! A build without the feature `full-state`: it has no code for session keys on disk, says so, and
//! touches none.
#![cfg(not(feature = "full-state"))]

mod full_state_vault;
mod running;
mod search;

use std::fs;
use std::path::Path;

use running::{output, refused, rekindle, said, tree};

const PORTS: [&str; 4] = ["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"];

#[test]
fn full_state_mode_is_refused_with_what_to_do() {
    let parts = [
        "rekindle: this build has no code for full-state mode",
        "--features full-state",
    ];
    let folder = tempfile::tempdir().expect("temporary folder");
    refused(
        folder.path(),
        &[&PORTS[..], &["--mode", "full-state"]].concat(),
        &parts,
    );
    fs::write(folder.path().join("config.toml"), "mode = \"full-state\"\n").expect("written");
    refused(
        folder.path(),
        &[&PORTS[..], &["--config", "config.toml"]].concat(),
        &parts,
    );
}

#[test]
fn the_version_says_nothing_of_a_mode_that_is_not_there() {
    let output = output(rekindle(Path::new(".")).arg("--version"));
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        version,
        concat!("rekindle ", env!("CARGO_PKG_VERSION"), " (DTLS: dimpl)\n")
    );
}

#[test]
fn a_vault_that_full_state_mode_has_written_is_refused_by_name() {
    let folder = full_state_vault::copy();
    let vault = ["--state-dir", "state", "--key-file", "key"];
    let parts = [
        "full-state mode has written the vault state",
        "Nothing was changed",
    ];
    refused(folder.path(), &[&PORTS[..], &vault].concat(), &parts);
    refused(
        folder.path(),
        &[
            &PORTS[..],
            &vault,
            &["--mode", "rehandshake", "--rotate-identity"],
        ]
        .concat(),
        &parts,
    );
    let made = output(rekindle(folder.path()).args(["keygen", "-o", "new"]));
    assert!(made.status.success(), "{}", said(&made));
    let rekey = [
        "rekey",
        "state",
        "--key-file",
        "key",
        "--new-key-file",
        "new",
    ];
    refused(folder.path(), &rekey, &parts);
}

#[test]
fn the_auditor_calls_it_by_its_name_too() {
    let folder = full_state_vault::copy();
    let before = tree(folder.path());
    let audited = output(rekindle(folder.path()).args(["audit", "state", "--key-file", "key"]));
    let report = String::from_utf8_lossy(&audited.stdout).into_owned();
    assert_eq!(audited.status.code(), Some(1), "{report}");
    assert!(
        report.contains("written by full-state mode: session keys are kept in this vault"),
        "{report}"
    );
    assert!(tree(folder.path()) == before, "the disk was touched");
}

#[test]
fn it_has_no_label_that_belongs_to_session_keys() {
    let program = fs::read(env!("CARGO_BIN_EXE_rekindle")).expect("the program");
    let mut needles = search::Needles::default();
    needles.add("label of session keys", b"rekindle session id v1");
    needles.add("hook that kills", b"REKINDLE_KILL_");
    needles.add("control", b"identity.age");
    let mut found = needles.find(&program);
    found.dedup();
    assert_eq!(found, ["control"]);
}
