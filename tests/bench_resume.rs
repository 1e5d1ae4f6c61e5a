//! `rekindle bench resume` as a program: a tiny run, and what it says.

mod other_server;
mod other_stack;

use std::process::Command;

use serde_json::Value;

/// Runs the benchmark with these options and reads its JSON.
fn bench(options: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["bench", "resume", "--json"])
        .arg(&json)
        .arg("--folder")
        .arg(folder.path())
        .args(options)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&json).expect("a result");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    (serde_json::from_str(&text).expect("JSON"), table)
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
    assert_eq!(naive["sessions_made"], 6, "publisher and viewers, two kills");
    assert_eq!(naive["viewers_lost"], 0);
    assert!(result["machine"]["cores"].as_u64() > Some(0));
    assert!(result["handshake"]["server_cpu_ms"].as_f64() > Some(0.0));
    assert!(table.contains("2 viewers, round trip 0 ms"), "{table}");
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
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .current_dir(folder.path())
        .args([
            "serve",
            "--http=127.0.0.1:0",
            "--udp=127.0.0.1:0",
            "--announce=json",
            "--join-rate=0",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    let url = format!("http://{}/whep/any", ready["http"].as_str().expect("an address"));
    let (result, _) = bench(&["--against", &url, "--viewers=2", "--turns=1", "--kills=1", "--steady=0"]);
    server.kill().expect("killed");
    server.wait().expect("ended");
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
        bench(&["--against", &url, "--viewers=2", "--turns=1", "--kills=2", "--steady=0"])
    });
    let (result, _) = run.await.expect("it runs");
    let arm = arm(&result, "reconnect");
    assert_eq!(arm["viewers_lost"], 0, "{arm}");
    assert_eq!(arm["gap_ms"]["n"], 4, "{arm}");
    let answer = server.answer.lock().expect("not poisoned");
    assert!(answer.contains("a=setup:active"), "{answer}");
}
