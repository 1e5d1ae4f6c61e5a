//! The hooks of `tests/canary.rs` and `tests/full_state_kills.rs`, which tell what a server keeps to
//! itself, are in no build but their own.
#![cfg(not(rekindle_canary))]

mod search;

use std::fs;
use std::path::Path;

use search::Needles;

const CANARY: &str = "#[cfg(rekindle_canary)]";
const KILL_POINTS: &str = "#[cfg(rekindle_kill_points)]";

#[test]
fn a_default_build_has_no_hook_that_tells_secrets() {
    let program = fs::read(env!("CARGO_BIN_EXE_rekindle")).expect("the program");
    let mut needles = Needles::default();
    needles.add("hook", b"REKINDLE_CANARY");
    needles.add("hook that kills", b"REKINDLE_KILL_");
    needles.add("control", b"REKINDLE_RESUME_WINDOW");
    let mut found = needles.find(&program);
    found.dedup();
    assert_eq!(found, ["control"]);
}

/// The lines of a section of a TOML file.
fn section<'a>(toml: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("[{name}]");
    let lines = toml.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn no_feature_build_script_or_setting_of_this_tree_switches_a_hook_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("readable");
    let features = section(&manifest, "features");
    let features: Vec<&str> = features
        .iter()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    assert_eq!(features, ["boring", "etcd", "full-state"]);
    let crates = fs::read_dir(root.join("crates")).expect("a folder");
    let folders = crates.map(|entry| entry.expect("an entry").path());
    for folder in folders.chain([root.to_owned()]) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("readable");
        assert!(!manifest.contains("\nbuild = ") && !folder.join("build.rs").exists());
        assert!(!manifest.contains("rekindle_canary") || folder == root);
    }
    let settings = fs::read_to_string(root.join(".cargo/config.toml")).expect("readable");
    assert!(
        !settings.contains("flags") && !settings.contains("wrapper"),
        "{settings}"
    );
}

/// Each file that has code of a hook, and the condition under which it is compiled.
#[test]
fn code_of_a_hook_is_compiled_for_its_own_build_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut hooks = 0;
    for (file, module, condition) in [
        ("secrets/src/lib.rs", "pub mod canary;", CANARY),
        ("core/src/lib.rs", "pub mod canary;", CANARY),
        ("full-state/src/lib.rs", "pub mod kill_points;", KILL_POINTS),
    ] {
        let source = fs::read_to_string(root.join(file)).expect("readable");
        let lines: Vec<&str> = source.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1] == module) {
            assert_eq!(pair[0], condition, "{file}");
            hooks += 1;
        }
    }
    assert_eq!(hooks, 3);
}
