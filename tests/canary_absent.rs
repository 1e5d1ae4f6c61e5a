//! The hook of `tests/canary.rs`, which tells every secret, is in no build but its own.
#![cfg(not(feature = "canary"))]

mod search;

use std::fs;

use search::Needles;

#[test]
fn a_default_build_has_no_hook_that_tells_secrets() {
    let program = fs::read(env!("CARGO_BIN_EXE_rekindle")).expect("the program");
    let mut needles = Needles::default();
    needles.add("hook", b"REKINDLE_CANARY");
    needles.add("control", b"REKINDLE_RESUME_WINDOW");
    let mut found = needles.find(&program);
    found.dedup();
    assert_eq!(found, ["control"]);
}
