use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// age's own test vector.
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

fn load(text: &[u8], mode: u32) -> Result<KeyFile, KeyError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
    KeyFile::load(&path)
}

#[test]
fn comments_empty_lines_and_crlf_are_fine_and_the_order_is_kept() {
    let other = age::x25519::Identity::generate();
    let other_text = age::secrecy::ExposeSecret::expose_secret(&other.to_string()).to_owned();
    let keys = load(
        format!("# a\n\n  {IDENTITY}\r\n#b\n{other_text}").as_bytes(),
        0o600,
    )
    .expect("loaded");
    assert_eq!(
        keys.recipients().collect::<Vec<_>>(),
        [RECIPIENT.to_owned(), other.to_public().to_string()]
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let error = load(IDENTITY.as_bytes(), mode).expect_err("refused");
        assert!(
            matches!(error, KeyError::ReadableByOthers { mode: m, .. } if m == mode),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"));
    }
    assert!(load(IDENTITY.as_bytes(), 0o400).is_ok());
}

#[test]
fn a_bad_line_is_named_by_its_number_and_never_shown() {
    let typo = IDENTITY.replace("GQ97", "GQ98");
    for (text, expected) in [
        (format!("# a\n{IDENTITY}\nhunter2\n").into_bytes(), 3),
        (format!("{typo}\n").into_bytes(), 1),
        (b"#\n\n\xff\xfe".to_vec(), 3),
        (format!("{RECIPIENT}\n").into_bytes(), 1),
    ] {
        let error = load(&text, 0o600).expect_err("refused");
        assert!(
            matches!(error, KeyError::BadLine { line, .. } if line == expected),
            "{error}"
        );
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains(&typo[20..]),
            "{shown}"
        );
    }
}

#[test]
fn a_key_file_without_an_identity_or_too_large_is_refused() {
    assert!(matches!(load(b"", 0o600), Err(KeyError::NoIdentity(_))));
    assert!(matches!(
        load(b"# only a comment\n", 0o600),
        Err(KeyError::NoIdentity(_))
    ));
    let large = format!("{IDENTITY}\n{}", "#".repeat(64 * 1024));
    assert!(matches!(
        load(large.as_bytes(), 0o600),
        Err(KeyError::TooLarge(_))
    ));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(
        KeyFile::load(&dir.path().join("none")),
        Err(KeyError::Missing(_))
    ));
    assert!(matches!(
        KeyFile::load(dir.path()),
        Err(KeyError::NotAFile(_))
    ));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    assert!(matches!(KeyFile::load(&pipe), Err(KeyError::NotAFile(_))));
}

#[test]
fn a_link_is_followed_and_its_target_checked() {
    let place = Place::new();
    let link = place.dir.path().join("link");
    symlink(place.key_path(), &link).expect("a link");
    assert!(KeyFile::load(&link).is_ok());
    fs::set_permissions(place.key_path(), fs::Permissions::from_mode(0o644)).expect("permissions");
    assert!(matches!(
        KeyFile::load(&link),
        Err(KeyError::ReadableByOthers { .. })
    ));
}

#[test]
fn a_generated_file_is_private_loads_again_and_looks_like_age_keygens() {
    let place = Place::new();
    let meta = fs::metadata(place.key_path()).expect("metadata");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(place.key_path()).expect("text");
    let lines: Vec<_> = text.lines().collect();
    let recipient = place.keys().recipients().next().expect("a recipient");
    assert!(lines[0].starts_with("# created: 2") && lines[0].ends_with('Z'));
    assert_eq!(lines[1], format!("# public key: {recipient}"));
    assert!(lines[2].starts_with("AGE-SECRET-KEY-1"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn generate_never_overwrites_nor_follows_a_link() {
    let place = Place::new();
    let before = fs::read(place.key_path()).expect("read");
    assert!(matches!(
        KeyFile::generate(&place.key_path()),
        Err(KeyError::Exists(_))
    ));
    assert_eq!(fs::read(place.key_path()).expect("read"), before);

    let link = place.dir.path().join("dangling");
    symlink(place.dir.path().join("target"), &link).expect("a link");
    assert!(matches!(KeyFile::generate(&link), Err(KeyError::Exists(_))));
    assert!(!place.dir.path().join("target").exists());
}

#[test]
fn debug_output_has_no_secret() {
    assert_eq!(
        format!("{:?}", Place::new().keys()),
        "KeyFile(1 identities)"
    );
}
