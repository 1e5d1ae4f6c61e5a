//! What the auditor finds in the vault's folder, whatever its files hold: strays, names, modes,
//! attributes, half-written files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use super::audit::{PEER, codes, look, options};
use super::audit_findings::finds;
use super::*;
use crate::audit::{CouldNotLook, Lock, Options, Verdict, audit};

fn put(path: &Path, mode: u32) {
    fs::write(path, b"").expect("written");
    chmod(path, mode);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
}

#[test]
fn what_does_not_belong_there_is_found() {
    finds(
        &[
            ("stray", "notes.txt"),
            ("stray", "peers/..age"),
            ("stray", "peers/x"),
        ],
        |place| {
            for name in ["notes.txt", "peers/x", "peers/..age"] {
                put(&place.vault_path().join(name), 0o600);
            }
        },
    );
    finds(&[("temporary", ".tmp-1-1")], |place| {
        put(&place.vault_path().join(".tmp-1-1"), 0o600);
    });
    finds(&[("unaccounted", "lock")], |place| {
        fs::write(place.vault_path().join("lock"), b"x").expect("written")
    });
    finds(&[("readable-by-others", "peers")], |place| {
        chmod(&place.vault_path().join("peers"), 0o750);
    });
    finds(&[("writable-by-others", PEER)], |place| {
        chmod(&place.vault_path().join(PEER), 0o622);
    });
    finds(
        &[
            ("cannot-open", "set-aside/somebody00.2.age"),
            ("set-aside", "set-aside/somebody00.2.age"),
        ],
        |place| {
            let file = fs::read(place.vault_path().join(PEER)).expect("read");
            fs::write(place.vault_path().join(PEER), &file[..file.len() - 1]).expect("written");
            assert_eq!(
                place
                    .open()
                    .reader
                    .read(&ufrag("somebody00"))
                    .expect("read"),
                None
            );
        },
    );
    finds(&[("interrupted-rekey", "rekey")], |place| {
        fs::create_dir(place.vault_path().join("rekey")).expect("made");
        chmod(&place.vault_path().join("rekey"), 0o700);
    });
}

#[test]
fn extended_attributes_are_found() {
    let place = Place::with_peers(&["somebody00"]);
    let path = place.vault_path().join(PEER);
    let set = rustix::fs::setxattr(
        &path,
        "user.note",
        b"hidden",
        rustix::fs::XattrFlags::empty(),
    );
    if let Err(error) = set {
        println!("skipped: this file system takes no extended attributes: {error}");
        return;
    }
    assert_eq!(codes(&look(&options(&place))), [("attribute", PEER)]);
}

#[test]
fn a_name_that_is_no_text_is_a_stray_and_stops_nobody() {
    let named = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes));
    let spoil = |place: &Place| {
        put(&place.vault_path().join(named(b".tmp-\xff")), 0o600);
        put(
            &place.vault_path().join("peers").join(named(b"\xfe.age")),
            0o600,
        );
        put(
            &place.vault_path().join("peers").join(named(b".tmp-\xff")),
            0o600,
        );
    };
    let report = finds(
        &[
            ("stray", r".tmp-\xff"),
            ("stray", r"peers/.tmp-\xff"),
            ("stray", r"peers/\xfe.age"),
        ],
        spoil,
    );
    assert!(
        report
            .files
            .iter()
            .any(|file| file.path == r".tmp-\xff" && file.mode == "0600")
    );

    let place = Place::with_peers(&["somebody00"]);
    spoil(&place);
    assert_eq!(place.open().reader.len(), 1);
    assert_eq!(
        codes(&look(&options(&place))),
        [("stray", r"peers/\xfe.age")],
        "the start removed the others"
    );
}

#[test]
fn what_lies_in_lost_and_found_is_found() {
    let path = |place: &Place| place.vault_path().join("lost+found");
    let make = |place: &Place| {
        fs::create_dir(path(place)).expect("made");
        chmod(&path(place), 0o700);
    };
    finds(&[("not-regular", "lost+found")], |place| {
        put(&path(place), 0o600)
    });
    finds(
        &[("stray", "lost+found/#12"), ("stray", r"lost+found/\xff")],
        |place| {
            make(place);
            put(&path(place).join("#12"), 0o600);
            put(&path(place).join(OsStr::from_bytes(b"\xff")), 0o600);
        },
    );
    let place = Place::with_peers(&["somebody00"]);
    make(&place);
    let report = look(&options(&place));
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(
        report.notes.iter().map(|n| n.code).collect::<Vec<_>>(),
        ["lost-and-found"]
    );
}

#[test]
fn special_mode_bits_are_found() {
    let mode = |path: &'static str, mode: u32| {
        move |place: &Place| {
            chmod(&place.vault_path().join(path), mode);
        }
    };
    for bits in [0o4600, 0o2600, 0o1600] {
        finds(&[("special-mode", PEER)], mode(PEER, bits));
    }
    finds(&[("special-mode", "peers")], mode("peers", 0o1700));
    // Taken over from the folder that it was made in.
    let place = Place::with_peers(&["somebody00"]);
    mode("peers", 0o2700)(&place);
    assert_eq!(codes(&look(&options(&place))), []);
}

#[test]
fn attributes_that_cannot_be_listed_are_no_clean_vault() {
    let place = Place::with_peers(&["somebody00"]);
    // The folder can be opened, but names in it are longer than a path may be.
    let mut deep = place.dir.path().to_path_buf();
    while deep.as_os_str().len() < 3_800 {
        deep.push("d".repeat(200));
    }
    fs::create_dir_all(&deep).expect("made");
    deep.push("d".repeat(4_090 - deep.as_os_str().len() - 1));
    fs::rename(place.vault_path(), &deep).expect("moved");
    let options = Options {
        target: deep,
        ..options(&place)
    };
    let error = audit(&options, &mut &b""[..], now()).expect_err("no verdict");
    assert!(matches!(error, CouldNotLook::Unreadable { .. }), "{error}");
}

#[test]
fn a_file_that_a_running_server_does_not_finish_is_found() {
    let place = Place::with_peers(&["somebody00"]);
    let opened = place.open();
    let temporary = place.vault_path().join("peers/.tmp-1-1");
    put(&temporary, 0o600);
    assert_eq!(
        codes(&look(&options(&place))),
        [("temporary", "peers/.tmp-1-1")]
    );

    let finishes = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        fs::remove_file(temporary).expect("removed");
    });
    let report = look(&options(&place));
    assert_eq!(codes(&report), []);
    assert_eq!(
        report.notes.iter().map(|n| n.code).collect::<Vec<_>>(),
        ["temporary"]
    );
    assert_eq!(report.vault.expect("a vault").lock, Lock::Held);
    finishes.join().expect("removed");
    drop(opened);
}
