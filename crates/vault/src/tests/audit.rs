//! The auditor, on vaults that are clean and on vaults that are not.

use std::fs;

use super::*;
use crate::audit::{Class, Lock, MacVerdict, Options, Report, Verdict, audit};
use crate::seal::decrypt;

pub(super) const PEER: &str = "peers/somebody00.age";

pub(super) fn options(place: &Place) -> Options {
    Options {
        target: place.vault_path(),
        key_file: Some(place.key_path()),
        ..Options::default()
    }
}

/// Audits; the report must be as its schema says, and of a vault, the independent decoder must say
/// the same.
pub(super) fn look(options: &Options) -> Report {
    let report = audit(options, &mut &b""[..], now()).expect("could look");
    rekindle_testing::schema::must_fit(&serde_json::to_value(&report).expect("JSON"));
    decoder::must_agree(&report, options);
    report
}

pub(super) fn codes(report: &Report) -> Vec<(&str, &str)> {
    report
        .findings
        .iter()
        .map(|f| (f.code, f.file.as_str()))
        .collect()
}

pub(super) fn plaintext_of(place: &Place, path: &str) -> Vec<u8> {
    let file = fs::read(place.vault_path().join(path)).expect("read");
    decrypt(&place.keys().keys, &file)
        .expect("decrypts")
        .0
        .to_vec()
}

#[test]
fn a_clean_vault_has_a_clean_report_that_accounts_for_every_byte() {
    let place = Place::with_peers(&["somebody00", "elsebody00"]);
    let report = look(&options(&place));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Clean, vec![]));
    let vault = report.vault.as_ref().expect("a vault");
    assert_eq!(
        (vault.boot, vault.peers, vault.lock),
        (Some(1), 2, Lock::Free)
    );
    assert_eq!(
        vault.recipients.iter().map(|r| r.files).collect::<Vec<_>>(),
        [3]
    );
    for file in report.files.iter().filter(|f| f.age.is_some()) {
        let (age, content) = (
            file.age.as_ref().expect("age"),
            file.content.as_ref().expect("content"),
        );
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
    let secret = rekindle_ids::hex::encode(
        place
            .open()
            .identity
            .private_key_der()
            .split_at(36)
            .1
            .split_at(32)
            .0,
    );
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
    let peer = report
        .files
        .iter()
        .find(|f| f.path == PEER)
        .expect("the peer");
    let age = peer.age.as_ref().expect("age");
    assert_eq!(age.stanzas[0].kind, "X25519");
    assert!(peer.content.is_none());

    fs::write(place.vault_path().join(PEER), b"hello").expect("written");
    assert_eq!(codes(&look(&outside)), [("not-age", PEER)]);
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
    opened
        .vault
        .save(&record("somebody00"), now())
        .expect("saved");
    assert_eq!(
        look(&options(&place)).vault.expect("a vault").lock,
        Lock::Held
    );
}

#[test]
fn files_under_an_old_key_are_told() {
    let place = Place::with_peers(&["somebody00"]);
    let old = fs::read_to_string(place.key_path()).expect("read");
    let new = place.dir.path().join("new.txt");
    KeyFile::generate(&new).expect("made");
    fs::write(
        place.key_path(),
        fs::read_to_string(&new).expect("read") + &old,
    )
    .expect("written");
    place
        .open()
        .vault
        .save(&record("elsebody00"), now())
        .expect("saved");
    let report = look(&options(&place));
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(
        report
            .notes
            .iter()
            .map(|n| (n.code, &*n.file))
            .collect::<Vec<_>>(),
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
            assert_eq!(
                (content.mac, content.name.as_deref()),
                (MacVerdict::Right, Some(name))
            );
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
        assert_eq!(
            content.items.iter().map(|i| i.length).sum::<usize>(),
            plaintext.len()
        );
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
}
