//! The independent decoder in Python must agree with the auditor on every file of every test.

use super::audit::options;
use super::*;
use crate::audit::{self as auditor, Options, Place as At, Report};

/// Runs the decoder on a vault and compares, field by field.
pub(super) fn must_agree(report: &Report, options: &Options) {
    let (Some(key), Some(_), false) = (&options.key_file, &report.vault, options.reveal) else {
        return;
    };
    let report = serde_json::to_value(report).expect("JSON");
    rekindle_testing::agreement::must_agree(
        &report,
        key,
        &options.target,
        cfg!(feature = "full-state"),
    );
}

/// Audits a vault and compares.
pub(super) fn must_agree_on(place: &Place) {
    let options = options(place);
    let report = auditor::audit(&options, &mut &b""[..], now()).expect("could look");
    must_agree(&report, &options);
}

/// A session description that names this certificate.
fn under(sdp: &str, certificate: &[u8; 32]) -> String {
    let own = format!(
        "a=fingerprint:{}",
        rekindle_sdp::fingerprint_value("sha-256", certificate)
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
    let entries =
        std::fs::read_dir(rekindle_testing::file("crates/sdp/src/testdata")).expect("offers");
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
    let options = options(&place);
    let report = auditor::audit(&options, &mut &b""[..], now()).expect("could look");
    assert_eq!(
        report.files.iter().filter(|f| f.place == At::Peer).count(),
        peers
    );
    assert_eq!(
        (report.findings.len(), report.totals["unaccounted"]),
        (0, 0),
        "{:?}",
        report.findings
    );
    let unknown: Vec<_> = report
        .notes
        .iter()
        .filter(|n| n.code == "unknown-line")
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    must_agree(&report, &options);
}
