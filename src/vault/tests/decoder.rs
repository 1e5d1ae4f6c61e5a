//! The independent decoder in Python must agree with the auditor on every file of every test.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::audit::{self as auditor, FileReport, Item, Options, Place as At, Report};
use super::*;

/// Findings about content, which both can have. The auditor alone judges owners, modes and strays.
const CODES: [&str; 15] = [
    "cannot-open",
    "certificate",
    "forbidden",
    "full-state",
    "hard-link",
    "mac",
    "name",
    "no-certificate",
    "not-age",
    "not-ours",
    "not-regular",
    "rolled-back",
    "schema",
    "stanza",
    "unaccounted",
];
/// The same, judged by bounds.
const BOUNDS: [&str; 2] = ["too-large", "unfit"];

/// A Python that has pyrage: the one named by `REKINDLE_PYTHON`, or `target/venv/bin/python`, or `python3`.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let candidates = [
        std::env::var_os("REKINDLE_PYTHON").map(PathBuf::from),
        Some(own),
        Some("python3".into()),
    ];
    let has_pyrage = |python: &PathBuf| {
        Command::new(python)
            .args(["-c", "import pyrage"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_pyrage);
    assert!(
        found.is_some() || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI needs {REQUIREMENTS}"
    );
    if found.is_none() {
        println!("skipped: no Python with {REQUIREMENTS}, so the auditor is not compared with the decoder in Python");
    }
    found
});
const REQUIREMENTS: &str = "tests/persisted_format/requirements.txt";

/// Runs the decoder on a vault and compares, field by field.
pub(super) fn must_agree(report: &Report, options: &Options) {
    let (Some(python), Some(key), Some(_)) = (&*PYTHON, &options.key_file, &report.vault) else {
        return;
    };
    if options.reveal {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/persisted_format/decode.py");
    let output = Command::new(python)
        .arg(script)
        .arg("--key-file")
        .arg(key)
        .args(cfg!(feature = "full-state").then_some("--session-fields"))
        .arg(&options.target)
        .output();
    let output = output.expect("Python runs");
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let sealed = |file: &&FileReport| {
        matches!(
            file.place,
            At::Identity | At::Peer | At::SetAside | At::Session | At::Counters
        )
    };
    let expected: Vec<_> = report
        .files
        .iter()
        .filter(sealed)
        .map(|file| as_the_decoder_says_it(report, file))
        .collect();
    let found = found["files"].as_array().expect("a list");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let any = expected.iter().any(|file| file["codes"] != json!([]));
    assert_eq!(output.status.code(), Some(i32::from(any)));
}

/// Audits a vault and compares.
pub(super) fn must_agree_on(place: &Place) {
    let options = Options {
        target: place.vault_path(),
        key_file: Some(place.key_path()),
        ..Options::default()
    };
    let report = auditor::audit(&options, &mut &b""[..], now()).expect("could look");
    must_agree(&report, &options);
}

fn as_the_decoder_says_it(report: &Report, file: &FileReport) -> Value {
    let codes: BTreeSet<_> = report
        .findings
        .iter()
        .filter(|f| f.file == file.path)
        .map(|f| f.code)
        .collect();
    let codes: Vec<_> = codes
        .into_iter()
        .filter(|code| CODES.contains(code) || BOUNDS.contains(code))
        .collect();
    let content = file.content.as_ref().map(|content| {
        let item = |i: &Item| json!([i.offset, i.length, i.field, i.class, i.value]);
        json!({
            "schema": content.schema, "kind": content.kind, "boot": content.boot, "written_at": content.written_at,
            "name": content.name, "certificates": content.certificates, "mac": content.mac, "items": content.items.iter().map(item).collect::<Vec<_>>(),
        })
    });
    let opened_by = file
        .content
        .as_ref()
        .and_then(|c| c.opened_by.as_ref())
        .map(|o| o.position);
    json!({ "path": file.path, "age": file.age, "opened_by": opened_by, "content": content, "codes": codes })
}

/// A session description that names this certificate.
fn under(sdp: &str, certificate: &[u8; 32]) -> String {
    let own = format!(
        "a=fingerprint:{}",
        crate::sdp::fingerprint_value("sha-256", certificate)
    );
    let line = |line: &str| {
        let is_fingerprint = line.starts_with("a=fingerprint:");
        format!("{}\r\n", if is_fingerprint { &own } else { line })
    };
    sdp.lines().map(line).collect()
}

/// Offers of real browsers, which are in the tree as test data.
#[test]
fn they_agree_on_the_offers_of_real_browsers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sdp/testdata");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    let place = Place::with_peers(&[]);
    let opened = place.open();
    let mut peers = 0;
    for path in entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "sdp"))
    {
        let offer = std::fs::read_to_string(&path).expect("text");
        let record = PeerRecord {
            answer: under(&offer, &opened.identity.sha256()),
            offer,
            ..record(&format!("browser{peers:03}"))
        };
        opened.vault.save(&record, now()).expect("saved");
        peers += 1;
    }
    let options = Options {
        target: place.vault_path(),
        key_file: Some(place.key_path()),
        ..Options::default()
    };
    let report = auditor::audit(&options, &mut &b""[..], now()).expect("could look");
    assert_eq!(report.files.iter().filter(|f| f.place == At::Peer).count(), peers);
    assert_eq!(
        (report.findings.len(), report.totals["unaccounted"]),
        (0, 0),
        "{:?}",
        report.findings
    );
    let unknown: Vec<_> = report.notes.iter().filter(|n| n.code == "unknown-line").collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    must_agree(&report, &options);
}
