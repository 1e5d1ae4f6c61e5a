//! Who else can read a file.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn a_file_that_the_group_can_read_is_exposed_unless_systemd_hands_it_over() {
    let root = tempfile::tempdir().expect("temporary folder");
    let (credentials, elsewhere) = (
        root.path().join("credentials"),
        root.path().join("elsewhere"),
    );
    for folder in [&credentials, &elsewhere] {
        fs::create_dir(folder).expect("made");
        fs::write(folder.join("key"), "x").expect("written");
    }
    symlink(elsewhere.join("key"), credentials.join("out")).expect("linked");
    symlink(credentials.join("key"), elsewhere.join("in")).expect("linked");
    let exposed = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        is_exposed_beside(
            path,
            &fs::metadata(path).expect("there"),
            Some(&credentials),
        )
    };
    for mode in [0o600, 0o400] {
        assert!(!exposed(&elsewhere.join("key"), mode));
    }
    for mode in [0o440, 0o400, 0o040] {
        assert!(!exposed(&credentials.join("key"), mode), "{mode:o}");
        assert!(
            !exposed(&elsewhere.join("in"), mode),
            "{mode:o}, by a link into the folder"
        );
    }
    for mode in [0o640, 0o460, 0o444, 0o2440] {
        assert!(exposed(&credentials.join("key"), mode), "{mode:o}");
    }
    assert!(exposed(&elsewhere.join("key"), 0o440));
    assert!(
        exposed(&credentials.join("out"), 0o440),
        "a link out of the folder"
    );
    assert!(exposed(&credentials.join("../elsewhere/key"), 0o440));
    let meta = fs::metadata(elsewhere.join("key")).expect("there");
    assert!(is_exposed_beside(&elsewhere.join("key"), &meta, None));
}
