//! `rekindle-bench load` and `rekindle-bench ceilings` as programs: tiny runs, and what they say.

use serde_json::Value;

use crate::program::{Running, bench};

fn figure(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn first(result: &Value) -> &Value {
    &result["scenarios"][0]["servers"][0]
}

#[test]
fn every_packet_comes_to_every_viewer_and_its_cost_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let (result, table) = bench(
        "load",
        &[
            "--viewers=20",
            "--seconds=2",
            "--turns=1",
            "--bitrate=500000",
            "--html",
            page.to_str().expect("a path"),
        ],
    );
    let figures = &first(&result)["median"];
    assert_eq!(figure(&figures["loss_percent"]), 0.0, "{figures}");
    assert_eq!(figure(&figures["undecryptable"]), 0.0, "{figures}");
    let published = figure(&figures["published_per_second"]);
    // 50 packets of sound, and 30 frames of two packets.
    assert!(published > 80.0, "{published}");
    let delivered = figure(&figures["packets_per_second"]);
    assert!((delivered - 20.0 * published).abs() < 0.01, "{figures}");

    let [p50, p99, max] =
        ["delay_p50_us", "delay_p99_us", "delay_max_us"].map(|name| figure(&figures[name]));
    assert!(p50 > 0.0 && p50 <= p99 && p99 <= max, "{figures}");

    let server = &figures["server"];
    let [all, user, system] = [
        "cpu_us_per_packet",
        "user_us_per_packet",
        "system_us_per_packet",
    ]
    .map(|name| figure(&server[name]));
    assert!(all > 0.0 && (user + system - all).abs() < 1e-6, "{server}");
    assert!(figure(&server["resident_mib"]) > 1.0, "{server}");
    let threads = first(&result)["threads"].as_array().expect("threads");
    let names: Vec<&str> = threads
        .iter()
        .filter_map(|thread| thread["name"].as_str())
        .collect();
    assert!(names.contains(&"media"), "{names:?}");

    assert!(table.contains("20 viewers, 0.5 Mbit/s"), "{table}");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("20 viewers") && !page.contains("<script"));
}

#[test]
fn what_is_lost_on_the_way_is_told_of_a_server_that_runs_already() {
    let server = Running::start();
    let process = server.process().to_string();
    let (result, _) = bench(
        "load",
        &[
            "--against",
            &server.url,
            "--server-pid",
            &process,
            "--name=theirs",
            "--viewers=20",
            "--sound-only",
            "--loss=10",
            "--seconds=2",
            "--turns=2",
        ],
    );
    let arm = first(&result);
    assert_eq!(arm["name"], "theirs");
    assert_eq!(arm["turns"].as_array().map(Vec::len), Some(2));
    // Sound is not sent again. Some 4000 packets: 10 %, and less than 6 only by a fault.
    let lost = figure(&arm["median"]["loss_percent"]);
    assert!((6.0..15.0).contains(&lost), "{arm}");
    assert!(figure(&arm["median"]["server"]["cores"]) > 0.0, "{arm}");
}

#[test]
fn every_way_of_sending_has_its_cost() {
    let (result, table) = bench("ceilings", &["--viewers=5", "--bursts=2"]);
    let rows = result["scenarios"][0]["rows"].as_array().expect("rows");
    // Sending, then a stream, then three ways of receiving at two paces.
    assert_eq!(rows.len(), 24);
    for row in rows {
        assert!(figure(&row["cpu_us_per_packet"]) > 0.0, "{row}");
    }
    assert!(
        table.contains("AES-128-GCM + sendmmsg, GSO of 16"),
        "{table}"
    );
    assert!(table.contains("two, SO_REUSEPORT"), "{table}");
}
