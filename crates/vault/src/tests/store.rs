use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_record_comes_back_in_the_next_boot_as_it_was() {
    let place = Place::with_peers(&["abcdefgh", "ABCDEFGH"]);
    let opened = place.open();
    assert_eq!(opened.reader.len(), 2);
    for name in ["abcdefgh", "ABCDEFGH"] {
        assert_eq!(
            opened.reader.read(&ufrag(name)).expect("read"),
            Some(record(name))
        );
        // Once only.
        assert_eq!(opened.reader.read(&ufrag(name)).expect("read"), None);
    }
    assert!(opened.reader.is_empty());
    assert_eq!(opened.reader.read(&ufrag("never1234")).expect("read"), None);
}

#[test]
fn the_last_write_of_a_record_wins() {
    let place = Place::with_peers(&["abcdefgh"]);
    let opened = place.open();
    let changed = PeerRecord {
        role: Role::Publisher,
        offer: "v=0\r\nmoved\r\n".into(),
        ..record("abcdefgh")
    };
    opened.vault.save(&changed, now()).expect("saved");
    drop(opened);
    assert_eq!(
        place.open().reader.read(&ufrag("abcdefgh")).expect("read"),
        Some(changed)
    );
}

#[test]
fn a_removed_record_is_gone() {
    let place = Place::with_peers(&["abcdefgh", "ijklmnop"]);
    let opened = place.open();
    assert!(opened.vault.remove(&ufrag("abcdefgh")).expect("removed"));
    assert!(
        !opened
            .vault
            .remove(&ufrag("abcdefgh"))
            .expect("nothing to remove")
    );
    drop(opened);
    let opened = place.open();
    assert_eq!(opened.reader.names(), [ufrag("ijklmnop")]);
}

#[test]
fn the_first_run_makes_a_private_vault_and_the_identity_stays_for_good() {
    let place = Place::new();
    let first = place.open();
    assert!(first.first_run);
    assert_eq!(first.boot, 1);
    assert_eq!(place.files(), ["identity.age", "lock", "peers"]);
    for name in ["", "identity.age", "lock", "peers"] {
        let mode = fs::metadata(place.vault_path().join(name))
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let certificate = first.identity.certificate_der().to_vec();
    let key = first.identity.private_key_der().to_vec();
    drop(first);
    let second = place.open();
    assert!(!second.first_run);
    assert_eq!(second.identity.certificate_der(), certificate);
    assert_eq!(second.identity.private_key_der(), key);
}

#[test]
fn boots_are_counted_once_they_are_durable() {
    let place = Place::new();
    assert_eq!(place.open().boot, 1);
    assert_eq!(place.open().boot, 2);
    // That one died before its number was durable, so the next has the same.
    let opened = place.open();
    assert_eq!(opened.boot, 2);
    opened.vault.commit_boot().expect("committed");
    let written = fs::metadata(place.vault_path().join("identity.age"))
        .expect("metadata")
        .modified()
        .expect("a time");
    opened.vault.commit_boot().expect("nothing to do");
    let again = fs::metadata(place.vault_path().join("identity.age"))
        .expect("metadata")
        .modified()
        .expect("a time");
    assert_eq!(written, again);
    drop(opened);
    assert_eq!(place.open().boot, 3);
}

#[test]
fn no_record_is_ahead_of_the_identity() {
    let place = Place::with_peers(&[]);
    let opened = place.open();
    assert_eq!(opened.boot, 2);
    // Nobody called commit_boot: saving does.
    opened
        .vault
        .save(&record("abcdefgh"), now())
        .expect("saved");
    drop(opened);
    let opened = place.open();
    assert_eq!(opened.boot, 3);
    assert!(
        opened
            .reader
            .read(&ufrag("abcdefgh"))
            .expect("read")
            .is_some()
    );
}

#[test]
fn a_record_that_is_ahead_of_the_identity_is_reported_and_stays_where_it_is() {
    let place = Place::with_peers(&["beforehand"]);
    let old = fs::read(place.vault_path().join("identity.age")).expect("read");
    place
        .open()
        .vault
        .save(&record("afterwards"), now())
        .expect("saved");
    fs::write(place.vault_path().join("identity.age"), old).expect("written");
    // However often it is tried: nothing is written before all records have been read.
    for _ in 0..3 {
        let opened = place.open();
        assert!(
            opened
                .reader
                .read(&ufrag("beforehand"))
                .expect("read")
                .is_some()
        );
        let error = opened
            .reader
            .read(&ufrag("afterwards"))
            .expect_err("rolled back");
        assert!(
            matches!(
                error,
                VaultError::RolledBack {
                    identity: 1,
                    record: 2,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(place.files().contains(&"peers/afterwards.age".to_owned()));
}

#[test]
fn derived_keys_are_the_same_in_every_boot_and_under_every_key_file() {
    let place = Place::with_peers(&[]);
    let opened = place.open();
    let tag = |opened: &Opened, info: &[u8]| opened.identity.mac_key(info).tag(&[b"abcdefgh"]);
    let first = tag(&opened, b"one");
    assert_ne!(first, tag(&opened, b"another"));
    assert_ne!(first, tag(&Place::new().open(), b"one"));
    drop(opened);
    put_new_identity_in_front(&place);
    assert_eq!(first, tag(&place.open(), b"one"));
}

/// By HKDF and HMAC of another make: URLs of sessions are right after an upgrade too.
#[test]
fn a_derived_key_is_what_the_rfcs_say() {
    let key = Identity::from_der(b"", b"a private key").mac_key(b"session tag");
    let tag = [
        0xc4, 0x72, 0x6f, 0x2e, 0x60, 0x92, 0xa1, 0x0d, 0x05, 0xf2, 0x92, 0x92, 0x1f, 0x4c, 0x5d,
        0x4f,
    ];
    assert_eq!(key.tag(&[b"Vabcdefgh", b"0123456"])[..16], tag);
}

/// As an operator rotates keys: the new identity first, the old one stays to decrypt. Returns the
/// old text.
fn put_new_identity_in_front(place: &Place) -> String {
    let old = fs::read_to_string(place.key_path()).expect("read");
    let new = place.dir.path().join("new-key.txt");
    KeyFile::generate(&new).expect("a key file");
    let both = fs::read_to_string(&new).expect("read") + &old;
    fs::write(place.key_path(), both).expect("written");
    old
}

#[test]
fn keys_rotate_by_adding_one_in_front() {
    let place = Place::with_peers(&["olderpeer"]);
    put_new_identity_in_front(&place);
    let opened = place.open();
    assert!(
        opened
            .reader
            .read(&ufrag("olderpeer"))
            .expect("read")
            .is_some()
    );
    opened
        .vault
        .save(&record("newerpeer"), now())
        .expect("saved");
    drop(opened);
    decoder::must_agree_on(&place);

    // Without the old identity: the server's identity and the newer peer are under the new one
    // already.
    fs::rename(place.dir.path().join("new-key.txt"), place.key_path()).expect("renamed");
    let opened = place.open();
    assert!(
        opened
            .reader
            .read(&ufrag("newerpeer"))
            .expect("read")
            .is_some()
    );
    assert_eq!(opened.reader.read(&ufrag("olderpeer")).expect("read"), None);
}

#[test]
fn the_wrong_key_file_changes_nothing() {
    let place = Place::with_peers(&["abcdefgh"]);
    fs::write(place.vault_path().join(".tmp-1-1"), b"left behind").expect("written");
    let other = Place::new();
    let before = place.files();
    let error = Vault::open(&place.vault_path(), other.keys(), now()).expect_err("refused");
    assert!(matches!(error, VaultError::WrongKey(_)), "{error}");
    assert_eq!(place.files(), before);
    assert!(
        place
            .open()
            .reader
            .read(&ufrag("abcdefgh"))
            .expect("read")
            .is_some()
    );
}

#[test]
fn a_vault_is_not_made_among_other_files() {
    let place = Place::new();
    fs::create_dir(place.vault_path()).expect("a folder");
    fs::write(place.vault_path().join("thesis.tex"), b"").expect("written");
    let error = place.try_open().expect_err("refused");
    assert!(
        matches!(&error, VaultError::NotEmpty { found, .. } if found == "thesis.tex"),
        "{error}"
    );
    assert_eq!(place.files(), ["thesis.tex"]);
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let place = Place::with_peers(&[]);
    for folder in [place.vault_path(), place.vault_path().join("peers")] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o720)).expect("permissions");
        let error = place.try_open().expect_err("refused");
        assert!(
            matches!(error, VaultError::WritableByOthers { mode: 0o720, .. }),
            "{error}"
        );
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("permissions");
    }
}

#[test]
fn what_is_no_folder_or_has_no_parent_is_refused() {
    let place = Place::new();
    let error = Vault::open(&place.key_path(), place.keys(), now()).expect_err("refused");
    assert!(matches!(error, VaultError::NotAFolder(_)), "{error}");
    let error =
        Vault::open(&place.dir.path().join("a/b"), place.keys(), now()).expect_err("refused");
    assert!(matches!(error, VaultError::NotAFolder(_)), "{error}");
}

#[test]
fn temporary_files_of_a_killed_process_are_removed() {
    let place = Place::with_peers(&["abcdefgh"]);
    fs::write(place.vault_path().join(".tmp-77-0"), b"half").expect("written");
    fs::write(place.vault_path().join("peers/.tmp-77-1"), b"half").expect("written");
    let opened = place.open();
    assert_eq!(
        place.files(),
        ["identity.age", "lock", "peers", "peers/abcdefgh.age"]
    );
    assert!(
        opened
            .reader
            .read(&ufrag("abcdefgh"))
            .expect("read")
            .is_some()
    );
}

#[test]
fn a_record_that_would_not_be_read_back_is_not_written() {
    let place = Place::with_peers(&[]);
    let opened = place.open();
    let unfit = [
        PeerRecord {
            channel: String::new(),
            ..record("abcdefgh")
        },
        PeerRecord {
            channel: "a\nb".into(),
            ..record("abcdefgh")
        },
        PeerRecord {
            offer: "v".repeat(96 * 1024 + 1),
            ..record("abcdefgh")
        },
        PeerRecord {
            answer: "v=0\0".into(),
            ..record("abcdefgh")
        },
        PeerRecord {
            ice: IceCredentials {
                ufrag: ufrag("abcdefgh"),
                pwd: IcePassword::new("short".into()),
            },
            ..record("abcdefgh")
        },
    ];
    for record in &unfit {
        assert!(matches!(
            opened.vault.save(record, now()),
            Err(VaultError::Unfit(_))
        ));
    }
    assert!(!place.peer_path("abcdefgh").exists());
    let largest = "v".repeat(96 * 1024);
    let largest = PeerRecord {
        offer: largest.clone(),
        answer: largest,
        ..record("abcdefgh")
    };
    opened.vault.save(&largest, now()).expect("saved");
    drop(opened);
    assert_eq!(
        place.open().reader.read(&ufrag("abcdefgh")).expect("read"),
        Some(largest)
    );
}

#[test]
fn the_certificate_is_valid_now_and_says_nothing_about_the_server() {
    let opened = Place::new().open();
    let der = opened.identity.certificate_der();
    // rcgen reads it back as the key's own: the public key is in it.
    let key = rcgen::KeyPair::try_from(opened.identity.private_key_der()).expect("PKCS#8");
    let public = key.public_key_raw();
    assert!(der.windows(public.len()).any(|w| w == public));
    let (serial, subject) = identity::names_of_key(public);
    assert!(der.windows(serial.len()).any(|w| w == serial));
    assert_eq!(
        der.windows(subject.len())
            .filter(|w| *w == subject.as_bytes())
            .count(),
        2,
        "issuer and subject"
    );
    // 2.5.4.3 is commonName.
    assert!(!der.windows(3).any(|w| w == [0x55, 0x04, 0x03]));
    let text = String::from_utf8_lossy(der);
    assert!(
        text.contains("270113000000Z") && text.contains("20570107000000Z"),
        "{text}"
    );
}

#[test]
fn fingerprints_are_hashes_of_the_certificate() {
    let identity = Identity::from_der(b"abc", b"");
    let hex = |hash| rekindle_ids::hex::encode(&identity.fingerprint(hash));
    assert_eq!(
        hex(FingerprintHash::Sha256),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert!(hex(FingerprintHash::Sha384).starts_with("cb00753f45a35e8b"));
    assert!(hex(FingerprintHash::Sha512).starts_with("ddaf35a193617aba"));
}

#[test]
fn nothing_printable_leads_to_a_person_or_a_key() {
    let place = Place::with_peers(&["abcdefgh"]);
    let opened = place.open();
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        record("abcdefgh"),
        opened.vault,
        opened.identity,
        opened.reader
    );
    for secret in ["abcdefgh", "pppp", "192.0.2.1", "candidate", "AGE-SECRET"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_files_show_nothing_of_their_content() {
    let place = Place::with_peers(&["abcdefgh"]);
    for name in ["identity.age", "peers/abcdefgh.age"] {
        let bytes = fs::read(place.vault_path().join(name)).expect("read");
        for secret in [
            &b"abcdefgh"[..],
            b"pppp",
            b"lobby",
            b"candidate",
            b"rekindle",
        ] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{name}");
        }
    }
}

#[test]
fn many_threads_save_and_remove_at_once() {
    let place = Place::with_peers(&[]);
    let opened = place.open();
    let names: Vec<String> = (0..40).map(|n| format!("peernumber{n}")).collect();
    std::thread::scope(|scope| {
        for part in names.chunks(10) {
            let vault = &opened.vault;
            scope.spawn(move || {
                for (n, name) in part.iter().enumerate() {
                    vault.save(&record(name), now()).expect("saved");
                    vault.save(&record("sharedpeer"), now()).expect("saved");
                    if n % 2 == 0 {
                        vault.remove(&ufrag(name)).expect("removed");
                    }
                }
            });
        }
    });
    drop(opened);
    let opened = place.open();
    let found: BTreeSet<_> = opened
        .reader
        .names()
        .into_iter()
        .map(|n| n.as_str().to_owned())
        .collect();
    let kept = names
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 10 % 2 == 1)
        .map(|(_, name)| name.clone());
    assert_eq!(found, kept.chain(["sharedpeer".to_owned()]).collect());
}
