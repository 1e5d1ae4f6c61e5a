//! The stock `age` program opens every file of a vault with the key file, and makes key files that
//! we take.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rekindle::ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle::vault::{KeyFile, PeerRecord, Vault};

/// Whether the programs are there; says so if not. CI always has them.
fn have_age() -> bool {
    let found = ["age", "age-keygen"]
        .iter()
        .all(|p| Command::new(p).arg("--version").output().is_ok());
    assert!(
        found || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI needs the Debian package age"
    );
    if !found {
        println!(
            "skipped: the programs age and age-keygen are not installed (Debian package: age)"
        );
    }
    found
}

fn save_two_peers(vault: &Vault) {
    for (name, role) in [
        ("publisher1", Role::Publisher),
        ("viewer0001", Role::Viewer),
    ] {
        let record = PeerRecord {
            role,
            channel: "lobby".into(),
            ice: IceCredentials {
                ufrag: Ufrag::new(name).expect("a ufrag"),
                pwd: IcePassword::new("0123456789abcdefABCDEF+/".into()),
            },
            offer: format!("v=0\r\na=tool:{name}\r\n"),
            answer: "v=0\r\n".into(),
            joined_at: 1,
        };
        vault.save(&record, SystemTime::now()).expect("saved");
    }
}

fn decrypt(key: &Path, file: &Path) -> Vec<u8> {
    let output = Command::new("age")
        .arg("-d")
        .arg("-i")
        .arg(key)
        .arg(file)
        .output()
        .expect("age runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

#[test]
fn the_age_program_opens_every_file_of_a_vault() {
    if !have_age() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (key, vault) = (dir.path().join("key.txt"), dir.path().join("vault"));
    let opened = Vault::open(
        &vault,
        KeyFile::generate(&key).expect("made"),
        SystemTime::now(),
    )
    .expect("opened");
    save_two_peers(&opened.vault);

    let identity = decrypt(&key, &vault.join("identity.age"));
    assert!(
        identity.starts_with(b"rekindle\x02\x01\x01"),
        "magic, schema 2, identity, boot 1"
    );
    assert!(contains(&identity, opened.identity.certificate_der()));
    assert!(contains(&identity, opened.identity.private_key_der()));
    for name in ["publisher1", "viewer0001"] {
        let peer = decrypt(&key, &vault.join(format!("peers/{name}.age")));
        assert!(
            peer.starts_with(b"rekindle\x02\x02\x01"),
            "magic, schema 2, peer, boot 1"
        );
        assert!(contains(&peer, name.as_bytes()) && contains(&peer, b"0123456789abcdefABCDEF+/"));
    }
}

#[test]
fn a_key_file_of_age_keygen_does_as_well() {
    if !have_age() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (key, vault) = (dir.path().join("key.txt"), dir.path().join("vault"));
    let made = Command::new("age-keygen")
        .arg("-o")
        .arg(&key)
        .output()
        .expect("age-keygen runs");
    assert!(made.status.success());
    let keys = KeyFile::load(&key).expect("loaded");
    let text = fs::read_to_string(&key).expect("read");
    assert!(text.contains(&keys.recipients().next().expect("a recipient")));
    let opened = Vault::open(&vault, keys, SystemTime::now()).expect("opened");
    save_two_peers(&opened.vault);
    assert!(decrypt(&key, &vault.join("peers/viewer0001.age")).starts_with(b"rekindle"));
}
