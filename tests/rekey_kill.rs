//! `rekindle rekey`, the real program, killed at any moment.

mod running;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rekindle::ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle::vault::{KeyFile, PeerRecord, Vault, VaultError};
use running::{PATIENCE, output, rekindle, said};

const PEERS: usize = 16;
const OLD: &str = "old.txt";
const NEW: &str = "new.txt";

fn ufrag(n: usize) -> Ufrag {
    Ufrag::new(format!("peernumber{n}")).expect("a ufrag")
}

fn record(n: usize) -> PeerRecord {
    PeerRecord {
        role: Role::Viewer,
        channel: "lobby".into(),
        ice: IceCredentials {
            ufrag: ufrag(n),
            pwd: IcePassword::new("p".repeat(24)),
        },
        offer: format!("v=0\r\na=tool:{}\r\n", "o".repeat(3000)),
        answer: "v=0\r\n".into(),
        joined_at: 1,
    }
}

/// A vault with peers, and two key files.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let old = KeyFile::generate(&dir.path().join(OLD)).expect("made");
    KeyFile::generate(&dir.path().join(NEW)).expect("made");
    let opened = Vault::open(&dir.path().join("vault"), old, SystemTime::now()).expect("made");
    for n in 0..PEERS {
        opened
            .vault
            .save(&record(n), SystemTime::now())
            .expect("saved");
    }
    dir
}

fn copy_of(place: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["vault", OLD, NEW] {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(place.join(name))
            .arg(dir.path())
            .status();
        assert!(copied.expect("cp runs").success());
    }
    dir
}

const ARGUMENTS: [&str; 6] = ["rekey", "vault", "--key-file", OLD, "--new-key-file", NEW];

fn start(place: &Path) -> Child {
    let mut command = rekindle(place);
    command
        .args(ARGUMENTS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

/// Opens the vault with a key file and reads all peers; whether that key file opens it.
fn opens(place: &Path, key_file: &str) -> bool {
    let keys = KeyFile::load(&place.join(key_file)).expect("the key file");
    let opened = match Vault::open(&place.join("vault"), keys, SystemTime::now()) {
        Ok(opened) => opened,
        Err(VaultError::WrongKey(_)) => return false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(opened.reader.len(), PEERS);
    for n in 0..PEERS {
        assert_eq!(
            opened.reader.read(&ufrag(n)).expect("read"),
            Some(record(n))
        );
    }
    true
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// When to kill: after so long, or as soon as this is to be seen.
enum Moment {
    After(Duration),
    Prepared(usize),
    Committed,
}

#[test]
fn a_rekey_that_is_killed_at_any_moment_leaves_a_vault_that_one_key_file_opens_with_every_peer() {
    let original = place();
    let begin = Instant::now();
    let whole = copy_of(original.path());
    let done = output(rekindle(whole.path()).args(ARGUMENTS));
    assert!(done.status.success(), "{}", said(&done));
    let whole = begin.elapsed();

    let mut moments: Vec<Moment> = (0..20).map(|n| Moment::After(whole * n / 20)).collect();
    moments.extend((1..=PEERS).step_by(5).map(Moment::Prepared));
    moments.extend((0..8).map(|_| Moment::Committed));
    let (mut killed, mut under_the_old, mut under_the_new, mut left_behind) = (0, 0, 0, 0);
    for (round, moment) in moments.iter().enumerate() {
        let place = copy_of(original.path());
        let vault = place.path().join("vault");
        let mut child = start(place.path());
        let deadline = Instant::now() + PATIENCE;
        match moment {
            Moment::After(time) => std::thread::sleep(*time),
            Moment::Prepared(peers) => {
                while entries(&vault.join(".tmp-rekey/peers")) < *peers
                    && child.try_wait().expect("a child").is_none()
                {
                    assert!(Instant::now() < deadline);
                }
            }
            Moment::Committed => {
                while !vault.join("rekey").exists() && child.try_wait().expect("a child").is_none()
                {
                    assert!(Instant::now() < deadline);
                }
            }
        }
        child.kill().expect("killed");
        let status = child.wait().expect("ended");
        killed += usize::from(status.signal() == Some(9));
        let half_done = vault.join("rekey").exists() || vault.join(".tmp-rekey").exists();
        left_behind += usize::from(half_done);
        if half_done {
            // With either key file there is a report, and it says what is the matter.
            for key_file in [OLD, NEW] {
                let audited =
                    output(rekindle(place.path()).args(["audit", "vault", "--key-file", key_file]));
                let text = String::from_utf8_lossy(&audited.stdout);
                assert_eq!(audited.status.code(), Some(1), "{}", said(&audited));
                assert!(text.contains("[interrupted-rekey]"), "{text}");
            }
        }

        // What comes next is a server, with the one key file or the other; or the same command
        // again.
        let again = copy_of(place.path());
        let done = output(rekindle(again.path()).args(ARGUMENTS));
        assert!(done.status.success(), "{}", said(&done));
        assert!(opens(again.path(), NEW) && !opens(again.path(), OLD));
        let old = opens(place.path(), OLD);
        assert_eq!(
            opens(place.path(), NEW),
            !old,
            "round {round}: one of them, and not both"
        );
        (under_the_old, under_the_new) = (
            under_the_old + usize::from(old),
            under_the_new + usize::from(!old),
        );
        let key_file = if old { OLD } else { NEW };
        let audited =
            output(rekindle(place.path()).args(["audit", "vault", "--key-file", key_file]));
        assert_eq!(
            audited.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&audited.stdout)
        );
    }
    println!(
        "{} moments: {killed} killed, {left_behind} left something half done; {under_the_old} \
         under the old key file, {under_the_new} under the new one",
        moments.len()
    );
    assert!(killed >= 10 && left_behind >= 3, "{killed} {left_behind}");
    assert!(
        under_the_old > 0 && under_the_new > 0,
        "{under_the_old} {under_the_new}"
    );
}

#[test]
fn the_command_ends_with_exit_code_0_where_all_is_done_1_where_files_are_set_aside_and_2_where_nothing_is()
 {
    let place = place();
    let run = || output(rekindle(place.path()).args(ARGUMENTS));
    let missing = output(rekindle(place.path()).args([
        "rekey",
        "vault",
        "--key-file",
        OLD,
        "--new-key-file",
        "none",
    ]));
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        said(&missing).contains("there is no key file"),
        "{}",
        said(&missing)
    );
    let done = run();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        text.contains("16 peers are now encrypted to age1"),
        "{text}"
    );
    fs::write(place.path().join("vault/peers/peernumber0.age"), b"").expect("written");
    let again = run();
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("1 files could not be used"));
}
