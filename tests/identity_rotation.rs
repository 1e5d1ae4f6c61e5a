//! `--rotate-identity`: new peers get a new certificate, peers of earlier boots keep theirs, until
//! none of them is left.

mod live;
mod running;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use live::{Live, broadcast, renew, run_until_connected, run_until_more_video};
use rekindle::ids::Role;
use running::{PATIENCE, Server, output, rekindle};
use serde_json::Value;

/// What the audit says: it must be clean. The certificates in `identity.age`, the present one
/// first, and the notes.
fn audit(folder: &Path) -> (Vec<String>, Vec<String>) {
    let audited = output(rekindle(folder).args([
        "audit",
        "rekindle-state",
        "--json",
        "--key-file",
        "rekindle-key.txt",
    ]));
    let report: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    assert_eq!(report["verdict"], "clean", "{}", report["findings"]);
    let files = report["files"].as_array().expect("a list");
    let identity = files
        .iter()
        .find(|file| file["path"] == "identity.age")
        .expect("the identity");
    let texts = |list: &Value, pick: &dyn Fn(&Value) -> Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|one| pick(one).as_str().expect("text").to_owned())
            .collect()
    };
    let notes = texts(&report["notes"], &|note| note["code"].clone());
    (
        texts(&identity["content"]["certificates"], &Value::clone),
        notes,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fingerprint in the first event of a session's stream.
fn hello(server: &Server, browser: &Live) -> String {
    let mut events = server.events(&format!("{}/events", browser.session));
    let (name, data) = events.next().expect("an event");
    assert_eq!(name, "hello");
    data["fingerprint"].as_str().expect("text").to_owned()
}

#[test]
fn old_peers_come_back_under_the_certificate_they_know_and_new_ones_get_the_new_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 100);
    let old = hex(publisher.server_certificate());
    assert_eq!(hello(&server, &viewer), viewer.fingerprint);

    let mut again = rekindle(folder.path());
    let server = server.kill_and_start_again_as(again.arg("--rotate-identity"));
    // The browsers check the server's certificate against the answer that they have.
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 10);
    let mut newcomer = Live::join(&server, Role::Viewer, "news", 102);
    let new = hex(newcomer.server_certificate());
    assert_ne!(new, old);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut newcomer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut newcomer], 10);

    // The page is told the other hash of its own certificate, whichever that is.
    assert_ne!(newcomer.fingerprint, viewer.fingerprint);
    assert_eq!(hello(&server, &viewer), viewer.fingerprint);
    assert_eq!(hello(&server, &newcomer), newcomer.fingerprint);
    assert_eq!(
        audit(folder.path()),
        (vec![new.clone(), old.clone()], vec![])
    );

    // Both stay through a restart.
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    renew(&mut [&mut publisher, &mut viewer, &mut newcomer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut newcomer], 10);
    assert_eq!(hello(&server, &viewer), viewer.fingerprint);
    assert_eq!(hello(&server, &newcomer), newcomer.fingerprint);

    // The last peer that knows the old one leaves, and it goes too.
    assert_eq!(server.delete(&viewer.session).status(), 200);
    assert_eq!(
        audit(folder.path()).0.len(),
        2,
        "the publisher knows it still"
    );
    assert_eq!(server.delete(&publisher.session).status(), 200);
    let deadline = Instant::now() + PATIENCE;
    while audit(folder.path()) != (vec![new.clone()], vec![]) {
        assert!(
            Instant::now() < deadline,
            "the old certificate is still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    renew(&mut [&mut newcomer]);
    assert_eq!(hello(&server, &newcomer), newcomer.fingerprint);
}

#[test]
fn a_certificate_that_nobody_knows_goes_at_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    Server::start(folder.path(), &[]).terminate();
    let before = audit(folder.path()).0;
    let server = Server::start(folder.path(), &["--rotate-identity"]);
    server.wait_for_log("a new certificate", 1);
    server.wait_for_log(
        "earlier certificates that no peer goes by any more are gone",
        1,
    );
    server.terminate();
    let after = audit(folder.path()).0;
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
}
