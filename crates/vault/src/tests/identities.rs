//! New certificates for new peers, while peers of earlier boots keep theirs.

use super::audit::{codes, look, options};
use super::*;
use crate::audit::{Report, Verdict};
use crate::record::limits;

/// A record whose answer names this certificate.
fn record_under(name: &str, certificate: [u8; 32]) -> PeerRecord {
    let fingerprint = rekindle_sdp::fingerprint_value("sha-256", &certificate);
    let plain = record(name);
    PeerRecord {
        answer: format!(
            "{}m=audio 9 x 0\r\na=fingerprint:{fingerprint}\r\n",
            plain.answer
        ),
        ..plain
    }
}

/// The next boot, with a new certificate.
fn rotated(place: &Place) -> Opened {
    let mut opened = place.open();
    assert_eq!(opened.rotate_identity(now()).expect("made"), Rotated::Yes);
    opened
}

fn clean(place: &Place) -> Report {
    let report = look(&options(place));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Clean, vec![]));
    report
}

fn notes(report: &Report) -> Vec<&str> {
    report.notes.iter().map(|note| note.code).collect()
}

#[test]
fn a_new_certificate_is_for_new_peers_and_the_old_one_stays_for_as_long_as_it_is_needed() {
    let place = Place::new();
    let opened = place.open();
    let old = opened.identity.sha256();
    opened
        .vault
        .save(&record_under("olderpeer", old), now())
        .expect("saved");
    drop(opened);

    let opened = rotated(&place);
    let new = opened.identity.sha256();
    assert_ne!(new, old);
    assert_eq!(
        opened
            .earlier
            .iter()
            .map(|one| one.sha256())
            .collect::<Vec<_>>(),
        [old]
    );
    // Before the first record that names it, it is on disk.
    opened
        .vault
        .save(&record_under("newerpeer", new), now())
        .expect("saved");
    drop(opened);
    let report = clean(&place);
    assert_eq!(report.totals["long-lived-secret"], 64, "two private keys");
    assert_eq!(notes(&report), [""; 0]);

    let opened = place.open();
    assert_eq!(opened.identity.sha256(), new, "it stays the current one");
    opened.vault.remove(&ufrag("olderpeer")).expect("removed");
    assert_eq!(notes(&clean(&place)), ["unused-certificate"]);
    opened
        .vault
        .forget_identities(&[old, new])
        .expect("written");
    drop(opened);
    assert_eq!(clean(&place).totals["long-lived-secret"], 32);
    let opened = place.open();
    assert_eq!(
        opened.identity.sha256(),
        new,
        "the current one is never forgotten"
    );
    assert!(opened.earlier.is_empty());
}

#[test]
fn a_boot_that_is_killed_before_it_wrote_anything_has_changed_nothing() {
    let place = Place::with_peers(&[]);
    let old = place.open().identity.sha256();
    drop(rotated(&place));
    let opened = place.open();
    assert_eq!((opened.identity.sha256(), opened.earlier.len()), (old, 0));
}

#[test]
fn a_first_run_and_one_with_too_many_certificates_make_no_new_one() {
    let place = Place::new();
    let mut opened = place.open();
    assert_eq!(
        opened.rotate_identity(now()).expect("nothing to do"),
        Rotated::FirstRun
    );
    drop(opened);
    for n in 1..=limits::EARLIER {
        let opened = rotated(&place);
        opened.vault.commit_boot().expect("written");
        assert_eq!(opened.earlier.len(), n);
    }
    let mut opened = place.open();
    let current = opened.identity.sha256();
    assert_eq!(
        opened.rotate_identity(now()).expect("no error"),
        Rotated::TooMany
    );
    assert_eq!(opened.identity.sha256(), current);
    opened.vault.commit_boot().expect("written");
    assert_eq!(
        clean(&place).totals["long-lived-secret"],
        32 * (1 + limits::EARLIER as u64)
    );
}

#[test]
fn a_record_that_names_a_certificate_the_vault_does_not_hold_is_found() {
    let place = Place::new();
    let opened = place.open();
    opened
        .vault
        .save(&record_under("strangepeer", [7; 32]), now())
        .expect("saved");
    drop(opened);
    assert_eq!(
        codes(&look(&options(&place))),
        [("no-certificate", "peers/strangepeer.age")]
    );
}

#[test]
fn all_certificates_go_under_a_new_key_file() {
    let place = Place::with_peers(&[]);
    let certificates = |opened: Opened| {
        let all = std::iter::once(&opened.identity).chain(&opened.earlier);
        all.map(|identity| identity.sha256()).collect::<Vec<_>>()
    };
    let before = {
        let opened = rotated(&place);
        opened.vault.commit_boot().expect("written");
        certificates(opened)
    };
    let new = place.dir.path().join("new.txt");
    KeyFile::generate(&new).expect("a key file");
    super::super::rekey::rekey(
        &place.vault_path(),
        place.keys(),
        KeyFile::load(&new).expect("loaded"),
    )
    .expect("done");
    std::fs::rename(&new, place.key_path()).expect("renamed");
    clean(&place);
    assert_eq!(certificates(place.open()), before);
    assert_eq!(before.len(), 2);
}
