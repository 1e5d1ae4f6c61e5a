//! Full-state mode of a build that has it: what it says, what becomes of its folder in the default
//! mode, and another key file.
#![cfg(feature = "full-state")]

mod full_state_vault;
mod live;
mod running;
mod support;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use live::{Live, broadcast, renew, run_for, run_until_more_video};
use running::{Server, json, output, rekindle, said, until};

/// The first words of what it gives up.
const WARNING: &str = "full-state mode keeps session keys on disk";
/// The bit of a file's kind that says who wrote it (`threat-model/persisted-format.md`).
const MARK: u8 = 0x80;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    keygen(folder.path(), "key");
    folder
}

fn keygen(folder: &Path, name: &str) -> String {
    let made = output(rekindle(folder).args(["keygen", "-o", name]));
    assert!(made.status.success(), "{}", said(&made));
    fs::read_to_string(folder.join(name)).expect("readable")
}

/// `rekindle-bench` asks so whether it can measure the mode.
#[test]
fn a_build_with_full_state_mode_says_so_with_its_version() {
    let output = output(rekindle(Path::new(".")).arg("--version"));
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = concat!(
        "rekindle ",
        env!("CARGO_PKG_VERSION"),
        " (DTLS: dimpl) with full-state mode\n"
    );
    assert_eq!(version, expected);
}

fn in_mode(folder: &Path, mode: &str) -> Command {
    let mut command = rekindle(folder);
    command.args(["--key-file", "key", "--state-dir", "state", "--mode", mode]);
    command
}

/// A broadcast in full-state mode, until all its counters are on the disk.
fn broadcast_in(folder: &Path) -> (Server, Live, Live) {
    let server = Server::start_as(&mut in_mode(folder, "full-state"));
    let (mut publisher, mut viewer) = broadcast(&server, "news", 0xf5);
    viewer.client.receiver_mut().renumbers_audio = true;
    run_for(
        &mut [&mut publisher, &mut viewer],
        Duration::from_millis(1500),
    );
    (server, publisher, viewer)
}

/// Handshakes so far.
fn handshakes(publisher: &Live, viewer: &Live) -> [usize; 2] {
    [publisher, viewer].map(|one| one.client.connected_at.len())
}

/// All age files of the vault.
fn files(state: &Path) -> Vec<PathBuf> {
    let files = running::tree(state).into_iter().map(|(path, ..)| path);
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "age"))
        .collect()
}

/// What an age file says, if this key file opens it.
fn plaintext(path: &Path, key_file: &str) -> Option<Vec<u8>> {
    let lines = key_file
        .lines()
        .filter(|line| line.starts_with("AGE-SECRET-KEY-1"));
    let identities: Vec<age::x25519::Identity> = lines
        .map(|line| line.parse().expect("an identity"))
        .collect();
    let file = fs::read(path).ok()?;
    let decryptor = age::Decryptor::new_buffered(&file[..]).expect("an age file");
    let mut plain = Vec::new();
    let identities = identities
        .iter()
        .map(|identity| identity as &dyn age::Identity);
    decryptor
        .decrypt(identities)
        .ok()?
        .read_to_end(&mut plain)
        .expect("whole");
    Some(plain)
}

/// Whether `identity.age` says that session keys may be here.
fn is_marked(folder: &Path, key_file: &str) -> bool {
    let plain = plaintext(&folder.join("state/identity.age"), key_file).expect("opened");
    assert_eq!(&plain[..9], b"rekindle\x02");
    plain[9] & MARK != 0
}

#[test]
fn at_every_start_and_in_its_health_it_says_what_it_gives_up() {
    let folder = folder();
    for _ in 0..2 {
        let server = Server::start_as(&mut in_mode(folder.path(), "full-state"));
        assert_eq!(server.ready["mode"], "full-state");
        let health = json(&mut server.get("/healthz"));
        assert_eq!(health["mode"], "full-state");
        assert!(
            health["warning"]
                .as_str()
                .expect("a warning")
                .starts_with(WARNING),
            "{health}"
        );
        let (code, log) = server.terminate();
        assert_eq!(code, Some(0));
        let line = log
            .lines()
            .find(|line| line.contains(WARNING))
            .expect("a warning");
        assert!(
            line.contains("WARN") && line.contains("no forward secrecy"),
            "{line}"
        );
    }
    let server = Server::start_as(&mut in_mode(folder.path(), "rehandshake"));
    let health = json(&mut server.get("/healthz"));
    assert_eq!(
        (&health["mode"], &health["warning"]),
        (&"rehandshake".into(), &serde_json::Value::Null)
    );
    assert!(!server.terminate().1.contains(WARNING));
}

#[test]
fn in_the_default_mode_the_session_keys_of_its_vault_are_removed_before_anything_is_served() {
    let folder = folder();
    let (server, mut publisher, mut viewer) = broadcast_in(folder.path());
    let key = fs::read_to_string(folder.path().join("key")).expect("readable");
    let state = folder.path().join("state");
    assert!(is_marked(folder.path(), &key));
    assert_eq!(
        fs::read_dir(state.join("sessions")).expect("there").count(),
        2
    );
    assert!(state.join("counters.age").exists());

    // The start has answered: nothing of them is left.
    let server = server.kill_and_start_again_as(&mut in_mode(folder.path(), "rehandshake"));
    assert!(!state.join("sessions").exists() && !state.join("counters.age").exists());
    server.wait_for_log("session keys that full-state mode had kept were removed", 1);
    // Peers are still known, and need a handshake. What was sent before the kill is let in first.
    run_for(
        &mut [&mut publisher, &mut viewer],
        Duration::from_millis(100),
    );
    let before = viewer.video();
    run_for(
        &mut [&mut publisher, &mut viewer],
        Duration::from_millis(300),
    );
    assert_eq!(viewer.video(), before, "no key is left");
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);
    assert_eq!(handshakes(&publisher, &viewer), [2, 2]);
    until("identity.age says that there are none", || {
        !is_marked(folder.path(), &key)
    });

    // From now on nothing of the kind is written, and a later start removes nothing.
    let server = server.kill_and_start_again_as(&mut in_mode(folder.path(), "rehandshake"));
    assert!(!state.join("sessions").exists() && !state.join("counters.age").exists());
    assert!(!server.terminate().1.contains("were removed"));
}

#[test]
fn on_sighup_session_keys_and_counters_go_under_the_new_identity_too() {
    let folder = folder();
    let (server, mut publisher, mut viewer) = broadcast_in(folder.path());
    let path = folder.path().join("key");
    let first = fs::read_to_string(&path).expect("readable");
    let second = keygen(folder.path(), "second");
    let state = folder.path().join("state");
    let names = |files: &[PathBuf]| {
        files
            .iter()
            .filter(|path| path.starts_with(state.join("sessions")))
            .count()
    };
    assert_eq!((names(&files(&state)), files(&state).len()), (2, 6));

    // Nothing moves meanwhile, so that it is the signal that has them written.
    fs::write(&path, format!("{second}{first}")).expect("written");
    server.signal("HUP");
    server.wait_for_log("the key file was taken", 1);
    for file in files(&state) {
        assert!(
            plaintext(&file, &second).is_some(),
            "{} is under the new identity",
            file.display()
        );
        assert!(
            plaintext(&file, &first).is_none(),
            "{} is not under the old one",
            file.display()
        );
    }
    run_until_more_video(&mut [&mut publisher, &mut viewer], 60);

    // The new identity alone takes the sessions over.
    fs::write(&path, &second).expect("written");
    server.signal("HUP");
    server.wait_for_log("the key file was taken", 2);
    let server = server.kill_and_start_again_as(&mut in_mode(folder.path(), "full-state"));
    run_until_more_video(&mut [&mut publisher, &mut viewer], 60);
    assert_eq!(handshakes(&publisher, &viewer), [1, 1]);
    assert!(
        files(&state)
            .iter()
            .all(|file| plaintext(file, &first).is_none())
    );
    server.kill();
}

/// What a build without the feature is shown, in `full_state_absent.rs`, is what this one reads.
#[test]
fn the_example_is_a_vault_whose_sessions_it_takes_over() {
    let folder = full_state_vault::copy();
    let server = Server::start_as(&mut in_mode(folder.path(), "full-state"));
    server.wait_for_log("peers of the last boot are awaited", 1);
    let log = server.log();
    assert!(
        log.contains("peers=2") && !log.contains("cannot be used"),
        "{log}"
    );
    let sessions = fs::read_dir(folder.path().join("state/sessions")).expect("there");
    assert_eq!(sessions.count(), 2, "what it cannot use it removes");
}
