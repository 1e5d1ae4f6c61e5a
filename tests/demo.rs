//! `rekindle demo`: killed by its own page, back at once, and gone without a trace.

mod running;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use running::{Server, agent, output, refused, rekindle, text, until};
use serde_json::Value;

/// A demonstration that runs in a folder, with its temporary files in there.
struct Demo {
    child: Child,
    url: String,
    greeting: Vec<String>,
    folder: PathBuf,
}

impl Demo {
    fn start(folder: &Path) -> Self {
        Self::start_as(&mut rekindle(folder), folder)
    }

    fn start_as(command: &mut Command, folder: &Path) -> Self {
        let mut child = command
            .args(["demo", "--http", "127.0.0.1:0"])
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let greeting: Vec<String> = stdout.lines().take(4).map(|l| l.expect("text")).collect();
        let first = greeting.first().expect("a greeting");
        let url = first.strip_prefix("rekindle demo: ").expect("the URL");
        Self {
            url: url.trim_end_matches('/').to_owned(),
            greeting,
            child,
            folder: folder.to_owned(),
        }
    }

    /// Asks to be killed, as a page of this origin; by the status.
    fn kill(&self, origin: Option<&str>) -> u16 {
        let mut request = agent().post(format!("{}/demo/kill", self.url));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send_empty().expect("an answer").status().as_u16()
    }

    fn health(&self) -> Option<Value> {
        let mut answer = agent().get(format!("{}/healthz", self.url)).call().ok()?;
        serde_json::from_str(&text(&mut answer)).ok()
    }

    /// The name of the process that runs.
    fn process(&self) -> String {
        let health = self.health().expect("healthy");
        health["process"].as_str().expect("a name").to_owned()
    }

    /// What lies in the folder of temporary files.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    fn signal(&self, name: &str) {
        running::signal(self.child.id(), name);
    }

    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

#[test]
fn its_own_page_kills_it_and_another_process_answers_at_the_same_port() {
    let folder = folder();
    let demo = Demo::start(folder.path());
    assert_eq!(demo.greeting.len(), 4);
    let page = agent().get(&demo.url).call().expect("the page");
    assert_eq!(page.headers()["server-timing"], "rekindle-demo");
    for _ in 0..3 {
        let before = demo.process();
        assert_eq!(demo.kill(Some(&demo.url)), 202);
        until("another process answers", || {
            demo.health()
                .is_some_and(|health| health["process"] != *before)
        });
    }
}

#[test]
fn other_pages_and_programs_that_are_no_pages_do_not_kill_it() {
    let folder = folder();
    let demo = Demo::start(folder.path());
    let before = demo.process();
    let elsewhere = demo.url.replace("127.0.0.1", "localhost");
    for origin in [
        None,
        Some("null"),
        Some("https://example.com"),
        Some("http://127.0.0.1:1"),
        Some(elsewhere.as_str()),
    ] {
        assert_eq!(demo.kill(origin), 403, "{origin:?}");
    }
    let got = agent().get(format!("{}/demo/kill", demo.url)).call();
    assert_eq!(got.expect("an answer").status(), 405);
    assert_eq!(demo.process(), before);
}

#[test]
fn nothing_is_left_behind_whatever_it_is_stopped_by() {
    for signal in ["TERM", "INT", "HUP"] {
        let folder = folder();
        let mut demo = Demo::start(folder.path());
        let made = demo.left();
        let [own] = &made[..] else {
            panic!("one folder, and not {made:?}");
        };
        let mode = fs::metadata(own).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(own.join("key.txt").exists() && own.join("state").exists());
        demo.signal(signal);
        assert_eq!(demo.ends(), Some(0), "{signal}");
        assert_eq!(demo.left(), <[PathBuf; 0]>::default(), "{signal}");
    }
}

#[test]
fn it_is_for_this_machine_only() {
    let folder = folder();
    for http in ["0.0.0.0:0", "192.0.2.7:8080", "[::]:0"] {
        refused(
            folder.path(),
            &["demo", "--http", http],
            &["this machine only", "127.0.0.1"],
        );
    }
}

#[test]
fn settings_of_a_server_in_the_environment_are_none_of_its_own() {
    let folder = folder();
    let mut command = rekindle(folder.path());
    command
        .env(
            "REKINDLE_PUBLISH_TOKEN",
            "a-token-that-would-make-it-public",
        )
        .env("REKINDLE_OPEN", "true")
        .env("REKINDLE_STATE_DIR", "elsewhere");
    let demo = Demo::start_as(&mut command, folder.path());
    assert_eq!(demo.kill(Some("https://example.com")), 403);
    assert_eq!(demo.left().len(), 1);
}

#[test]
fn no_other_server_has_the_button_whatever_its_environment_says() {
    let folder = folder();
    for (supervised, variable) in [(false, "0"), (false, "1"), (true, "1")] {
        let mut command = rekindle(folder.path());
        command.env("REKINDLE_DEMO", variable);
        if supervised {
            command.args(["supervise", "--"]);
        }
        let server = Server::start_as(command.arg("serve"));
        let own = server.url("");
        let answer = server.post("/demo/kill", &[("origin", &own)], b"");
        assert_eq!(answer.status(), 404);
        assert!(!server.get("/").headers().contains_key("server-timing"));
    }
}

#[test]
fn a_port_that_is_taken_is_said_and_leaves_nothing_behind() {
    let folder = folder();
    let demo = Demo::start(folder.path());
    let other = tempfile::tempdir().expect("temporary folder");
    let http = demo.url.strip_prefix("http://").expect("a URL");
    let mut command = rekindle(other.path());
    command
        .args(["demo", "--http", http])
        .env("TMPDIR", other.path());
    let said = output(&mut command);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert_eq!(fs::read_dir(other.path()).expect("a folder").count(), 0);
}
