use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

/// Makes a certificate and its key, in these two files.
fn write(folder: &Path, [certificate, key]: [&str; 2]) -> Pair {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let pair = Pair {
        certificate: folder.join(certificate),
        key: folder.join(key),
    };
    fs::write(&pair.certificate, cert.pem()).expect("written");
    write_key(&pair.key, &signing_key.serialize_pem());
    pair
}

fn write_key(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
}

fn world() -> (TempDir, Pair) {
    let folder = TempDir::new().expect("a folder");
    let pair = write(folder.path(), ["cert.pem", "key.pem"]);
    (folder, pair)
}

/// What is said of a pair that cannot be used: the remedy is in it, and nothing of the key.
#[track_caller]
fn refused(pair: Pair, parts: &[&str]) {
    let key = fs::read_to_string(&pair.key).unwrap_or_default();
    let said = Tls::read(pair).expect_err("refused").to_string();
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    for line in key.lines().filter(|line| line.len() > 32) {
        assert!(!said.contains(line), "{said}");
    }
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_with_a_remedy() {
    let (folder, pair) = world();
    let other = write(folder.path(), ["other.pem", "other-key.pem"]);
    let with_key = |key: &Path| Pair {
        key: key.into(),
        ..pair.clone()
    };
    let with_certificate = |certificate: &Path| Pair {
        certificate: certificate.into(),
        ..pair.clone()
    };
    let path = |name: &str| folder.path().join(name);

    refused(with_certificate(&path("none")), &["none", "--tls-cert"]);
    refused(with_key(&path("none")), &["none", "--tls-key"]);
    refused(with_key(folder.path()), &["no regular file"]);
    refused(
        with_key(&other.key),
        &["cert.pem", "other-key.pem", "belong together"],
    );
    refused(
        with_certificate(&other.certificate),
        &["other.pem", "belong together"],
    );
    // Taken for each other.
    refused(
        with_certificate(&pair.key),
        &["no certificate", "fullchain.pem"],
    );
    fs::set_permissions(&pair.certificate, fs::Permissions::from_mode(0o600)).expect("set");
    refused(
        with_key(&pair.certificate),
        &["no private key", "openssl pkey"],
    );

    fs::write(path("empty"), "").expect("written");
    refused(with_certificate(&path("empty")), &["no certificate"]);
    fs::write(path("long"), vec![b'x'; 256 * 1024 + 1]).expect("written");
    refused(with_certificate(&path("long")), &["262144 bytes"]);
    fs::write(path("torn"), "-----BEGIN CERTIFICATE-----\nMIIB\n").expect("written");
    refused(with_certificate(&path("torn")), &["no PEM file"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n";
    fs::write(path("garbage"), garbage).expect("written");
    refused(
        with_certificate(&path("garbage")),
        &["garbage", "own first"],
    );
    let garbage = "-----BEGIN PRIVATE KEY-----\nTUlJQg==\n-----END PRIVATE KEY-----\n";
    write_key(&path("bad-key"), garbage);
    refused(with_key(&path("bad-key")), &["bad-key", "P-256"]);
}

#[test]
fn a_tls_key_that_others_can_read_is_refused() {
    let (_folder, pair) = world();
    for mode in [0o640, 0o604] {
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(mode)).expect("set");
        refused(pair.clone(), &["chmod 600", &format!("{mode:04o}")]);
    }
    fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o400)).expect("set");
    Tls::read(pair).expect("taken");
}

#[test]
fn a_bad_file_leaves_the_old_certificate_in_place() {
    let (folder, pair) = world();
    let tls = Tls::read(pair.clone()).expect("taken");
    let certificate = |tls: &Tls| tls.current.read().clone().expect("one").cert.clone();
    let first = certificate(&tls);
    assert!(!tls.read_again().expect("the same"));

    // Half of a renewal.
    let new = write(folder.path(), ["new.pem", "new-key.pem"]);
    fs::rename(&new.certificate, &pair.certificate).expect("moved");
    assert!(matches!(tls.read_again(), Err(TlsError::Mismatch { .. })));
    assert_eq!(certificate(&tls), first);
    fs::rename(&new.key, &pair.key).expect("moved");
    assert!(tls.read_again().expect("taken"));
    assert_ne!(certificate(&tls), first);
}

#[test]
fn nothing_prints_the_key() {
    let (_folder, pair) = world();
    let key = fs::read_to_string(&pair.key).expect("readable");
    let printed = format!("{:?}", Tls::read(pair).expect("taken"));
    for line in key.lines().filter(|line| line.len() > 32) {
        assert!(!printed.contains(line), "{printed}");
    }
    assert!(printed.len() < 64 * 1024, "{}", printed.len());
}
