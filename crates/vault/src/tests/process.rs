//! What only other processes can show: the lock, SIGKILL in the middle of a write, a full disk.
//!
//! The other process is this test program again, running one of the ignored tests below.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// Tells the child where the key file and the vault are.
pub(super) const PLACE: &str = "REKINDLE_TEST_VAULT";

/// The arguments that make this test program run one ignored test.
pub(super) fn child_arguments(test: &str) -> Vec<String> {
    let name = format!("tests::{test}");
    [
        "--exact",
        &name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]
    .map(String::from)
    .to_vec()
}

pub(super) fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// In the child: the vault of the parent's test.
fn parents_vault() -> Opened {
    let dir = PathBuf::from(std::env::var_os(PLACE).expect("called by a parent"));
    let keys = KeyFile::load(&dir.join("key.txt")).expect("the key file");
    Vault::open(&dir.join("vault"), keys, now()).expect("the vault")
}

/// Starts the child and waits until it says so.
fn start_child(place: &Place, test: &str) -> Child {
    let mut child = Command::new(this_program())
        .args(child_arguments(test))
        .env(PLACE, place.dir.path())
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("started");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    assert!(
        output
            .lines()
            .any(|line| line.expect("a line").contains("child is ready")),
        "the child died"
    );
    child
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_holds_the_lock() {
    let _opened = parents_vault();
    println!("child is ready");
    // Until the parent kills us or dies.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn two_processes_never_share_a_vault_and_a_killed_one_leaves_it_at_once() {
    let place = Place::with_peers(&["abcdefgh"]);
    let mut child = start_child(&place, "process::child_holds_the_lock");
    let error = place.try_open().expect_err("in use");
    assert!(matches!(error, VaultError::InUse(_)), "{error}");
    child.kill().expect("killed");
    // Not waited for on purpose: a supervisor may be slow to reap it.
    assert_eq!(place.open().reader.len(), 1);
    child.wait().expect("reaped");
}

#[test]
fn the_lock_holds_within_a_process_too() {
    let place = Place::new();
    let opened = place.open();
    assert!(matches!(place.try_open(), Err(VaultError::InUse(_))));
    drop(opened);
    place.open();
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_saves_until_it_is_killed() {
    let opened = parents_vault();
    println!("child is ready");
    for round in 0_usize.. {
        for name in ["firstpeer", "secondpeer", "thirdpeer"] {
            let offer = format!("v=0\r\n{}", "a=x\r\n".repeat(round * 977 % 15_000));
            opened
                .vault
                .save(
                    &PeerRecord {
                        offer,
                        ..record(name)
                    },
                    now(),
                )
                .expect("saved");
        }
        opened.vault.remove(&ufrag("thirdpeer")).expect("removed");
    }
}

#[test]
fn a_kill_in_the_middle_of_writing_loses_nothing() {
    let place = Place::with_peers(&["firstpeer", "secondpeer"]);
    for round in 0..12 {
        let mut child = start_child(&place, "process::child_saves_until_it_is_killed");
        std::thread::sleep(Duration::from_micros(round * 1_700));
        child.kill().expect("killed");
        child.wait().expect("reaped");

        let opened = place.open();
        let names = opened.reader.names();
        for name in ["firstpeer", "secondpeer"] {
            assert!(names.contains(&ufrag(name)), "{names:?}");
        }
        for name in &names {
            let read = opened
                .reader
                .read(name)
                .expect("read")
                .expect("a whole record");
            assert_eq!(read.answer, record(name.as_str()).answer);
        }
        let files = place.files();
        assert!(
            !files
                .iter()
                .any(|f| f.contains(".tmp-") || f.contains("set-aside")),
            "{files:?}"
        );
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_may_not_write_a_byte() {
    let opened = parents_vault();
    for _ in 0..2 {
        let error = opened
            .vault
            .save(&record("newcomer"), now())
            .expect_err("no room");
        assert!(matches!(error, VaultError::Full { .. }), "{error:?}");
        let changed = PeerRecord {
            channel: "other".into(),
            ..record("abcdefgh")
        };
        let error = opened.vault.save(&changed, now()).expect_err("no room");
        assert!(matches!(error, VaultError::Full { .. }), "{error:?}");
    }
    // Those that are here go on.
    assert_eq!(
        opened.reader.read(&ufrag("abcdefgh")).expect("read"),
        Some(record("abcdefgh"))
    );
    assert!(opened.vault.remove(&ufrag("abcdefgh")).expect("removed"));
    println!("child is content");
}

#[test]
fn without_room_for_a_byte_the_old_records_stay() {
    let place = Place::with_peers(&["abcdefgh"]);
    // A file size limit of nothing, with its signal ignored, fails every write.
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 0; exec "$0" "$@""#])
        .arg(this_program())
        .args(child_arguments("process::child_may_not_write_a_byte"))
        .env(PLACE, place.dir.path())
        .output()
        .expect("run");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("child is content"),
        "{output:?}"
    );
    assert_eq!(place.files(), ["identity.age", "lock", "peers"]);
    // The number of that boot was never durable.
    assert_eq!(place.open().boot, 2);
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_fills_the_disk() {
    let opened = parents_vault();
    let peers = (0..).map(|n| PeerRecord {
        offer: "v".repeat(9_000),
        ..record(&format!("peernumber{n}"))
    });
    let mut saved = Vec::new();
    let error = peers
        .map(|peer| opened.vault.save(&peer, now()).map(|()| saved.push(peer)))
        .find_map(Result::err)
        .expect("the disk is small");
    assert!(matches!(error, VaultError::Full { .. }), "{error:?}");
    assert!(saved.len() > 3);
    opened
        .vault
        .remove(&saved[0].ice.ufrag)
        .expect("a full disk can be emptied");
    opened
        .vault
        .save(&saved[0], now())
        .expect("there is room again");
    drop(opened);
    let opened = parents_vault();
    assert_eq!(opened.reader.len(), saved.len());
    for peer in saved {
        assert_eq!(
            opened.reader.read(&peer.ice.ufrag).expect("read"),
            Some(peer)
        );
    }
    println!("child is content");
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::new();
    let mount = r#"mount -t tmpfs -o size=256k tmpfs "$1" || exit 77; cp -p "$2" "$1" && shift 2 && exec "$@""#;
    let disk = place.dir.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            mount,
            "sh",
        ])
        .args([&disk, &place.key_path(), &this_program()])
        .args(child_arguments("process::child_fills_the_disk"))
        .env(PLACE, &disk)
        .output();
    let mounted = |output: &std::process::Output| {
        output.status.code() != Some(77) && !output.stdout.is_empty()
    };
    match output {
        Ok(output) if mounted(&output) => {
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && shown.contains("child is content"),
                "{output:?}"
            );
        }
        Ok(output) => println!(
            "skipped: no small disk to be had: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => println!("skipped: no small disk to be had: unshare: {error}"),
    }
}
