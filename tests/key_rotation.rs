//! Another key file for a server that runs: SIGHUP, and what becomes of the old one.

mod running;
mod search;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use running::{PUBLISH, Server, WATCH, output, rekindle, said};
use serde_json::Value;

const KEY: &str = "rekindle-key.txt";
const TAKEN: &str = "the key file was taken";
const NOT_TAKEN: &str = "the key file was not taken";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn keygen(folder: &Path, name: &str) -> String {
    let made = output(rekindle(folder).args(["keygen", "-o", name]));
    assert!(made.status.success(), "{}", said(&made));
    fs::read_to_string(folder.join(name)).expect("readable")
}

/// The audit under this key file: its exit code, and for each identity how many files are under it.
fn audit(folder: &Path, key_file: &str) -> (Option<i32>, Vec<u64>) {
    let audited = output(rekindle(folder).args([
        "audit",
        "rekindle-state",
        "--json",
        "--key-file",
        key_file,
    ]));
    let report: Value = serde_json::from_slice(&audited.stdout).unwrap_or(Value::Null);
    let files = report["vault"]["recipients"]
        .as_array()
        .into_iter()
        .flatten();
    let files = files.map(|recipient| recipient["files"].as_u64().expect("a number"));
    (audited.status.code(), files.collect())
}

/// The line of the key file that is the secret.
fn secret(key_file: &str) -> &str {
    key_file
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-1"))
        .expect("an identity")
}

/// The X25519 private key in an identity: Bech32 (BIP 173), whose last six characters are a
/// checksum.
fn scalar(identity: &str) -> Vec<u8> {
    let digits = identity.trim_start_matches("AGE-SECRET-KEY-1");
    let digits = &digits[..digits.len() - 6];
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits.bytes() {
        let value = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
            .iter()
            .position(|known| *known == digit);
        bits = bits << 5 | value.expect("a digit") as u32;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    assert_eq!(bytes.len(), 32);
    bytes
}

#[test]
fn on_sighup_a_running_server_puts_the_vault_under_the_new_identity() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let first = fs::read_to_string(folder.path().join(KEY)).expect("readable");
    let publisher = server.join("/whip/channel", PUBLISH);
    server.join("/whep/channel", WATCH);

    // `rekey` leaves a vault in use alone, and says what to do instead.
    let second = keygen(folder.path(), "second");
    let refused = output(rekindle(folder.path()).args([
        "rekey",
        "rekindle-state",
        "--key-file",
        KEY,
        "--new-key-file",
        "second",
    ]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("SIGHUP"), "{}", said(&refused));
    assert_eq!(audit(folder.path(), KEY), (Some(0), vec![3]));

    // The new identity in front, written into the file that is there.
    fs::write(folder.path().join(KEY), format!("{second}{first}")).expect("written");
    server.signal("HUP");
    server.wait_for_log(TAKEN, 1);
    assert_eq!(audit(folder.path(), KEY), (Some(0), vec![3, 0]));
    assert_eq!(
        audit(folder.path(), "second"),
        (Some(0), vec![3]),
        "the new identity alone opens all"
    );

    // What is written from now on is under it too.
    server.join("/whep/channel", WATCH);
    assert_eq!(audit(folder.path(), "second"), (Some(0), vec![4]));
    if let Some(memory) = search::memory(&server.ready["pid"].to_string()) {
        let fragment = publisher
            .trim_start_matches("/session/")
            .split('-')
            .next()
            .expect("a fragment");
        let mut needles = search::Needles::default();
        needles.add("control", fragment.as_bytes());
        needles.add("old identity", secret(&first).as_bytes());
        needles.add("new identity", secret(&second).as_bytes());
        needles.add("old private key", &scalar(secret(&first)));
        needles.add("new private key", &scalar(secret(&second)));
        let mut found: Vec<_> = memory
            .iter()
            .flat_map(|(_, part)| needles.find(part))
            .collect();
        found.dedup();
        assert_eq!(
            found,
            ["control"],
            "the search finds what is there, and the identities are not"
        );
    }

    // The old identity goes; a second signal changes nothing.
    fs::write(folder.path().join(KEY), &second).expect("written");
    server.signal("HUP");
    server.wait_for_log(TAKEN, 2);
    server.kill();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ready["boot"], 2);
    assert_eq!(server.delete(&publisher).status(), 200, "no peer was lost");
    server.terminate();
    assert_eq!(audit(folder.path(), KEY).1, [3]);
}

#[test]
fn a_bad_key_file_costs_one_warning_and_the_old_recipient_stays() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    server.join("/whip/channel", PUBLISH);
    let path = folder.path().join(KEY);
    let good = fs::read_to_string(&path).expect("readable");
    fs::write(folder.path().join("old"), &good).expect("written");
    fs::set_permissions(folder.path().join("old"), fs::Permissions::from_mode(0o600)).expect("set");
    let stranger = keygen(folder.path(), "stranger");

    let mut warnings = 0;
    let mut refused = |change: &dyn Fn(&PathBuf), part: &str| {
        change(&path);
        server.signal("HUP");
        warnings += 1;
        server.wait_for_log(NOT_TAKEN, warnings);
        let log = server.log();
        let line = log
            .lines()
            .rfind(|line| line.contains(NOT_TAKEN))
            .expect("a line");
        assert!(
            line.contains("WARN") && line.contains(part),
            "{part:?} is not in {line:?}"
        );
        for key_file in [&good, &stranger] {
            assert!(!log.contains(secret(key_file)), "{log}");
        }
        // Peers come as before, and all files are under the old identity.
        server.join("/whep/channel", WATCH);
        assert_eq!(
            audit(folder.path(), "old"),
            (Some(0), vec![2 + warnings as u64])
        );
    };
    refused(
        &|path| fs::write(path, "no key file\n").expect("written"),
        "line 1",
    );
    refused(
        &|path| fs::write(path, "# nothing\n").expect("written"),
        "holds no identity",
    );
    refused(
        &|path| fs::write(path, &stranger).expect("written"),
        "in front of the old one",
    );
    refused(
        &|path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("set"),
        "chmod 600",
    );
    refused(
        // In a folder with other things in it, only the file that was there at the start can be
        // read.
        &|path| fs::rename(folder.path().join("stranger"), path).expect("renamed"),
        "can be read only if",
    );
    refused(
        &|path| fs::remove_file(path).expect("removed"),
        "there is no key file",
    );
}

#[test]
fn on_sighup_a_running_server_takes_the_token_of_its_file_and_keeps_the_old_one_if_there_is_none() {
    const ANEW: &str = "the publish token was taken anew";
    const STAYS: &str = "the publish token was not taken, and the old one stays";
    let folder = folder();
    let file = folder.path().join("token");
    let write = |text: &str| {
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    };
    let (old, new) = ("0123456789-old-token", "0123456789-new-token");
    write(old);
    let server = Server::start(folder.path(), &["--publish-token-file", "token"]);
    let publishes = |channel: &str, token: &str| {
        server
            .offer_as(&format!("/whip/{channel}"), PUBLISH, token)
            .status()
    };
    assert_eq!(publishes("a", old), 201);
    write(new);
    assert_eq!(
        publishes("b", old),
        201,
        "nothing changes before the signal"
    );
    server.signal("HUP");
    server.wait_for_log(ANEW, 1);
    assert_eq!(publishes("c", old), 401);
    assert_eq!(publishes("c", new), 201);
    write("");
    server.signal("HUP");
    server.wait_for_log(STAYS, 1);
    assert_eq!(publishes("d", new), 201);
    fs::remove_file(&file).expect("removed");
    server.signal("HUP");
    server.wait_for_log(STAYS, 2);
    assert_eq!(publishes("e", new), 201);
    let log = server.log();
    assert!(
        !log.contains(old) && !log.contains(new),
        "a token is in {log}"
    );
}

#[test]
fn signals_that_mean_nothing_here_do_not_end_the_server() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    for (name, lines) in [("USR1", 1), ("USR2", 2)] {
        server.signal(name);
        server.wait_for_log("means nothing here and is ignored", lines);
    }
    assert_eq!(server.get("/healthz").status(), 200);
}

#[test]
fn a_key_file_that_systemd_hands_over_is_taken_and_the_same_elsewhere_is_not() {
    let folder = folder();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).expect("made");
    keygen(folder.path(), "credentials/key");
    // What `LoadCredential=` with `User=` looks like: an ACL entry of the user shows as a right of
    // the group.
    fs::set_permissions(credentials.join("key"), fs::Permissions::from_mode(0o440)).expect("set");
    let arguments = ["--key-file", "credentials/key"];
    let refused = output(rekindle(folder.path()).args(arguments));
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("can be read by others"),
        "{}",
        said(&refused)
    );
    let mut command = rekindle(folder.path());
    let server = Server::start_as(
        command
            .args(arguments)
            .env("CREDENTIALS_DIRECTORY", &credentials),
    );
    server.join("/whip/channel", PUBLISH);
}

#[test]
fn keygen_makes_the_folder_of_its_file_for_its_owner_only() {
    let folder = folder();
    keygen(folder.path(), "far/away/key");
    for made in ["far", "far/away"] {
        let mode = fs::metadata(folder.path().join(made))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
}
