//! The auditor, on vaults that are clean and on vaults that are not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::audit::{Class, Lock, MacVerdict, Options, Report, Verdict, audit};
use super::super::record::{Header, Kind};
use super::super::seal::{SealingKey, decrypt, seal_peer};
use super::*;

const PEER: &str = "peers/somebody00.age";

fn options(place: &Place) -> Options {
    Options {
        target: place.vault_path(),
        key_file: Some(place.key_path()),
        ..Options::default()
    }
}

/// Audits; of a vault, the independent decoder must say the same.
fn look(options: &Options) -> Report {
    let report = audit(options, &mut &b""[..], now()).expect("could look");
    decoder::must_agree(&report, options);
    report
}

fn codes(report: &Report) -> Vec<(&str, &str)> {
    report.findings.iter().map(|f| (f.code, f.file.as_str())).collect()
}

/// Spoils a clean vault; expects these findings, and that the audit changes nothing.
fn finds(expected: &[(&str, &str)], spoil: impl FnOnce(&Place)) -> Report {
    let place = Place::with_peers(&["somebody00", "elsebody00"]);
    assert_eq!(codes(&look(&options(&place))), []);
    spoil(&place);
    let before = place.files();
    let report = look(&options(&place));
    let mut found = codes(&report);
    found.sort_unstable();
    assert_eq!(found, expected, "{:#?}", report.findings);
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(place.files(), before);
    report
}

fn plaintext_of(place: &Place, path: &str) -> Vec<u8> {
    let file = fs::read(place.vault_path().join(path)).expect("read");
    decrypt(&place.keys().keys, &file).expect("decrypts").0.to_vec()
}

/// Puts a changed content with a right MAC into a peer's place, as whoever has the key file can.
fn reseal(place: &Place, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = plaintext_of(place, PEER);
    content.truncate(content.len() - 32);
    change(&mut content);
    let sealed = place.keys().keys[0].sealing().seal_with_mac(PEER, &content);
    fs::write(place.vault_path().join(PEER), sealed).expect("written");
}

#[test]
fn a_clean_vault_has_a_clean_report_that_accounts_for_every_byte() {
    let place = Place::with_peers(&["somebody00", "elsebody00"]);
    let report = look(&options(&place));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Clean, vec![]));
    let vault = report.vault.as_ref().expect("a vault");
    assert_eq!((vault.boot, vault.peers, vault.lock), (Some(1), 2, Lock::Free));
    assert_eq!(vault.recipients.iter().map(|r| r.files).collect::<Vec<_>>(), [3]);
    for file in report.files.iter().filter(|f| f.age.is_some()) {
        let (age, content) = (file.age.as_ref().expect("age"), file.content.as_ref().expect("content"));
        let outside = age.header_bytes + age.nonce_bytes + age.plaintext_bytes + age.tag_bytes;
        assert_eq!(outside as u64, file.size);
        let mut at = 0;
        for item in &content.items {
            assert_eq!(item.offset, at, "no gap and no overlap");
            at += item.length;
        }
        assert_eq!(at, age.plaintext_bytes);
        assert_eq!(content.mac, MacVerdict::Right);
        assert_eq!(content.boot, Some(1));
    }
    assert_eq!(report.totals["long-lived-secret"], 32);
    assert_eq!(report.totals["forbidden"] + report.totals["unaccounted"], 0);
}

#[test]
fn values_are_shown_only_when_asked_for() {
    let place = Place::with_peers(&["somebody00"]);
    let secret = super::super::identity::hex(place.open().identity.private_key_der().split_at(36).1.split_at(32).0);
    let hidden = serde_json::to_string(&look(&options(&place))).expect("JSON");
    let shown = serde_json::to_string(&look(&Options {
        reveal: true,
        ..options(&place)
    }))
    .expect("JSON");
    for value in ["192.0.2.1", "pppppppp", "lobby", &secret] {
        assert!(!hidden.contains(value), "{value}");
        assert!(shown.contains(value), "{value}");
    }
    // The same value has the same hash under one key file, and another under another.
    let hash = |place: &Place| {
        let report = look(&options(place));
        let file = report
            .files
            .iter()
            .find(|f| f.path == PEER)
            .expect("the peer")
            .content
            .clone()
            .expect("content");
        file.items
            .into_iter()
            .find(|i| i.field == "ice.pwd")
            .expect("the item")
            .value
    };
    assert_eq!(hash(&place), hash(&place));
    assert_ne!(hash(&place), hash(&Place::with_peers(&["somebody00"])));
}

#[test]
fn without_a_key_the_outside_is_judged() {
    let place = Place::with_peers(&["somebody00"]);
    let outside = Options {
        key_file: None,
        ..options(&place)
    };
    let report = look(&outside);
    assert_eq!(report.verdict, Verdict::Clean);
    let peer = report.files.iter().find(|f| f.path == PEER).expect("the peer");
    let age = peer.age.as_ref().expect("age");
    assert_eq!(age.stanzas[0].kind, "X25519");
    assert!(peer.content.is_none());

    fs::write(place.vault_path().join(PEER), b"hello").expect("written");
    assert_eq!(codes(&look(&outside)), [("not-age", PEER)]);
}

#[test]
fn damage_of_every_kind_is_found() {
    let path = |place: &Place| place.vault_path().join(PEER);
    finds(&[("cannot-open", PEER)], |place| {
        let file = fs::read(path(place)).expect("read");
        fs::write(path(place), &file[..file.len() - 1]).expect("written");
    });
    finds(&[("not-age", PEER)], |place| {
        fs::write(path(place), b"").expect("written")
    });
    finds(&[("cannot-open", PEER)], |place| {
        let other = Place::with_peers(&["somebody00"]);
        fs::copy(path(&other), path(place)).expect("copied");
    });
    finds(&[("mac", PEER)], |place| {
        let recipient = place.keys().recipients().next().expect("one");
        let header = Header::new(Kind::Peer, 1, 1_800_000_000);
        let forged = seal_peer(&SealingKey::forger(&recipient), PEER, &header, &record("somebody00"));
        fs::write(path(place), forged).expect("written");
    });
    finds(&[("mac", PEER), ("name", PEER)], |place| {
        fs::copy(place.peer_path("elsebody00"), path(place)).expect("copied");
    });
    finds(&[("mac", PEER), ("name", PEER), ("name", PEER)], |place| {
        fs::copy(place.vault_path().join("identity.age"), path(place)).expect("copied");
    });
    finds(&[("too-large", PEER)], |place| {
        fs::write(path(place), vec![0; 300_000]).expect("written")
    });
    finds(&[("hard-link", PEER)], |place| {
        fs::hard_link(path(place), place.dir.path().join("link")).expect("linked");
    });
    finds(&[("not-regular", PEER)], |place| {
        fs::rename(path(place), place.dir.path().join("moved")).expect("moved");
        symlink(place.dir.path().join("moved"), path(place)).expect("linked");
    });
    finds(&[("cannot-open", "identity.age")], |place| {
        let identity = place.vault_path().join("identity.age");
        let file = fs::read(&identity).expect("read");
        fs::write(&identity, &file[..file.len() - 1]).expect("written");
    });
    finds(&[("identity-missing", "identity.age")], |place| {
        fs::remove_file(place.vault_path().join("identity.age")).expect("removed");
    });
}

#[test]
fn bytes_that_mean_nothing_are_found() {
    let report = finds(&[("unaccounted", PEER)], |place| {
        reseal(place, |content| content.push(0))
    });
    assert!(report.totals["unaccounted"] > 100);
    finds(&[("unaccounted", PEER)], |place| {
        reseal(place, |content| drop(content.splice(10..11, [251, 1, 0])))
    });
    finds(&[("unaccounted", PEER)], |place| {
        reseal(place, |content| {
            let at = content.windows(5).position(|w| w == b"a=can").expect("found");
            content[at + 1] = b':';
        });
    });
    finds(&[("not-ours", PEER)], |place| reseal(place, |content| content[0] = 0));
    finds(&[("schema", PEER)], |place| reseal(place, |content| content[8] = 9));
    finds(&[("not-ours", PEER)], |place| reseal(place, Vec::clear));
    finds(&[("unfit", PEER)], |place| {
        reseal(place, |content| {
            let at = content.windows(5).position(|w| w == b"lobby").expect("found");
            content[at] = 7;
        });
    });
}

#[test]
fn session_keys_are_found() {
    let report = finds(&[("forbidden", PEER)], |place| {
        reseal(place, |content| content[9] |= 0x80)
    });
    assert!(report.totals["forbidden"] > 100);
    let report = finds(&[("forbidden", PEER)], |place| {
        reseal(place, |content| {
            // An attribute as long as another that is there, so that the lengths stay.
            let at = content.windows(11).position(|w| w == b"a=candidate").expect("found");
            content[at..at + 11].copy_from_slice(b"a=crypto:1 ");
        });
    });
    let line = record("somebody00").offer.lines().last().expect("a line").len() + 2;
    assert_eq!(report.totals["forbidden"], line as u64, "the line, and nothing else");
}

#[test]
fn an_identity_that_this_program_did_not_make_is_found() {
    let place = Place::with_peers(&[]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["example.org".into()]).expect("parameters");
    let certificate = certificate.self_signed(&key).expect("signed");
    let identity = Identity::from_der(certificate.der(), key.serialized_der());
    let header = Header::new(Kind::Identity, 1, 1_800_000_000);
    let sealing = place.keys().keys[0].sealing();
    let sealed = super::super::seal::seal_identity(&sealing, "identity.age", &header, &identity.record());
    fs::write(place.vault_path().join("identity.age"), sealed).expect("written");
    let report = look(&options(&place));
    assert_eq!(codes(&report), [("certificate", "identity.age")]);
    assert!(
        report.totals["long-lived-secret"] > 100,
        "the private key is one piece then"
    );
}

#[test]
fn a_rolled_back_identity_is_found() {
    let place = Place::with_peers(&["beforehand"]);
    let old = fs::read(place.vault_path().join("identity.age")).expect("read");
    place.open().vault.save(&record("somebody00"), now()).expect("saved");
    assert_eq!(codes(&look(&options(&place))), []);
    fs::write(place.vault_path().join("identity.age"), old).expect("written");
    assert_eq!(codes(&look(&options(&place))), [("rolled-back", PEER)]);
}

#[test]
fn what_does_not_belong_there_is_found() {
    finds(
        &[("stray", "notes.txt"), ("stray", "peers/..age"), ("stray", "peers/x")],
        |place| {
            for name in ["notes.txt", "peers/x", "peers/..age"] {
                fs::write(place.vault_path().join(name), b"").expect("written");
                fs::set_permissions(place.vault_path().join(name), fs::Permissions::from_mode(0o600)).expect("mode");
            }
        },
    );
    finds(&[("temporary", ".tmp-1-1")], |place| {
        fs::write(place.vault_path().join(".tmp-1-1"), b"").expect("written");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.vault_path().join(".tmp-1-1"), mode).expect("mode");
    });
    finds(&[("unaccounted", "lock")], |place| {
        fs::write(place.vault_path().join("lock"), b"x").expect("written")
    });
    finds(&[("readable-by-others", "peers")], |place| {
        fs::set_permissions(place.vault_path().join("peers"), fs::Permissions::from_mode(0o750)).expect("mode");
    });
    finds(&[("writable-by-others", PEER)], |place| {
        fs::set_permissions(place.vault_path().join(PEER), fs::Permissions::from_mode(0o622)).expect("mode");
    });
    finds(
        &[
            ("cannot-open", "set-aside/somebody00.2.age"),
            ("set-aside", "set-aside/somebody00.2.age"),
        ],
        |place| {
            let file = fs::read(place.vault_path().join(PEER)).expect("read");
            fs::write(place.vault_path().join(PEER), &file[..file.len() - 1]).expect("written");
            assert_eq!(place.open().reader.read(&ufrag("somebody00")).expect("read"), None);
        },
    );
    finds(&[("interrupted-rekey", "rekey")], |place| {
        fs::create_dir(place.vault_path().join("rekey")).expect("made");
        fs::set_permissions(place.vault_path().join("rekey"), fs::Permissions::from_mode(0o700)).expect("mode");
    });
}

#[test]
fn extended_attributes_are_found() {
    let place = Place::with_peers(&["somebody00"]);
    let path = place.vault_path().join(PEER);
    let set = rustix::fs::setxattr(&path, "user.note", b"hidden", rustix::fs::XattrFlags::empty());
    if let Err(error) = set {
        println!("skipped: this file system takes no extended attributes: {error}");
        return;
    }
    assert_eq!(codes(&look(&options(&place))), [("attribute", PEER)]);
}

#[test]
fn other_recipients_and_strange_stanzas_are_found() {
    let place = Place::with_peers(&["somebody00"]);
    let plaintext = plaintext_of(&place, PEER);
    let ours: age::x25519::Recipient = place
        .keys()
        .recipients()
        .next()
        .expect("one")
        .parse()
        .expect("a recipient");
    let theirs = age::x25519::Identity::generate().to_public();
    let recipients = [&ours as &dyn age::Recipient, &theirs];
    let mut file = Vec::new();
    let encryptor = age::Encryptor::with_recipients(recipients.into_iter()).expect("two recipients");
    let mut writer = encryptor.wrap_output(&mut file).expect("written");
    std::io::Write::write_all(&mut writer, &plaintext).expect("written");
    writer.finish().expect("written");
    fs::write(place.vault_path().join(PEER), file).expect("written");
    assert_eq!(codes(&look(&options(&place))), [("stanza", PEER)]);
    // Only the auditor minds: the record is ours and right.
    assert!(place.open().reader.read(&ufrag("somebody00")).expect("read").is_some());
}

#[test]
fn a_vault_in_use_is_clean_and_said_to_be_in_use() {
    let place = Place::with_peers(&["somebody00"]);
    let opened = place.open();
    let report = look(&options(&place));
    assert_eq!(
        (report.verdict, report.vault.expect("a vault").lock),
        (Verdict::Clean, Lock::Held)
    );
    // And the lock is still the server's.
    opened.vault.save(&record("somebody00"), now()).expect("saved");
    assert_eq!(look(&options(&place)).vault.expect("a vault").lock, Lock::Held);
}

#[test]
fn files_under_an_old_key_are_told() {
    let place = Place::with_peers(&["somebody00"]);
    let old = fs::read_to_string(place.key_path()).expect("read");
    let new = place.dir.path().join("new.txt");
    KeyFile::generate(&new).expect("made");
    fs::write(place.key_path(), fs::read_to_string(&new).expect("read") + &old).expect("written");
    place.open().vault.save(&record("elsebody00"), now()).expect("saved");
    let report = look(&options(&place));
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(
        report.notes.iter().map(|n| (n.code, &*n.file)).collect::<Vec<_>>(),
        [("old-key", PEER)]
    );
    assert_eq!(
        report
            .vault
            .expect("a vault")
            .recipients
            .iter()
            .map(|r| r.files)
            .collect::<Vec<_>>(),
        [2, 1]
    );
}

#[test]
fn one_file_and_a_plaintext_are_judged_by_themselves() {
    let place = Place::with_peers(&["somebody00"]);
    for (path, name) in [(PEER, PEER), ("identity.age", "identity.age")] {
        // Under its own name, and under any other, when the content says which it had.
        let copy = place.dir.path().join("copy.bin");
        fs::copy(place.vault_path().join(path), &copy).expect("copied");
        for target in [place.vault_path().join(path), copy] {
            let report = look(&Options {
                target,
                ..options(&place)
            });
            assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
            let content = report.files[0].content.as_ref().expect("content");
            assert_eq!((content.mac, content.name.as_deref()), (MacVerdict::Right, Some(name)));
        }
        let plaintext = plaintext_of(&place, path);
        let stdin = Options {
            target: "-".into(),
            ..options(&place)
        };
        let report = audit(&stdin, &mut &plaintext[..], now()).expect("could look");
        assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
        assert_eq!(
            report.files[0].content.as_ref().expect("content").mac,
            MacVerdict::Right
        );
        let unkeyed = audit(
            &Options {
                key_file: None,
                ..stdin.clone()
            },
            &mut &plaintext[..],
            now(),
        )
        .expect("looked");
        assert_eq!(
            unkeyed.files[0].content.as_ref().expect("content").mac,
            MacVerdict::Unchecked
        );
        let named = Options {
            name: Some("peers/another000.age".into()),
            ..stdin
        };
        let report = audit(&named, &mut &plaintext[..], now()).expect("could look");
        assert_eq!(codes(&report), [("name", "-"), ("mac", "-")]);
    }
}

#[test]
fn any_plaintext_is_accounted_for_or_found_and_nothing_panics() {
    let place = Place::with_peers(&["somebody00"]);
    let stdin = Options {
        target: "-".into(),
        key_file: None,
        ..options(&place)
    };
    let peer = plaintext_of(&place, PEER);
    let identity = plaintext_of(&place, "identity.age");
    let mut changed = Vec::new();
    for plaintext in [&peer, &identity] {
        changed.extend((0..plaintext.len()).map(|n| plaintext[..n].to_vec()));
        for position in 0..plaintext.len() {
            for value in [0, 0x7f, 0xfb, 0xfd, 0xff] {
                let mut copy = plaintext.clone();
                copy[position] = value;
                changed.push(copy);
            }
        }
    }
    for plaintext in changed {
        let report = audit(&stdin, &mut &plaintext[..], now()).expect("could look");
        let content = report.files[0].content.as_ref().expect("content");
        assert_eq!(content.items.iter().map(|i| i.length).sum::<usize>(), plaintext.len());
        let strange = content.items.iter().any(|i| i.class >= Class::Forbidden);
        assert!(!strange || report.verdict == Verdict::Findings);
    }
}

#[test]
fn what_cannot_be_looked_at_is_an_error_and_no_verdict() {
    let place = Place::with_peers(&["somebody00"]);
    let other = Place::new();
    for (options, text) in [
        (
            Options {
                key_file: Some(other.key_path()),
                ..options(&place)
            },
            "does not open",
        ),
        (
            Options {
                key_file: Some(place.dir.path().join("none")),
                ..options(&place)
            },
            "there is no key file",
        ),
        (
            Options {
                target: place.dir.path().join("none"),
                ..options(&place)
            },
            "cannot read",
        ),
    ] {
        let error = audit(&options, &mut &b""[..], now()).expect_err("no verdict");
        assert!(error.to_string().contains(text), "{error}");
    }
    let code = |options: &Options| format!("{:?}", super::super::audit::run(options));
    let expected = |n: u8| format!("{:?}", std::process::ExitCode::from(n));
    assert_eq!(code(&options(&place)), expected(0));
    assert_eq!(
        code(&Options {
            json: true,
            ..options(&place)
        }),
        expected(0)
    );
    assert_eq!(
        code(&Options {
            target: "/nowhere".into(),
            ..options(&place)
        }),
        expected(2)
    );
    fs::write(place.vault_path().join("stray"), b"").expect("written");
    assert_eq!(code(&options(&place)), expected(1));
}
