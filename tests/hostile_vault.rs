//! Somebody has had their hands in the state folder while the server was dead, or has carried it
//! away.

mod live;
mod running;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use live::{Live, broadcast, renew, run_for, run_until_more_video};
use rekindle::ids::Role;
use running::{PATIENCE, Server, json, output, rekindle, said};
use serde_json::Value;

/// The program's own name for the peer of a session.
fn file_of(folder: &Path, session: &str) -> PathBuf {
    let ufrag = session
        .trim_start_matches("/session/")
        .split('-')
        .next()
        .expect("a fragment");
    folder.join(format!("rekindle-state/peers/{ufrag}.age"))
}

/// An age file for this recipient, with this in it: what anybody can make who knows `age1...`.
fn age_file(recipient: &str, plaintext: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = recipient.parse().expect("a recipient");
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
    let mut file = Vec::new();
    let mut writer = encryptor
        .expect("one recipient")
        .wrap_output(&mut file)
        .expect("to memory");
    writer.write_all(plaintext).expect("to memory");
    writer.finish().expect("to memory");
    file
}

fn recipient(folder: &Path) -> String {
    let key = fs::read_to_string(folder.join("rekindle-key.txt")).expect("readable");
    let line = key
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    line.expect("a recipient").to_owned()
}

/// Exit code and report of an audit.
fn audit(folder: &Path) -> (Option<i32>, Value) {
    let audited = output(rekindle(folder).args([
        "audit",
        "rekindle-state",
        "--json",
        "--key-file",
        "rekindle-key.txt",
    ]));
    (
        audited.status.code(),
        serde_json::from_slice(&audited.stdout).expect("JSON"),
    )
}

#[test]
fn forged_swapped_torn_flipped_oversized_linked_and_foreign_files_cost_their_own_peers_only() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--join-rate", "0"]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 900);
    let (wanted, bystanders) = (12, 3);
    let sessions: Vec<String> = (0..wanted + bystanders)
        .map(|n| Live::join(&server, Role::Viewer, "news", 910 + n).session)
        .collect();
    let file = |n: usize| file_of(folder.path(), &sessions[n]);
    let read = |n: usize| fs::read(file(n)).expect("readable");
    // A copy from before the restart, which the owner of the folder could put back later.
    let rolled_back = (read(0), sessions[0].clone());

    // What somebody does to the files of the others, before the process is killed or after.
    fs::write(file(1), &read(1)[..200]).expect("torn");
    let mut flipped = read(2);
    *flipped.last_mut().expect("a byte") ^= 4;
    fs::write(file(2), flipped).expect("flipped");
    fs::write(file(3), b"").expect("emptied");
    let big = fs::File::create(file(4)).expect("made");
    big.set_len(1 << 40).expect("a terabyte of nothing");
    fs::remove_file(file(5)).expect("removed");
    symlink(file(0), file(5)).expect("linked");
    fs::remove_file(file(6)).expect("removed");
    fs::hard_link(file(7), file(6)).expect("linked");
    let stranger = age::x25519::Identity::generate().to_public().to_string();
    fs::write(file(8), age_file(&stranger, b"rekindle")).expect("foreign");
    // Made with what anybody may know: the recipient.
    let plaintext = [b"rekindle\x02\x02\x01\x00".to_vec(), vec![0; 200]].concat();
    fs::write(file(9), age_file(&recipient(folder.path()), &plaintext)).expect("forged");
    let (one, other) = (read(10), read(11));
    fs::write(file(10), other).expect("swapped");
    fs::write(file(11), one).expect("swapped");
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));

    // Who was not touched comes back, with media.
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);
    server.wait_for_log("peers of the last boot are awaited", 1);
    for (n, session) in sessions.iter().enumerate() {
        let status = server.get(&format!("{session}/events")).status();
        // The peer with two names for its file is refused too: others may hold it.
        let lost = (1..wanted as usize).contains(&n);
        assert_eq!(status, if lost { 404 } else { 200 }, "{n}");
    }
    let health = json(&mut server.get("/healthz"));
    assert_eq!(health["peers"]["awaited"], 1 + bystanders);
    let aside = fs::read_dir(folder.path().join("rekindle-state/set-aside"))
        .expect("a folder")
        .count();
    assert_eq!(aside, wanted as usize - 1, "they can be looked at");
    let log = server.log();
    for cause in [
        "torn",
        "not an age file",
        "larger than",
        "not a regular file",
        "hard link",
        "no identity",
        "MAC is wrong",
    ] {
        assert!(log.contains(cause), "{cause:?} is not in {log}");
    }
    let (code, report) = audit(folder.path());
    assert_eq!(code, Some(1));
    let found = report["findings"].as_array().expect("a list").iter();
    assert!(
        found
            .filter(|finding| finding["code"] == "set-aside")
            .count()
            == wanted as usize - 1
    );

    // A peer leaves, and somebody puts its record back: nothing tells, and nothing is lost by it.
    // Nobody comes, and it goes.
    assert_eq!(server.delete(&rolled_back.1).status(), 200);
    fs::write(file(0), &rolled_back.0).expect("put back");
    fs::set_permissions(file(0), fs::Permissions::from_mode(0o600)).expect("set");
    let mut command = rekindle(folder.path());
    let server = server.kill_and_start_again_as(command.args(["--resume-window", "2"]));
    renew(&mut [&mut publisher, &mut viewer]);
    let begin = Instant::now();
    while file(0).exists() {
        assert!(begin.elapsed() < PATIENCE, "the record stays");
        run_for(
            &mut [&mut publisher, &mut viewer],
            Duration::from_millis(50),
        );
    }
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);
    drop(server);
}

/// Copies a folder, with the modes that a vault has.
fn carry_away(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("set");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            carry_away(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn a_stolen_vault_on_another_machine_disturbs_nobody_and_decrypts_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 940);

    let away = tempfile::tempdir().expect("temporary folder");
    carry_away(
        &folder.path().join("rekindle-state"),
        &away.path().join("rekindle-state"),
    );
    // Without the key file it is of no use: not even a server of ours starts.
    let refused =
        output(rekindle(away.path()).args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("rekindle-key.txt"),
        "{}",
        said(&refused)
    );

    // With it, it is the same server, elsewhere. It speaks to no browser by itself, although it
    // knows where they are.
    fs::copy(
        folder.path().join("rekindle-key.txt"),
        away.path().join("rekindle-key.txt"),
    )
    .expect("copied");
    let thief = Server::start(away.path(), &[]);
    assert_eq!(thief.ready["boot"], 2);
    run_for(&mut [&mut publisher, &mut viewer], Duration::from_secs(2));
    assert_eq!((publisher.from_others, viewer.from_others), (0, 0));
    let health = json(&mut thief.get("/healthz"));
    assert_eq!(
        (&health["peers"]["awaited"], &health["peers"]["connected"]),
        (&2.into(), &0.into())
    );
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);

    // What the browsers send now, copied to the thief: nothing comes of it, since the keys are in
    // the true server's memory alone.
    publisher.copies_to = Some(thief.media());
    run_until_more_video(&mut [&mut publisher, &mut viewer], 60);
    publisher.copies_to = None;
    let metrics = running::text(&mut thief.get("/metrics"));
    assert!(
        metrics.contains("rekindle_rtp_received_total 0\n"),
        "{metrics}"
    );

    // The true server is killed. A thief on the network path, to whom the browsers' packets are
    // led, is the server then: that is what the certificate's key is for. It is accepted, and why
    // the key file and the folder are to be kept apart.
    server.kill();
    let media = thief.media();
    for browser in [&mut publisher, &mut viewer] {
        browser.lead_to(media);
    }
    renew(&mut [&mut publisher, &mut viewer]);
}
