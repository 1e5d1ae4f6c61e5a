//! The first moments after a start: HTTP answers while the records of the last boot are still being
//! read.

mod running;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use running::{PUBLISH, Server, WATCH, rekindle, text};

/// Publishers, so that reading their records takes a while.
const PUBLISHERS: usize = 40;
const RESTARTS: usize = 5;

/// The offers of a page that renews its keys, which is waited for.
static PAGE_PUBLISHES: LazyLock<String> =
    LazyLock::new(|| PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1));

fn options(command: &mut std::process::Command) -> &mut std::process::Command {
    command.args(["--join-rate", "0", "--max-sessions-per-address", "0"])
}

/// The status of a POST, once the server takes connections.
fn post(server: SocketAddr, path: &str, offer: &str) -> Option<u16> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let response = agent
        .post(format!("http://{server}{path}"))
        .header("content-type", "application/sdp")
        .send(offer)
        .ok()?;
    Some(response.status().as_u16())
}

/// The status of a GET and what came with it, once the server takes connections.
fn get(server: SocketAddr, path: &str) -> Option<(u16, serde_json::Value)> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let mut response = agent.get(format!("http://{server}{path}")).call().ok()?;
    let said = response.body_mut().read_to_string().ok()?;
    Some((
        response.status().as_u16(),
        serde_json::from_str(&said).ok()?,
    ))
}

/// Kills the server and starts it again; meanwhile some threads post to all channels without a
/// pause. What they were told.
fn restart_under_posts(
    folder: &Path,
    server: Server,
    path: &'static str,
    offer: &'static str,
) -> (Server, [usize; 3]) {
    let http = server.http();
    let over = Arc::new(AtomicBool::new(false));
    let told: Arc<[AtomicUsize; 3]> = Arc::default();
    let clients: Vec<_> = (0..3)
        .map(|first| {
            let (over, told) = (over.clone(), told.clone());
            thread::spawn(move || {
                for n in first.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let at = match post(http, &format!("{path}/c{}", n % PUBLISHERS), offer) {
                        Some(201) => 0,
                        Some(409) => 1,
                        Some(status) => panic!("{status}"),
                        None => continue,
                    };
                    told[at].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let server = server.kill_and_start_again_as(options(&mut rekindle(folder)));
    thread::sleep(Duration::from_millis(200));
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no other answer");
    }
    let counts = [0, 1, 2].map(|at| told[at].load(Ordering::Relaxed));
    (server, counts)
}

fn publishers(folder: &Path) -> Server {
    let server = Server::start_as(options(&mut rekindle(folder)));
    for n in 0..PUBLISHERS {
        server.join(&format!("/whip/c{n}"), &PAGE_PUBLISHES);
    }
    server
}

#[test]
fn nobody_takes_the_place_of_a_publisher_whose_record_is_about_to_be_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut server = publishers(folder.path());
    for _ in 0..RESTARTS {
        let [taken, refused, _];
        (server, [taken, refused, _]) =
            restart_under_posts(folder.path(), server, "/whip", PUBLISH);
        assert_eq!(taken, 0, "{refused} were refused");
        assert!(refused > 0);
        let health = text(&mut server.get("/healthz"));
        assert!(
            health.contains(&format!("\"awaited\":{PUBLISHERS}")),
            "{health}"
        );
    }
}

#[test]
fn a_viewer_is_not_told_that_nobody_publishes_while_the_publishers_record_is_about_to_be_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = publishers(folder.path());
    let (_server, [taken, refused, _]) = restart_under_posts(folder.path(), server, "/whep", WATCH);
    assert_eq!(refused, 0, "{taken} were let in");
    assert!(taken > 0);
}

#[test]
fn clients_that_do_not_read_are_cut_off_and_make_room_for_others() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--max-sessions-per-address", "1"]);
    let request = "GET /rekindle-session.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    // Two for each session that the address may have, and 64.
    let silent: Vec<_> = (0..66)
        .map(|_| {
            let stream = std::net::TcpStream::connect(server.http()).expect("a connection");
            stream
                .set_write_timeout(Some(Duration::from_millis(50)))
                .expect("a time limit");
            // As much as the server takes; it has to stop when nothing of its answers is read.
            let _ = std::io::Write::write_all(&mut &stream, request.as_bytes());
            stream
        })
        .collect();
    let begin = Instant::now();
    let ask = || {
        server
            .raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    };
    assert!(!ask(), "the address has as many connections as it may have");
    while !ask() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "they are still there"
        );
        thread::sleep(Duration::from_millis(500));
    }
    drop(silent);
}

#[test]
fn a_server_says_that_it_is_ready_only_once_all_records_are_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut server = publishers(folder.path());
    for _ in 0..RESTARTS {
        let http = server.http();
        let process =
            |health: &serde_json::Value| health["process"].as_str().expect("a name").to_owned();
        let before = process(&get(http, "/healthz").expect("an answer").1);
        let asking = thread::spawn(move || {
            let begin = Instant::now();
            // The pause between the two processes can be too short to be seen, so its name tells
            // which one it is.
            let is_next =
                || get(http, "/healthz").is_some_and(|(_, health)| process(&health) != before);
            while !is_next() {
                assert!(begin.elapsed() < running::PATIENCE, "it is never back");
            }
            loop {
                assert!(begin.elapsed() < running::PATIENCE, "it is never ready");
                match get(http, "/readyz") {
                    Some((200, _)) => break,
                    // It reads its records.
                    Some((503, _)) | None => {}
                    Some((status, said)) => panic!("{status}: {said}"),
                }
            }
            get(http, "/healthz").expect("an answer").1
        });
        server = server.kill_and_start_again_as(options(&mut rekindle(folder.path())));
        let health = asking.join().expect("ready");
        assert_eq!(health["resuming"], false, "{health}");
        assert_eq!(health["peers"]["awaited"], PUBLISHERS, "{health}");
    }
}
