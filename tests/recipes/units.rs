//! Units of systemd, and what the book has added to them, by systemd's own tools.

use std::fs;
use std::path::Path;

use super::chapters::{block, read, root};
use super::running::said;
use super::steps::{Recipe, have, shell};

const DOCUMENT: &str = "packaging/systemd/README.md";

/// The units in a folder, with the program where it is here.
fn units(folder: &Path) {
    for entry in fs::read_dir(root().join("packaging/systemd")).expect("units") {
        let path = entry.expect("a unit").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if name.starts_with("rekindle") {
            let unit = fs::read_to_string(&path).expect("text");
            let unit = unit.replace("/usr/bin/rekindle", env!("CARGO_BIN_EXE_rekindle"));
            fs::write(folder.join(&*name), unit).expect("written");
        }
    }
}

/// What systemd finds fault with.
fn verified(folder: &Path) -> String {
    // Only these units, and those that systemd brings.
    let found = shell(
        folder,
        "SYSTEMD_UNIT_PATH=$PWD: systemd-analyze verify --recursive-errors=no --man=no $PWD/rekindle*.{service,socket} 2>&1",
    );
    String::from_utf8_lossy(&found.stdout).into_owned() + &said(&found)
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_with_what_the_book_adds_to_them() {
    if !have("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    units(folder);
    assert_eq!(verified(folder), "");
    for (unit, start) in [
        ("rekindle.socket", "[Socket]\nListenStream="),
        ("rekindle.service", "[Service]\nLoadCredential="),
        ("rekindle.service", "[Service]\nExecStop="),
    ] {
        let text = block(DOCUMENT, start).text;
        let text = text.replace("/usr/bin/rekindle", env!("CARGO_BIN_EXE_rekindle"));
        let dir = folder.join(format!("{unit}.d"));
        fs::create_dir_all(&dir).expect("made");
        let file = dir.join("override.conf");
        fs::write(&file, &text).expect("written");
        assert_eq!(verified(folder), "", "{text}");
        // It is read: a line that is wrong is told.
        fs::write(&file, format!("{text}Nonsense=1\n")).expect("written");
        assert!(verified(folder).contains("Nonsense"), "{unit}: {start}");
        fs::remove_file(&file).expect("removed");
    }
    let text = read("docs/admin.md");
    assert!(text.contains("`SocketBindAllow=tcp:9189`"));
    let dir = folder.join("rekindle.service.d");
    let line = "[Service]\nSocketBindAllow=tcp:9189\n";
    fs::write(dir.join("admin.conf"), line).expect("written");
    assert_eq!(verified(folder), "");
}

#[test]
fn systemd_rates_the_service_as_the_book_says() {
    if !have("systemd-analyze") {
        return;
    }
    let mut recipe = Recipe::new(DOCUMENT, "$ systemd-analyze verify", &[]);
    // It says nothing where the program is installed; the test above puts another in its place.
    recipe.next("systemd-analyze verify");
    let step = recipe.next("systemd-analyze security");
    recipe.ends();
    let rated = shell(root(), &step.command);
    let rated = String::from_utf8_lossy(&rated.stdout).into_owned();
    assert_eq!(rated.trim(), step.prints.concat());
}
