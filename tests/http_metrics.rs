//! What `/metrics` says of restarts: who came back and when, who did not and why, and which
//! handshakes failed.

mod live;
mod running;
mod secure;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use live::{Live, broadcast, offered, path, renew, run_for, run_until, run_until_connected};
use rekindle::ids::Role;
use running::{PATIENCE, PUBLISH, Server, rekindle, text};

/// The value of a line of `/metrics`.
#[track_caller]
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix("rekindle_")?
            .strip_prefix(name)?
            .strip_prefix(' ')
    });
    let line = line.unwrap_or_else(|| panic!("{name} is not in {metrics}"));
    line.parse().expect("a number")
}

/// `/metrics`, once a line has this value.
#[track_caller]
fn wait_for(server: &Server, name: &str, expected: f64) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = text(&mut server.get("/metrics"));
        if value(&metrics, name) == expected {
            return metrics;
        }
        assert!(
            Instant::now() < deadline,
            "{name} is not {expected} in {metrics}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// No browser was lost, for any reason.
#[track_caller]
fn nobody_is_lost(metrics: &str) {
    let lost: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("rekindle_peers_lost_total{"))
        .collect();
    assert_eq!(lost.len(), 6, "{lost:?}");
    assert!(lost.iter().all(|line| line.ends_with(" 0")), "{lost:?}");
}

#[test]
fn browsers_that_come_back_after_a_kill_are_counted_with_the_time_that_it_took() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let (mut publisher, mut viewer) = broadcast(&server, "main", 900);
    let metrics = wait_for(&server, "handshakes_total", 2.0);
    assert_eq!(value(&metrics, "peers_resumed_total"), 0.0);
    assert_eq!(value(&metrics, "resume_last_seconds"), 0.0);
    nobody_is_lost(&metrics);

    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    let begin = Instant::now();
    renew(&mut [&mut publisher, &mut viewer]);
    let metrics = wait_for(&server, "peers_resumed_total", 2.0);
    nobody_is_lost(&metrics);
    assert_eq!(value(&metrics, "handshakes_total"), 2.0);
    assert_eq!(value(&metrics, "resume_seconds_count"), 2.0);
    assert_eq!(value(&metrics, "resume_seconds_bucket{le=\"+Inf\"}"), 2.0);
    // The process was started before it had announced itself, so at most by the slack more than was
    // measured here.
    let most = begin.elapsed().as_secs_f64() + 5.0;
    let (sum, last) = (
        value(&metrics, "resume_seconds_sum"),
        value(&metrics, "resume_last_seconds"),
    );
    assert!(0.0 < last && last <= sum && last < most, "{last} of {sum}");
    assert!(
        value(&metrics, "resume_seconds_bucket{le=\"30\"}") == 2.0,
        "{metrics}"
    );
    let ready = value(&metrics, "ready_seconds");
    assert!(0.0 < ready && ready < most, "{ready}");

    // One that renews its keys again is not back once more.
    renew(&mut [&mut viewer]);
    let metrics = wait_for(&server, "handshakes_total", 3.0);
    assert_eq!(value(&metrics, "peers_resumed_total"), 2.0);
}

#[test]
fn browsers_that_do_not_come_back_after_a_kill_are_counted_by_reason() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let mut plain = offered(Role::Publisher, 910);
    plain.sdp = plain.sdp.replace("a=tool:rekindle\r\n", "");
    let answer = server.offer(&path(Role::Publisher, "plain"), &plain.sdp);
    let mut plain = Live::answered(&server, Role::Publisher, plain, answer);
    let mut page = Live::join(&server, Role::Publisher, "page", 911);
    run_until_connected(&mut [&mut plain, &mut page]);
    // One that stays away, and one that says goodbye.
    server.join(
        "/whip/away",
        &PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1),
    );
    let leaves = server.join(
        "/whip/leaves",
        &PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1),
    );
    let torn = folder.path().join("rekindle-state/peers/Vtorn000000.age");
    fs::write(torn, "torn").expect("written");

    let mut command = rekindle(folder.path());
    let server = server.kill_and_start_again_as(command.args(["--resume-window", "2"]));
    assert_eq!(server.delete(&leaves).status(), 200);
    page.client.renew(Instant::now());
    // The plain one checks as ever, and does not know that it should run a handshake.
    run_for(&mut [&mut plain, &mut page], Duration::from_secs(4));
    let metrics = wait_for(&server, "peers_lost_total{reason=\"silent\"}", 1.0);
    for (name, expected) in [
        ("peers_lost_total{reason=\"no-rehandshake\"}", 1.0),
        ("peers_lost_total{reason=\"unreadable\"}", 1.0),
        ("peers_lost_total{reason=\"replaced\"}", 0.0),
        ("peers_resumed_total", 1.0),
        ("peers{state=\"awaited\"}", 0.0),
        ("sessions_ended_total{reason=\"left\"}", 1.0),
        ("sessions_ended_total{reason=\"silent\"}", 1.0),
        ("sessions_ended_total{reason=\"no-rehandshake\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, name), expected, "{name} in {metrics}");
    }
}

#[test]
fn handshakes_that_fail_are_counted_by_cause() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let mut stranger = Live::join(&server, Role::Publisher, "main", 920);
    stranger.client.session.certificate = support::Certificate::new();
    let failed = "handshakes_failed_total{cause=\"certificate\"}";
    run_until(&mut [&mut stranger], "its handshake fails", |_| {
        value(&text(&mut server.get("/metrics")), failed) >= 1.0
    });
    let metrics = wait_for(
        &server,
        "sessions_ended_total{reason=\"no-handshake\"}",
        1.0,
    );
    assert!(value(&metrics, failed) >= 1.0, "{metrics}");
    assert_eq!(value(&metrics, "handshakes_total"), 0.0);
    assert_eq!(value(&metrics, "peers_lost_total{reason=\"silent\"}"), 0.0);
}

/// What is described, and of what kind.
fn described(metrics: &str) -> Vec<(&str, &str)> {
    let lines = metrics.lines();
    let types = lines.filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.collect()
}

/// `/metrics` of a server that has all of them, in the format that is asked for.
fn everything(accept: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let certificate = secure::Certificate::new(folder.path());
    let server = Server::start(folder.path(), &certificate.options());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut client = certificate.http2(server.http()).await;
        client.join("/whip/live/one", PUBLISH).await;
        let request = client.request("GET", "/metrics").header("accept", accept);
        let answer = client
            .send(request.body(Default::default()).expect("a request"))
            .await;
        let kind = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        (kind, secure::text(answer.into_body()).await)
    })
}

#[test]
fn each_metric_is_described_once_and_each_line_can_be_read() {
    let (kind, metrics) = everything("text/plain");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let described = described(&metrics);
    let mut names = BTreeSet::new();
    for (name, kind) in &described {
        assert!(names.insert(*name), "{name} twice");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
    }
    let mut last = "";
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            last = rest;
        }
        if line.starts_with("# ") {
            continue;
        }
        let (of, kind) = last.split_once(' ').expect("described before");
        let (name, number) = line.rsplit_once(' ').expect("a value");
        assert!(number.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().expect("a name");
        let of_histogram = ["_bucket", "_sum", "_count"].map(|part| format!("{of}{part}"));
        let own = if kind == "histogram" {
            of_histogram.contains(&name.to_owned())
        } else {
            name == of
        };
        assert!(own, "{line} below {of}");
    }
    assert!(described.len() >= 35, "{described:?}");
    // docs/metrics.md lists them all.
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"))
        .expect("readable");
    for (name, _) in described {
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} is not in docs/metrics.md"
        );
    }
}

#[test]
fn in_openmetrics_families_have_their_own_names_and_the_text_has_an_end() {
    let (kind, open) = everything("application/openmetrics-text;version=1.0.0");
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);
    for line in [
        "# TYPE rekindle_handshakes counter",
        "\nrekindle_handshakes_total 0\n",
        "# TYPE rekindle_build info",
        "\nrekindle_build_info{version=\"",
        "\nrekindle_resume_seconds_bucket{le=\"1.0\"} 0\n",
        "\nrekindle_vault_write_seconds_count 1\n",
        "\nrekindle_tls_handshakes_total{version=\"1.3\"} 1\n",
        "\nrekindle_channel_viewers{channel=\"live/one\"} 0\n",
    ] {
        assert!(open.contains(line), "{line:?} is not in {open}");
    }
    let (_, plain) = everything("text/plain");
    let families = |text: &str| -> BTreeSet<String> {
        let short = |name: &str| {
            name.trim_end_matches("_total")
                .trim_end_matches("_info")
                .to_owned()
        };
        described(text)
            .iter()
            .map(|(name, _)| short(name))
            .collect()
    };
    assert_eq!(families(&open), families(&plain));
}

/// What Prometheus' own tool says, where it is installed; CI has it.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let spawned = Command::new("promtool")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(
            std::env::var_os("CI").is_none_or(|v| v != "true"),
            "CI needs the Debian package prometheus"
        );
        println!("skipped: promtool is not installed (Debian package: prometheus)");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("read");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    Some(said)
}

#[test]
fn prometheus_own_tool_finds_no_fault_with_metrics_and_alerts() {
    let (_, metrics) = everything("text/plain");
    if let Some(said) = promtool(&["check", "metrics"], &metrics) {
        assert_eq!(said, "");
    }
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts-test.yml"], "");
}

#[test]
fn dashboard_and_alerts_go_by_metrics_that_there_are() {
    let (_, metrics) = everything("text/plain");
    let names: BTreeSet<&str> = described(&metrics).iter().map(|(name, _)| *name).collect();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for file in ["alerts.yml", "alerts-test.yml", "dashboard.json"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/monitoring/");
        let text = fs::read_to_string(format!("{path}{file}")).expect("readable");
        let word = |c: char| !(c.is_ascii_lowercase() || c == '_');
        for name in text
            .split(word)
            .filter(|word| word.starts_with("rekindle_"))
        {
            let of = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| names.get(name.strip_suffix(part)?))
                .or(names.get(name));
            assert!(of.is_some(), "{file}: there is no {name}");
            used.extend(of);
        }
    }
    assert!(used.len() > 20, "{used:?}");
}
