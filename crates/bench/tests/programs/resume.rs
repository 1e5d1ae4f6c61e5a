//! `rekindle-bench resume` as a program: a tiny run, and what it says.

use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{other_server, program};

/// Runs the benchmark with these options and reads its JSON.
fn bench(options: &[&str]) -> (Value, String) {
    program::bench("resume", options)
}

fn arm<'a>(result: &'a Value, name: &str) -> &'a Value {
    let arms = result["scenarios"][0]["arms"].as_array().expect("arms");
    arms.iter().find(|arm| arm["arm"] == name).expect("the arm")
}

#[test]
fn a_run_tells_what_a_restart_costs_each_arm() {
    let options = [
        "--viewers=2",
        "--turns=1",
        "--kills=2",
        "--steady=0",
        "--arms=rehandshake,reconnect",
    ];
    let (result, table) = bench(&options);

    let ours = arm(&result, "rehandshake");
    assert_eq!(ours["kills"], 2);
    assert_eq!(ours["gap_ms"]["n"], 4, "two viewers, two kills: {ours}");
    assert_eq!(ours["viewers_lost"], 0);
    assert_eq!(ours["sessions_made"], 0, "every connection was kept");
    let median = ours["gap_ms"]["median"].as_f64().expect("a number");
    assert!(median > 0.0 && median < 10_000.0, "{median}");

    let phases: Vec<&str> = ours["phases"]
        .as_array()
        .expect("phases")
        .iter()
        .filter_map(|phase| phase["name"].as_str())
        .collect();
    for step in [
        "process started",
        "vault read",
        "publisher's handshake complete",
        "viewer's ClientHello seen",
        "first media out",
        "first media authenticated",
    ] {
        assert!(phases.contains(&step), "{step} in {phases:?}");
    }
    assert!(ours["server"]["restart_cpu_ms"]["median"].as_f64() > Some(0.0));
    assert!(
        ours["server"]["restart_written"]["files"].as_u64() >= Some(2),
        "the boot's number, each time"
    );

    let naive = arm(&result, "reconnect");
    assert_eq!(
        naive["sessions_made"], 6,
        "publisher and viewers, two kills"
    );
    assert_eq!(naive["viewers_lost"], 0);
    assert!(result["machine"]["cores"].as_u64() > Some(0));
    assert!(result["handshakes"][0]["server_cpu_ms"].as_f64() > Some(0.0));
    assert!(table.contains("2 viewers, round trip 0 ms"), "{table}");
}

#[test]
fn servers_and_offers_take_turns_in_one_run() {
    let server = program::server();
    let both = format!("--server={0},{0}", server.display());
    let (result, table) = bench(&[
        &both,
        "--dtls=both,1.2",
        "--viewers=1",
        "--turns=1",
        "--kills=1",
        "--steady=0",
        "--arms=rehandshake",
    ]);
    let arms = result["scenarios"][0]["arms"].as_array().expect("arms");
    let names: Vec<&str> = arms
        .iter()
        .filter_map(|arm| arm["variant"]["name"].as_str())
        .collect();
    let expected = [
        "server 1, 1.3 and 1.2",
        "server 1, 1.2",
        "server 2, 1.3 and 1.2",
        "server 2, 1.2",
    ];
    assert_eq!(names, expected);
    for arm in arms {
        assert_eq!(arm["gap_ms"]["n"], 1, "{arm}");
        assert_eq!(arm["viewers_lost"], 0);
    }
    for name in expected {
        assert!(table.contains(name), "{table}");
    }
    assert_eq!(result["handshakes"].as_array().map(Vec::len), Some(4));
}

/// Against the server as it is built here, with BoringSSL or without.
#[cfg(feature = "boring")]
#[test]
fn clients_with_boringssl_come_back_with_either_group() {
    let (result, _) = bench(&[
        "--dtls=x25519,x25519mlkem768",
        "--viewers=2",
        "--turns=1",
        "--kills=1",
        "--steady=0",
        "--arms=rehandshake",
    ]);
    let arms = result["scenarios"][0]["arms"].as_array().expect("arms");
    assert_eq!(arms.len(), 2);
    for arm in arms {
        assert_eq!(arm["gap_ms"]["n"], 2, "{arm}");
        assert_eq!(arm["sessions_made"], 0);
    }
}

#[test]
fn delay_and_loss_are_felt() {
    let (result, _) = bench(&[
        "--rtt=40",
        "--loss=1",
        "--turns=1",
        "--kills=1",
        "--steady=0",
        "--arms=rehandshake",
    ]);
    let ours = arm(&result, "rehandshake");
    // The event stream's end, its return and the handshake take more than two round trips.
    let median = ours["gap_ms"]["median"].as_f64().expect("a number");
    assert!(median >= 80.0, "{median} ms");
    assert_eq!(ours["viewers_lost"], 0);
}

#[test]
fn another_server_is_measured_by_leaving_it_and_coming_again() {
    let server = program::Running::start();
    let (result, _) = bench(&[
        "--against",
        &server.url,
        "--viewers=2",
        "--turns=1",
        "--kills=1",
        "--steady=0",
    ]);
    let arm = arm(&result, "reconnect");
    assert_eq!(arm["viewers_lost"], 0);
    assert_eq!(arm["gap_ms"]["n"], 2, "{arm}");
}

/// It answers as most servers do: it begins the DTLS handshake itself, and is no ICE-lite agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_make_is_measured_too() {
    let server = other_server::OtherServer::start().await;
    let url = format!("http://{}/whep", server.address);
    let run = tokio::task::spawn_blocking(move || {
        bench(&[
            "--against",
            &url,
            "--viewers=2",
            "--turns=1",
            "--kills=2",
            "--steady=0",
        ])
    });
    let (result, _) = run.await.expect("it runs");
    let arm = arm(&result, "reconnect");
    assert_eq!(arm["viewers_lost"], 0, "{arm}");
    assert_eq!(arm["gap_ms"]["n"], 4, "{arm}");
    let answer = server.answer.lock().expect("not poisoned");
    assert!(answer.contains("a=setup:active"), "{answer}");
}

#[test]
fn a_sweep_tells_the_gap_beyond_the_down_time_at_every_point_in_both_manners() {
    let (result, table) = bench(&["--sweep=0..100:100", "--rtt=20"]);
    let sweep = &result["sweep"];
    assert_eq!(sweep["cut_short"], false);
    assert_eq!(
        (&sweep["points_planned"], &sweep["points_missing"]),
        (&4.into(), &0.into())
    );
    let rows = sweep["rows"].as_array().expect("rows");
    let who: Vec<&Value> = rows.iter().map(|row| &row["client"]).collect();
    assert_eq!(who, ["chromium", "firefox"]);
    for row in rows {
        assert_eq!(
            (&row["arm"], &row["rtt_ms"]),
            (&"rehandshake".into(), &20.into())
        );
        assert!(row["calm_ms"].as_f64() > Some(0.0), "{row}");
        assert_eq!(
            row["summary"]["new_sessions"], 0,
            "every connection was kept: {row}"
        );
        let downs = row["points"].as_array().expect("points");
        assert_eq!(downs.len(), 2);
        for (point, down) in downs.iter().zip([0.0, 100.0]) {
            assert_eq!(point["down_ms"].as_f64(), Some(down));
            let reading = &point["readings"][0];
            let gap = reading["gap_ms"].as_f64().expect("media again");
            let over = reading["over_ms"].as_f64().expect("media again");
            assert!((gap - down - over).abs() < 0.01, "{reading}");
            // The way of a ClientHello, of its answer and of media.
            assert!(over > 30.0 && over < 10_000.0, "{reading}");
            assert!(
                reading["down_measured_ms"].as_f64() >= Some(down),
                "{reading}"
            );
        }
        let limit = row["calm_ms"].as_f64().expect("a number") + 120.0 + 100.0;
        let said = row["summary"]["worst_limit_ms"].as_f64().expect("a number");
        assert!((limit - said).abs() < 0.01, "{row}");
    }
    assert!(
        sweep["order"]
            .as_str()
            .is_some_and(|order| order.contains("seed 1")),
        "{sweep}"
    );
    assert!(
        table.contains("down, ms") && table.contains("firefox 20 ms"),
        "{table}"
    );
}

/// Processes whose working folder is in this one.
fn processes_in(folder: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let places =
        processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    places.filter(|place| place.starts_with(folder)).count()
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::INT).expect("it is there");
}

/// A long run whose servers live in the folder.
fn start(folder: &Path, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rekindle-bench"))
        .args(["resume", "--folder"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

#[test]
fn a_sweep_that_is_interrupted_reports_what_it_has_and_leaves_no_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let servers = folder.path().join("servers");
    std::fs::create_dir(&servers).expect("a folder");
    let [json, html] = ["result.json", "result.html"].map(|name| folder.path().join(name));
    let outputs = [&json, &html].map(|path| path.to_str().expect("text"));
    let options = [
        "--sweep",
        "--rtt=0",
        "--steady=0",
        "--json",
        outputs[0],
        "--html",
        outputs[1],
    ];
    let mut child = start(&servers, &options);
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = std::io::BufReader::new(stderr)
        .lines()
        .map_while(Result::ok);
    let first = lines
        .find(|line| line.contains(" of 61 kills"))
        .expect("a line of progress");
    assert!(first.contains("left"), "{first}");
    // At times there is none, as at each kill.
    while processes_in(&servers) == 0 {
        assert!(child.try_wait().expect("a state").is_none(), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(processes_in(&servers), 0);
    assert_eq!(
        std::fs::read_dir(&servers).expect("a folder").count(),
        0,
        "nothing is left"
    );

    let table = String::from_utf8_lossy(&output.stdout);
    let result: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a result")).expect("JSON");
    let sweep = &result["sweep"];
    assert_eq!(sweep["cut_short"], true);
    let [planned, measured, missing] = ["planned", "measured", "missing"]
        .map(|name| sweep[format!("points_{name}")].as_u64().expect("a number"));
    assert_eq!((planned, planned - missing), (122, measured));
    assert!(measured >= 2 && missing > 0, "{measured} measured");
    let words = format!("CUT SHORT: {missing} of 122 points are missing");
    assert!(table.contains(&words), "{table}");
    assert!(
        std::fs::read_to_string(&html)
            .expect("a page")
            .contains(&words)
    );
}

#[test]
fn a_run_that_is_interrupted_for_good_leaves_no_server_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = start(folder.path(), &["--viewers=1", "--arms=rehandshake"]);
    while processes_in(folder.path()) == 0 {
        assert!(
            child.try_wait().expect("a state").is_none(),
            "it ended before it was asked to"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(processes_in(folder.path()), 0);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "nothing is left"
    );
}

#[test]
fn a_server_without_full_state_mode_is_refused_for_that_arm_with_the_remedy() {
    // It says what it is, and does nothing else.
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\necho rekindle 0.1.0\n").expect("written");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).expect("set");
    let said = |server: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle-bench"))
            .args(["resume", "--arms=rehandshake,full-state", "--server"])
            .arg(server)
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refusal = said(&plain);
    assert!(refusal.contains("--features full-state"), "{refusal}");
    let missing = said(&folder.path().join("nowhere"));
    assert!(missing.contains("cargo build --release"), "{missing}");
}
