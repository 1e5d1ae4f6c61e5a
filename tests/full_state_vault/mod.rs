//! `threat-model/example-full-state/`, which full-state mode has written in the middle of a
//! broadcast, as it was left by SIGKILL; and its key file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A copy with the modes that a vault has, which git does not keep: `state` and `key`.
pub fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("threat-model");
    let state = folder.path().join("state");
    fs::create_dir(&state).expect("made");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("set");
    copy_all(&model.join("example-full-state"), &state);
    let key = folder.path().join("key");
    fs::copy(model.join("example/key.txt"), &key).expect("copied");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
    folder
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        let mode = if path.is_dir() {
            fs::create_dir(&copy).expect("made");
            copy_all(&path, &copy);
            0o700
        } else {
            fs::copy(&path, &copy).expect("copied");
            0o600
        };
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("set");
    }
}
