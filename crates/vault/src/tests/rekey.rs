//! Another key file: for a vault at rest, killed at every step; and for one in use.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::process::{PLACE, child_arguments, this_program};
use super::*;
use crate::rekey::{self, Outcome, rekey_in_steps};

const PEERS: [&str; 3] = ["firstpeer", "secondpeer", "thirdpeer"];

fn new_key_path(dir: &Path) -> PathBuf {
    dir.join("new-key.txt")
}

fn load(path: &Path) -> KeyFile {
    KeyFile::load(path).expect("a key file")
}

/// A vault with peers, and a second key file.
fn place_with_new_key() -> Place {
    let place = Place::with_peers(&PEERS);
    KeyFile::generate(&new_key_path(place.dir.path())).expect("a key file");
    place
}

fn rekey(place: &Place) -> Result<Outcome, VaultError> {
    rekey::rekey(
        &place.vault_path(),
        place.keys(),
        load(&new_key_path(place.dir.path())),
    )
}

/// Opens the vault with a key file and reads all peers.
fn read_all(vault: &Path, keys: KeyFile) -> Result<(), VaultError> {
    let opened = Vault::open(vault, keys, now())?;
    assert_eq!(opened.reader.len(), PEERS.len());
    for name in PEERS {
        assert_eq!(
            opened.reader.read(&ufrag(name)).expect("read"),
            Some(record(name))
        );
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp runs");
    assert!(status.success());
}

#[test]
fn afterwards_the_new_key_file_opens_all_and_the_old_one_nothing() {
    let place = place_with_new_key();
    let certificate = place.open().identity.certificate_der().to_vec();
    let outcome = rekey(&place).expect("done");
    assert_eq!(
        (outcome.peers, outcome.unusable, outcome.set_aside),
        (3, 0, 0)
    );
    assert_eq!(
        place.files(),
        [
            "identity.age",
            "lock",
            "peers",
            "peers/firstpeer.age",
            "peers/secondpeer.age",
            "peers/thirdpeer.age"
        ]
    );
    assert!(matches!(place.try_open(), Err(VaultError::WrongKey(_))));
    for name in PEERS {
        let file = fs::read(place.peer_path(name)).expect("read");
        let fault =
            super::super::reader::open_peer(&place.keys().keys, &ufrag(name), &file, 1).err();
        assert_eq!(fault, Some(FileFault::ForeignRecipient));
    }
    let new = load(&new_key_path(place.dir.path()));
    let opened = Vault::open(&place.vault_path(), new, now()).expect("opens");
    assert_eq!(opened.boot, 2, "re-encrypting is no boot");
    assert_eq!(opened.identity.certificate_der(), certificate);
    drop(opened);
    read_all(&place.vault_path(), load(&new_key_path(place.dir.path()))).expect("opens");
    // Once more changes nothing.
    assert_eq!(rekey(&place).expect("done").peers, 3);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_rekeys_until_a_step() {
    let dir = PathBuf::from(std::env::var_os(PLACE).expect("called by a parent"));
    let mut left: u32 = std::env::var("REKINDLE_TEST_STEPS")
        .expect("set")
        .parse()
        .expect("a number");
    let (old, new) = (load(&dir.join("key.txt")), load(&new_key_path(&dir)));
    let mut step = || {
        if left == 0 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("killed");
        }
        left -= 1;
    };
    rekey_in_steps(&dir.join("vault"), old, new, &mut step).expect("done");
}

#[test]
fn killed_at_any_step_exactly_one_key_file_opens_the_vault_and_no_peer_is_lost() {
    let mut old_opened = 0;
    let mut new_opened = 0;
    for steps in 0.. {
        let place = place_with_new_key();
        // Files that were never ours stay through it all.
        fs::write(place.vault_path().join("peers/notes.txt"), b"mine").expect("written");
        let output = Command::new(this_program())
            .args(child_arguments("rekey::child_rekeys_until_a_step"))
            .env(PLACE, place.dir.path())
            .env("REKINDLE_TEST_STEPS", steps.to_string())
            .output()
            .expect("run");
        if output.status.success() {
            // It had fewer steps than that.
            assert!(steps > 10, "{steps}");
            break;
        }
        assert_eq!(output.status.signal(), Some(9), "{output:?}");

        // A server comes next, with the one or the other key file.
        let other_place = place.dir.path().join("copy");
        copy_folder(&place.vault_path(), &other_place);
        let before = place.files();
        let new = || load(&new_key_path(place.dir.path()));
        let (right, wrong): (&dyn Fn() -> KeyFile, &dyn Fn() -> KeyFile) = match place.try_open() {
            Ok(_) => {
                old_opened += 1;
                (&|| place.keys(), &new)
            }
            Err(VaultError::WrongKey(_)) => {
                assert_eq!(place.files(), before, "the wrong key file changes nothing");
                new_opened += 1;
                (&new, &|| place.keys())
            }
            Err(error) => panic!("step {steps}: {error}"),
        };
        read_all(&place.vault_path(), right()).expect("no peer is lost");
        assert!(
            matches!(
                read_all(&place.vault_path(), wrong()),
                Err(VaultError::WrongKey(_))
            ),
            "step {steps}"
        );
        assert!(place.vault_path().join("peers/notes.txt").exists());
        assert!(
            !place.files().iter().any(|f| f.contains("rekey")),
            "{:?}",
            place.files()
        );

        // Or the same command again.
        rekey::rekey(&other_place, place.keys(), new()).expect("done");
        read_all(&other_place, new()).expect("no peer is lost");
        assert!(other_place.join("peers/notes.txt").exists());
    }
    assert!(
        old_opened > 3 && new_opened > 3,
        "{old_opened} {new_opened}"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_and_the_others_are_done() {
    let place = place_with_new_key();
    let torn = fs::read(place.peer_path("firstpeer")).expect("read");
    fs::write(place.peer_path("firstpeer"), &torn[..torn.len() / 2]).expect("written");
    let outcome = rekey(&place).expect("done");
    assert_eq!(
        (outcome.peers, outcome.unusable, outcome.set_aside),
        (2, 1, 1)
    );
    fs::rename(new_key_path(place.dir.path()), place.key_path()).expect("renamed");
    decoder::must_agree_on(&place);
    let kept = fs::read(place.vault_path().join("set-aside/firstpeer.rekey.age")).expect("kept");
    assert_eq!(kept, &torn[..torn.len() / 2]);
}

#[test]
fn what_others_put_there_stays_where_it_is() {
    let place = place_with_new_key();
    let peers = place.vault_path().join("peers");
    let strange = [OsStr::from_bytes(b"\xfe.age"), OsStr::new("notes.txt")];
    for name in strange {
        fs::write(peers.join(name), b"theirs").expect("written");
    }
    fs::create_dir_all(peers.join(".tmp-folder/within")).expect("made");
    let outcome = rekey(&place).expect("done");
    assert_eq!(
        (outcome.peers, outcome.unusable, outcome.set_aside),
        (3, 0, 0)
    );
    for name in strange {
        assert_eq!(fs::read(peers.join(name)).expect("there"), b"theirs");
    }
    assert!(peers.join(".tmp-folder/within").is_dir());
    read_all(&place.vault_path(), load(&new_key_path(place.dir.path()))).expect("all of them");
}

#[test]
fn a_key_file_that_does_not_open_the_vault_or_a_server_that_runs_stops_it() {
    let place = place_with_new_key();
    let before = place.files();
    let (other, another) = (Place::new(), Place::new());
    let error =
        rekey::rekey(&place.vault_path(), other.keys(), another.keys()).expect_err("refused");
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
    let nowhere = rekey::rekey(&place.dir.path().join("none"), place.keys(), other.keys())
        .expect_err("refused");
    assert!(matches!(nowhere, VaultError::NotAFolder(_)), "{nowhere}");
    let server = place.open();
    let error = rekey(&place).expect_err("refused");
    assert!(matches!(error, VaultError::InUse(_)), "{error}");
    assert_eq!(place.files(), before);
    drop(server);
    read_all(&place.vault_path(), place.keys()).expect("as it was");
}

/// The key file with the new identity in front of the old one.
fn both_keys(place: &Place) -> KeyFile {
    let new = fs::read_to_string(new_key_path(place.dir.path())).expect("read");
    let both = place.dir.path().join("both.txt");
    fs::copy(place.key_path(), &both).expect("copied");
    let old = fs::read_to_string(place.key_path()).expect("read");
    fs::write(&both, new + &old).expect("written");
    load(&both)
}

#[test]
fn a_vault_in_use_takes_a_changed_key_file() {
    let place = place_with_new_key();
    let opened = place.open();
    assert!(
        opened
            .reader
            .read(&ufrag("firstpeer"))
            .expect("read")
            .is_some()
    );
    assert!(
        opened
            .reader
            .read(&ufrag("secondpeer"))
            .expect("read")
            .is_some()
    );
    let outcome = opened.vault.rotate(both_keys(&place)).expect("rotated");
    assert_eq!((outcome.peers, outcome.unusable), (3, 0));
    // Goes on writing.
    opened
        .vault
        .save(&record("thirdpeer"), now())
        .expect("saved");
    assert_eq!(
        opened
            .vault
            .rotate(both_keys(&place))
            .expect("nothing to do")
            .peers,
        3
    );
    drop(opened);
    assert!(matches!(place.try_open(), Err(VaultError::WrongKey(_))));
    let new = load(&new_key_path(place.dir.path()));
    assert_eq!(
        Vault::open(&place.vault_path(), new, now())
            .expect("opens")
            .boot,
        3
    );
    read_all(&place.vault_path(), load(&new_key_path(place.dir.path())))
        .expect("the new identity alone opens all");
}

#[test]
fn a_vault_in_use_refuses_a_key_file_that_does_not_open_it() {
    let place = place_with_new_key();
    let opened = place.open();
    let error = opened
        .vault
        .rotate(load(&new_key_path(place.dir.path())))
        .expect_err("refused");
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
    opened
        .vault
        .save(&record("firstpeer"), now())
        .expect("saved");
    drop(opened);
    read_all(&place.vault_path(), place.keys()).expect("as it was");
}

#[test]
fn peers_saved_while_the_keys_change_are_not_lost() {
    let place = place_with_new_key();
    let opened = place.open();
    std::thread::scope(|scope| {
        let saving = scope.spawn(|| {
            for _ in 0..30 {
                for name in PEERS {
                    opened.vault.save(&record(name), now()).expect("saved");
                }
            }
        });
        while !saving.is_finished() {
            opened.vault.rotate(both_keys(&place)).expect("rotated");
        }
    });
    opened.vault.rotate(both_keys(&place)).expect("rotated");
    drop(opened);
    read_all(&place.vault_path(), load(&new_key_path(place.dir.path())))
        .expect("all under the new identity");
}
