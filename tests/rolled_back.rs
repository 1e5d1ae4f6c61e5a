//! An old copy of the vault, or of a part of it, is put back.

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{PUBLISH, Server, output, rekindle, said, tree};

fn state(folder: &Path) -> PathBuf {
    folder.join("rekindle-state")
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .args(["-a"])
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(done.success());
}

/// Starts with these options; it must end with exit code 2, say this, and leave the vault as it is.
#[track_caller]
fn refused(folder: &Path, options: &[&str], parts: &[&str]) {
    let before = tree(&state(folder));
    for _ in 0..2 {
        let mut command = rekindle(folder);
        command
            .args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"])
            .args(options);
        let output = output(&mut command);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert_eq!(tree(&state(folder)), before);
    }
}

#[test]
fn a_server_whose_identity_was_rolled_back_does_not_go_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    server.join("/whip/before", PUBLISH);
    server.terminate();
    let identity = state(folder.path()).join("identity.age");
    let old = fs::read(&identity).expect("read");
    // After a theft the certificate is rotated.
    let server = Server::start(folder.path(), &["--rotate-identity"]);
    server.join("/whip/after", PUBLISH);
    server.terminate();
    let new = fs::read(&identity).expect("read");
    fs::write(&identity, old).expect("written");
    refused(
        folder.path(),
        &[],
        &[
            "identity.age is an old copy",
            "it was written in boot 1",
            "record of boot 2",
            "Restore the newest",
        ],
    );
    fs::write(&identity, new).expect("written");
    let server = Server::start(folder.path(), &[]);
    assert!(running::text(&mut server.get("/healthz")).contains("\"boot\":3"));
}

#[test]
fn an_anchor_elsewhere_tells_an_old_copy_of_the_whole_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let elsewhere = tempfile::tempdir().expect("temporary folder");
    let anchor = elsewhere.path().join("anchor");
    let options = ["--anchor", anchor.to_str().expect("text")];
    let start = |more: &[&str]| Server::start(folder.path(), &[&options[..], more].concat());
    let boot = |server: &Server| {
        running::json(&mut server.get("/healthz"))["boot"]
            .as_u64()
            .expect("a number")
    };
    // A new vault makes a new one.
    start(&[]).terminate();
    assert!(
        fs::read_to_string(&anchor)
            .expect("read")
            .contains("boot 1 certificate ")
    );
    let old = elsewhere.path().join("old");
    copy(&state(folder.path()), &old);
    let server = start(&["--rotate-identity"]);
    server.join("/whip/lobby", PUBLISH);
    assert_eq!(boot(&server), 2);
    server.terminate();
    assert!(
        fs::read_to_string(&anchor)
            .expect("read")
            .contains("boot 2 certificate ")
    );

    fs::rename(state(folder.path()), elsewhere.path().join("new")).expect("moved");
    copy(&old, &state(folder.path()));
    let parts = [
        "last written in boot 1",
        "knows of boot 2",
        "Restore the newest copy",
    ];
    refused(folder.path(), &options, &parts);
    // Without it nobody would notice.
    let unanchored = tempfile::tempdir().expect("temporary folder");
    copy(&old, &state(unanchored.path()));
    copy(
        &folder.path().join("rekindle-key.txt"),
        &unanchored.path().join("rekindle-key.txt"),
    );
    Server::start(unanchored.path(), &[]).terminate();

    // An old copy in which somebody has let boots go by.
    for _ in 0..3 {
        Server::start(folder.path(), &[]).terminate();
    }
    refused(
        folder.path(),
        &options,
        &["belongs to another vault, or to a newer copy"],
    );

    fs::remove_dir_all(state(folder.path())).expect("removed");
    copy(&elsewhere.path().join("new"), &state(folder.path()));
    let server = start(&[]);
    assert_eq!(boot(&server), 3);
    server.terminate();
}

#[test]
fn an_anchor_is_begun_by_an_empty_file_and_never_by_itself() {
    let folder = tempfile::tempdir().expect("temporary folder");
    Server::start(folder.path(), &[]).terminate();
    let anchor = folder.path().join("anchor");
    let options = ["--anchor", anchor.to_str().expect("text")];
    refused(folder.path(), &options, &["is not there", "touch"]);
    fs::write(&anchor, "something else\n").expect("written");
    refused(folder.path(), &options, &["cannot be read as one"]);
    fs::write(&anchor, "").expect("written");
    Server::start(folder.path(), &options).terminate();
    assert!(
        fs::read_to_string(&anchor)
            .expect("read")
            .contains("boot 2 certificate ")
    );
}

#[test]
fn a_vault_is_locked_also_where_somebody_removes_its_lock() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    fs::remove_file(state(folder.path()).join("lock")).expect("removed");
    let mut command = rekindle(folder.path());
    command.args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
    let output = output(&mut command);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another process uses the vault"), "{said}");
    drop(server);
}
