//! The independent decoder in Python must report the same of a vault as the auditor.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

const REQUIREMENTS: &str = "tests/persisted_format/requirements.txt";

/// A Python that has pyrage: the one named by `REKINDLE_PYTHON`, or `target/venv/bin/python`, or
/// `python3`.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let candidates = [
        std::env::var_os("REKINDLE_PYTHON").map(PathBuf::from),
        Some(crate::file("target/venv/bin/python")),
        Some("python3".into()),
    ];
    let has_pyrage = |python: &PathBuf| {
        let tried = Command::new(python).args(["-c", "import pyrage"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_pyrage);
    assert!(
        found.is_some() || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI needs {REQUIREMENTS}"
    );
    if found.is_none() {
        println!(
            "skipped: no Python with {REQUIREMENTS}, so the auditor is not compared with the \
             decoder in Python"
        );
    }
    found
});

/// A Python that has what the decoder needs, if there is one; says so if not.
///
/// # Panics
/// Where there is none, and CI should have it.
pub fn python() -> Option<&'static Path> {
    PYTHON.as_deref()
}

/// Runs the decoder on a vault and compares it with the auditor's report, field by field. An
/// auditor that was built with full-state mode names that mode's fields: `full_state`.
///
/// # Panics
/// Where they do not agree.
#[track_caller]
pub fn must_agree(report: &Value, key_file: &Path, vault: &Path, full_state: bool) {
    let Some(python) = python() else {
        return;
    };
    let mut command = Command::new(python);
    command
        .arg(crate::file("tests/persisted_format/decode.py"))
        .args(["--report", "-", "--key-file"])
        .arg(key_file)
        .args(full_state.then_some("--session-fields"))
        .arg(vault);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("Python runs");
    let mut input = child.stdin.take().expect("a pipe");
    // It may end before it has read everything: then it says why.
    let _ = input.write_all(report.to_string().as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "auditor and decoder do not agree:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
