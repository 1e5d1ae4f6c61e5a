//! What the auditor finds in vaults that are not clean.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::audit::{PEER, codes, look, options, plaintext_of};
use super::*;
use crate::audit::{Options, Report, Verdict, audit};
use crate::identity::Identities;
use crate::record::{Header, Kind};
use crate::seal::{SealingKey, seal_peer};

/// Spoils a clean vault; expects these findings, and that the audit changes nothing.
pub(super) fn finds(expected: &[(&str, &str)], spoil: impl FnOnce(&Place)) -> Report {
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

/// Puts a changed content with a right MAC into a peer's place, as whoever has the key file can.
fn reseal(place: &Place, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = plaintext_of(place, PEER);
    content.truncate(content.len() - 32);
    change(&mut content);
    let sealed = place.keys().keys[0].sealing().seal_with_mac(PEER, &content);
    fs::write(place.vault_path().join(PEER), sealed).expect("written");
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
        let header = Header::new(Kind::PEER, 1, 1_800_000_000);
        let forged = seal_peer(
            &SealingKey::forger(&recipient),
            PEER,
            &header,
            &record("somebody00"),
        );
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
            let at = content
                .windows(5)
                .position(|w| w == b"a=can")
                .expect("found");
            content[at + 1] = b':';
        });
    });
    finds(&[("not-ours", PEER)], |place| {
        reseal(place, |content| content[0] = 0)
    });
    finds(&[("schema", PEER)], |place| {
        reseal(place, |content| content[8] = 9)
    });
    finds(&[("not-ours", PEER)], |place| reseal(place, Vec::clear));
    finds(&[("unfit", PEER)], |place| {
        reseal(place, |content| {
            let at = content
                .windows(5)
                .position(|w| w == b"lobby")
                .expect("found");
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
            let at = content
                .windows(11)
                .position(|w| w == b"a=candidate")
                .expect("found");
            content[at..at + 11].copy_from_slice(b"a=crypto:1 ");
        });
    });
    let line = record("somebody00")
        .offer
        .lines()
        .last()
        .expect("a line")
        .len()
        + 2;
    assert_eq!(
        report.totals["forbidden"], line as u64,
        "the line, and nothing else"
    );
}

#[test]
fn an_identity_that_this_program_did_not_make_is_found() {
    let place = Place::with_peers(&[]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate =
        rcgen::CertificateParams::new(vec!["example.org".into()]).expect("parameters");
    let certificate = certificate.self_signed(&key).expect("signed");
    let identity = Identity::from_der(certificate.der(), key.serialized_der());
    let header = Header::new(Kind::IDENTITY, 1, 1_800_000_000);
    let sealing = place.keys().keys[0].sealing();
    let sealed = super::super::seal::seal_identity(
        &sealing,
        "identity.age",
        &header,
        &Identities::new(identity).record(),
    );
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
    place
        .open()
        .vault
        .save(&record("somebody00"), now())
        .expect("saved");
    assert_eq!(codes(&look(&options(&place))), []);
    fs::write(place.vault_path().join("identity.age"), old).expect("written");
    assert_eq!(codes(&look(&options(&place))), [("rolled-back", PEER)]);
}

/// Puts a stanza of this type into a file, with 32 bytes that nobody can explain.
struct Filler(&'static str);

impl age::Recipient for Filler {
    fn wrap_file_key(
        &self,
        _: &age_core::format::FileKey,
    ) -> Result<(Vec<age_core::format::Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = age_core::format::Stanza {
            tag: self.0.into(),
            args: Vec::new(),
            body: vec![7; 32],
        };
        Ok((vec![stanza], HashSet::new()))
    }
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
    let puts = |recipients: &[&dyn age::Recipient]| {
        let mut file = Vec::new();
        let encryptor =
            age::Encryptor::with_recipients(recipients.iter().copied()).expect("recipients");
        let mut writer = encryptor.wrap_output(&mut file).expect("written");
        std::io::Write::write_all(&mut writer, &plaintext).expect("written");
        writer.finish().expect("written");
        fs::write(place.vault_path().join(PEER), file).expect("written");
    };
    // What the age library adds by itself is one stanza of filler.
    puts(&[&ours]);
    assert_eq!(codes(&look(&options(&place))), []);
    puts(&[&ours, &Filler("one-grease")]);
    assert_eq!(
        codes(&look(&options(&place))),
        [("stanza", PEER)],
        "filler twice"
    );
    puts(&[&ours, &Filler("ours")]);
    assert_eq!(
        codes(&look(&options(&place))),
        [("stanza", PEER)],
        "an unknown type"
    );
    puts(&[&Filler("one-grease")]);
    assert_eq!(
        codes(&look(&options(&place))),
        [("stanza", PEER), ("stanza", PEER), ("cannot-open", PEER)],
        "filler only"
    );
    puts(&[&ours, &theirs]);
    assert_eq!(codes(&look(&options(&place))), [("stanza", PEER)]);
    // Only the auditor minds: the record is ours and right.
    assert!(
        place
            .open()
            .reader
            .read(&ufrag("somebody00"))
            .expect("read")
            .is_some()
    );
}

#[test]
fn a_plaintext_larger_than_any_of_its_kind_is_found() {
    let place = Place::with_peers(&["somebody00"]);
    let mut plaintext = plaintext_of(&place, PEER);
    plaintext.resize(300_000, 0);
    let stdin = Options {
        target: "-".into(),
        ..options(&place)
    };
    let report = audit(&stdin, &mut &plaintext[..], now()).expect("could look");
    assert!(
        codes(&report).contains(&("too-large", "-")),
        "{:?}",
        report.findings
    );
    // Of what never ends, only so much is read.
    let report = audit(&stdin, &mut std::io::repeat(b'R'), now()).expect("could look");
    assert!(
        codes(&report).contains(&("too-large", "-")),
        "{:?}",
        report.findings
    );
}

#[test]
fn a_time_that_is_yet_to_come_is_noted() {
    let place = Place::with_peers(&["somebody00"]);
    let looked = |before: u64| {
        let then = now() - Duration::from_secs(before);
        let report = audit(&options(&place), &mut &b""[..], then).expect("could look");
        assert_eq!(report.verdict, Verdict::Clean, "clocks differ");
        report
            .notes
            .iter()
            .filter(|note| note.code == "clock")
            .count()
    };
    assert_eq!(looked(86_000), 0, "less than a day");
    // The identity, and the peer's record with the time it joined.
    assert_eq!(looked(90_000), 3);
}
