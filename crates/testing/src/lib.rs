//! What the tests of several crates need: checks of the auditor's reports (their schema, and an
//! independent decoder), the seeds of the fuzz targets, and etcd.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod agreement;
pub mod etcd;
#[cfg(feature = "other-stack")]
pub mod other_stack;
pub mod schema;
pub mod seeds;

use std::path::{Path, PathBuf};

/// A file of the project, by its path from the root.
pub fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// None of the targets of `fuzz/` is left out of the tests of the crates.
#[test]
fn all_fuzz_targets_are_run_over_their_seeds() {
    let tests: String = ["crates/core", "crates/sdp", "crates/vault", "src/server"]
        .map(|at| {
            let source = if at.starts_with("crates") { "/src" } else { "" };
            std::fs::read_to_string(file(&format!("{at}{source}/fuzzing/tests.rs"))).expect("tests")
        })
        .concat();
    let targets = std::fs::read_dir(file("fuzz/fuzz_targets")).expect("the targets");
    for target in targets {
        let path = target.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert!(
            tests.contains(&format!("seeds::run(\"{name}\",")),
            "no test runs {name}"
        );
    }
}
