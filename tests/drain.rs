//! A node of a cluster that gives its sessions away and ends: by the admin interface, and by
//! `rekindle drain`, which says how far it is.
#![cfg(feature = "etcd")]

mod nodes;
mod running;
mod secure;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use nodes::Cluster;
use running::{
    PUBLISH, Server, WATCH, assert_problem, header, output, refused, rekindle, said, until,
};
use secure::Certificate;

const TOKEN: &str = "a-token-of-more-than-thirty-two-characters";

/// A node that operators can ask, and where.
fn with_admin(cluster: &Cluster, node: &str, options: &[&str]) -> (Server, String) {
    let mut command = cluster.command(node);
    let server = Server::start_as(command.args(["--admin", "127.0.0.1:0"]).args(options));
    let admin = server.ready["admin"].as_str().expect("an address");
    let admin = admin.to_owned();
    (server, admin)
}

/// `rekindle drain`, with what it has said so far.
struct Draining {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reading: JoinHandle<()>,
}

impl Draining {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut process = rekindle(cluster.path())
            .arg("drain")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = process.stdout.take().expect("a pipe");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let all = lines.clone();
        let reading = spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                all.lock().expect("lines").push(line);
            }
        });
        Self {
            process,
            lines,
            reading,
        }
    }

    fn has_said(&self, part: &str) -> bool {
        let lines = self.lines.lock().expect("lines");
        lines.iter().any(|line| line.contains(part))
    }

    /// Its exit code, its lines, and what it has said on standard error.
    fn ends(self) -> (Option<i32>, Vec<String>, String) {
        let output = self.process.wait_with_output().expect("it ends");
        self.reading.join().expect("read");
        let lines = self.lines.lock().expect("lines").clone();
        (output.status.code(), lines, said(&output))
    }
}

/// A page: once it is told that its session is not at one node, it goes on at the other. Resolves
/// with what this gave, and its place among those that came.
fn page(
    from: &Server,
    to: &Server,
    session: &str,
    came: &Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    let path = format!("{session}/events");
    let mut events = from.events(&path);
    assert!(events.next().is_some());
    let (there, came) = (to.url(&path), came.clone());
    spawn(move || {
        let gone = std::iter::from_fn(|| events.next()).find(|(name, _)| name == "gone");
        assert_eq!(gone.expect("told").1["reason"], "unknown-session");
        let answer = ureq::get(&there).call().expect("it is there");
        let mut lines = BufReader::new(answer.into_body().into_reader()).lines();
        let hello = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("data: ")));
        came.lock()
            .expect("list")
            .push(hello.expect("a greeting").expect("text"));
    })
}

fn until_known(node: &Server, path: &str) {
    until("the node knows another one", || {
        let (_, hello) = node.events(path).next().expect("an event");
        hello["nodes"][0]["url"].is_string()
    });
}

#[test]
fn a_node_that_is_drained_gives_its_sessions_away_and_ends() {
    let cluster = Cluster::new();
    let mut command = cluster.command("a");
    let mut a = Server::start_as(command.args(["--admin", "127.0.0.1:0"]));
    let admin = a.ready["admin"].as_str().expect("an address").to_owned();
    let drain = |query: &str| {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let url = format!("http://{admin}/api/drain{query}");
        let answer = ureq::Agent::from(agent).post(url).send_empty();
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(drain(""), 409, "there is no other node");
    let b = cluster.start("b");
    let session = a.join("/whip/news", PUBLISH);
    let path = format!("{session}/events");
    let mut events = a.events(&path);
    assert!(events.next().is_some());
    until("a knows b", || {
        let (_, hello) = a.events(&path).next().expect("an event");
        hello["nodes"][0]["url"].is_string()
    });
    assert_eq!(drain("?rate=many"), 400);
    assert_eq!(drain("?rate=10"), 202);
    let gone = std::iter::from_fn(|| events.next()).find(|(name, _)| name == "gone");
    assert_eq!(gone.expect("told").1["reason"], "unknown-session");
    assert_problem(a.get(&path), 404, "no-session");
    assert_eq!(a.get("/readyz").status(), 503);
    let sent = a.offer("/whip/other", PUBLISH);
    assert_eq!(
        (sent.status().as_u16(), header(&sent, "location")),
        (307, "http://b.example/whip/other")
    );
    assert!(b.events(&path).next().is_some());
    assert_eq!(cluster.owner().as_deref(), Some("b"));
    assert_eq!(a.ends(), Some(3));
    assert_eq!(cluster.records(), 1, "nothing of b's is lost");
}

#[test]
fn the_command_gives_all_away_publishers_first_and_says_how_far_it_is() {
    let cluster = Cluster::new();
    std::fs::write(cluster.path().join("token"), TOKEN).expect("written");
    let (mut a, admin) = with_admin(&cluster, "a", &["--admin-token-file", "token"]);
    let b = cluster.start("b");
    let came = Arc::new(Mutex::new(Vec::new()));
    let mut pages = Vec::new();
    let news = a.join("/whip/news", PUBLISH);
    for _ in 0..4 {
        pages.push(page(&a, &b, &a.join("/whep/news", WATCH), &came));
    }
    pages.push(page(&a, &b, &news, &came));
    // A client of others, which nobody can tell where to go.
    a.join("/whep/news", WATCH);
    until_known(&a, &format!("{news}/events"));
    assert_eq!(cluster.records(), 6);

    let arguments = [
        "--admin",
        &admin,
        "--admin-token-file",
        "token",
        "--rate",
        "2",
    ];
    let (code, lines, errors) = Draining::start(&cluster, &arguments).ends();
    assert_eq!((code, &*errors), (Some(0), ""), "{lines:?}");
    assert_eq!(lines[0], "peers to give away: 6, at most 2 a second");
    let last = "peers that went to other nodes: 5 of 6; without a page, and let go to come anew: 1. \
                The server ends";
    assert_eq!(lines.last().expect("a line"), last);
    assert!(
        lines.iter().any(|line| line.contains("peers still here: ")),
        "{lines:?}"
    );
    // A supervisor does not start it again.
    assert_eq!(a.ends(), Some(3));
    for page in pages {
        page.join().expect("a page that went on");
    }
    let came = came.lock().expect("list");
    assert!(came[0].contains("\"publisher\""), "{came:?}");
    assert_eq!(came.len(), 5);
}

#[test]
fn without_another_node_nobody_more_is_sent_away() {
    let cluster = Cluster::new();
    let (mut a, admin) = with_admin(&cluster, "a", &[]);
    let b = cluster.start("b");
    let came = Arc::new(Mutex::new(Vec::new()));
    let first = page(&a, &b, &a.join("/whip/one", PUBLISH), &came);
    let viewer = a.join("/whep/one", WATCH);
    let mut waits = a.events(&format!("{viewer}/events"));
    assert!(waits.next().is_some());
    until_known(&a, &format!("{viewer}/events"));

    // A publisher without a page holds the viewers up for a moment, in which the other node ends.
    a.join("/whip/two", PUBLISH);
    let draining = Draining::start(&cluster, &["--admin", &admin, "--rate", "1"]);
    first.join().expect("a page that went on");
    let (code, _) = b.terminate();
    assert_eq!(code, Some(0));
    until("it waits", || draining.has_said("no other node is alive"));
    let b = cluster.start("b");
    let gone = std::iter::from_fn(|| waits.next()).find(|(name, _)| name == "gone");
    assert_eq!(gone.expect("told").1["reason"], "unknown-session");
    assert!(b.events(&format!("{viewer}/events")).next().is_some());
    let (code, lines, errors) = draining.ends();
    assert_eq!((code, &*errors), (Some(0), ""), "{lines:?}");
    assert_eq!(a.ends(), Some(3));
}

#[test]
fn a_server_that_dies_meanwhile_is_said_to_have_left_some() {
    let cluster = Cluster::new();
    let (a, admin) = with_admin(&cluster, "a", &[]);
    let _b = cluster.start("b");
    let session = a.join("/whip/news", PUBLISH);
    until_known(&a, &format!("{session}/events"));
    let draining = Draining::start(&cluster, &["--admin", &admin]);
    until("it has begun", || {
        draining.has_said("peers to give away: 1")
    });
    a.kill();
    let (code, _, errors) = draining.ends();
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("peers that were still its own: 1"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn what_cannot_be_drained_is_told_with_a_remedy_and_goes_on() {
    let cluster = Cluster::new();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let all: Vec<&str> = ["drain"].iter().chain(arguments).copied().collect();
        refused(cluster.path(), &all, parts);
    };
    refused(&[], &["give --admin ADDR"]);
    refused(
        &["--admin", "127.0.0.1:1"],
        &["127.0.0.1:1", "start the server with --admin"],
    );
    std::fs::write(cluster.path().join("token"), TOKEN).expect("written");
    let (a, admin) = with_admin(&cluster, "a", &["--admin-token-file", "token"]);
    refused(
        &["--admin", &admin],
        &["another admin token", "--admin-token-file"],
    );
    refused(
        &["--admin", &admin, "--admin-token", "another-one"],
        &["another admin token"],
    );
    let shown = ["--admin", &admin, "--admin-token-file", "token"];
    refused(&shown, &["no other node", "--node-url"]);
    refused(
        &["--admin", &a.http().to_string()],
        &["the server refuses (404)"],
    );
    assert_eq!(a.get("/readyz").status(), 200);
}

#[test]
fn the_options_of_the_server_are_those_of_the_command() {
    let cluster = Cluster::new();
    std::fs::write(cluster.path().join("token"), TOKEN).expect("written");
    let (mut a, admin) = with_admin(&cluster, "a", &["--admin-token-file", "token"]);
    let b = cluster.start("b");
    let session = a.join("/whip/news", PUBLISH);
    until_known(&a, &format!("{session}/events"));
    drop(b.events(&format!("{session}/events")));
    let config = format!("admin = \"{admin}\"\nadmin-token-file = \"token\"\n");
    std::fs::write(cluster.path().join("config.toml"), config).expect("written");
    let drained = output(rekindle(cluster.path()).args(["drain", "--config", "config.toml"]));
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    assert_eq!(a.ends(), Some(3));
}

#[test]
fn a_server_that_speaks_https_to_operators_is_drained_over_tls_and_nowhere_else() {
    let cluster = Cluster::new();
    std::fs::write(cluster.path().join("token"), TOKEN).expect("written");
    let certificate = Certificate::new(cluster.path());
    let other = Certificate::new(&cluster.path().join("other"));
    let [ca, other_ca] = [&certificate, &other].map(|one| one.cert.to_str().expect("text"));
    let mut command = cluster.command("a");
    command.args(["--admin", "0.0.0.0:0", "--admin-token-file", "token"]);
    let mut a = Server::start_as(command.args(certificate.options()));
    let admin = a.ready["admin"].as_str().expect("an address");
    let port = admin.rsplit_once(':').expect("a port").1;
    let b = cluster.start("b");
    let (runtime, http) = (tokio::runtime::Runtime::new().expect("a runtime"), a.http());
    runtime.block_on(async {
        let mut client = certificate.http2(http).await;
        client.join("/whip/news", PUBLISH).await;
    });
    until("a knows b", || cluster.etcd.keys("vault/nodes/").len() == 2);

    let refused = |admin: &str, more: &[&str], part: &str| {
        let first = ["drain", "--admin", admin, "--admin-token-file", "token"];
        refused(cluster.path(), &[&first, more].concat(), &[part]);
    };
    let by_name = format!("https://localhost:{port}");
    let wrong_name = format!("https://127.0.0.2:{port}");
    refused(&by_name, &["--admin-ca", other_ca], "--admin-ca FILE");
    refused(&by_name, &["--admin-ca", "token"], "PEM form");
    refused(&wrong_name, &["--admin-ca", ca], "give the name that is in");
    let plain = format!("127.0.0.1:{port}");
    refused(&plain, &[], "speaks HTTPS to operators");
    refused(&plain, &["--admin-ca", ca], "--admin-ca is of no use");
    let http = format!("https://{}", b.http());
    refused(&http, &["--admin-ca", ca], "without https://");
    // Nothing is sent to where the server's own file says that there is TLS.
    let config = "admin = \"0.0.0.0:1\"\ntls-cert = \"tls/cert.pem\"\n";
    std::fs::write(cluster.path().join("config.toml"), config).expect("written");
    let from_file = output(rekindle(cluster.path()).args(["drain", "--config", "config.toml"]));
    assert_eq!(from_file.status.code(), Some(2));
    assert!(said(&from_file).contains("speaks HTTPS to operators"));

    let arguments = [
        "--admin",
        &by_name,
        "--admin-ca",
        ca,
        "--admin-token-file",
        "token",
    ];
    let (code, lines, errors) = Draining::start(&cluster, &arguments).ends();
    assert_eq!((code, &*errors), (Some(0), ""), "{lines:?}");
    assert_eq!(lines[0], "peers to give away: 1");
    assert_eq!(a.ends(), Some(3));
}

#[test]
fn a_supervisor_ends_with_a_server_that_was_drained() {
    let cluster = Cluster::new();
    let node = cluster.command("a");
    let mut command = Command::new(node.get_program());
    command
        .current_dir(cluster.path())
        .args(["supervise", "--", "serve"]);
    command
        .args(node.get_args())
        .args(["--admin", "127.0.0.1:0"]);
    let mut supervisor = Server::start_as(&mut command);
    let _b = cluster.start("b");
    let admin = supervisor.ready["admin"]
        .as_str()
        .expect("an address")
        .to_owned();
    until("it is drained", || {
        let drained = output(rekindle(cluster.path()).args(["drain", "--admin", &admin]));
        drained.status.success()
    });
    assert_eq!(supervisor.ends(), Some(3));
}
