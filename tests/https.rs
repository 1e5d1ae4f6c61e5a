//! HTTPS: real clients over TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2; certificates that cannot be used,
//! and one that takes another's place while connections stand.

mod running;
mod secure;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};
use tokio::runtime::Runtime;

use axum::body::{Body, Bytes};
use running::{PATIENCE, PUBLISH, Server, WATCH, refused, rekindle};
use secure::{Certificate, name};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn start(more: &[&str]) -> (tempfile::TempDir, Certificate, Server) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let certificate = Certificate::new(folder.path());
    let options = [&certificate.options()[..], more].concat();
    let server = Server::start(folder.path(), &options);
    (folder, certificate, server)
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// Sends this and reads until the server closes.
fn ask(mut stream: StreamOwned<ClientConnection, TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer, and the end of TLS");
    answer
}

#[test]
fn both_versions_of_tls_and_of_http_are_served_and_the_ready_line_says_https() {
    let (_folder, certificate, server) = start(&[]);
    assert_eq!(server.ready["page"], format!("https://{}/", server.http()));
    for version in [&TLS12, &TLS13] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let stream = TcpStream::connect(server.http()).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            let config = certificate.trusted(&[version], offered);
            let client = ClientConnection::new(config, name()).expect("a client");
            let mut stream = StreamOwned::new(client, stream);
            stream.flush().expect("a handshake");
            while stream.conn.is_handshaking() {
                stream
                    .conn
                    .complete_io(&mut stream.sock)
                    .expect("a handshake");
            }
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(stream.conn.alpn_protocol(), agreed);
            if agreed != Some(b"h2") {
                assert!(ask(stream, HEALTH).starts_with("HTTP/1.1 200 "));
            }
        }
    }
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        let (status, headers, page) = client.get("/").await;
        assert_eq!(status, 200);
        assert!(page.contains("<html"), "{page}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(!headers.contains_key("strict-transport-security"));
        assert_eq!(client.get("/nothing").await.0, 404);
    });
}

#[test]
fn over_http_2_a_server_without_a_token_is_not_found_under_a_strangers_name_either() {
    let (_folder, certificate, server) = start(&[]);
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        assert_eq!(client.get("/healthz").await.0, 200);
        client.host = "rebind.example:443".to_owned();
        let (status, _, said) = client.get("/healthz").await;
        assert_eq!(status, 403);
        assert!(said.contains("urn:rekindle:problem:foreign"), "{said}");
    });
}

#[test]
fn who_speaks_plain_http_to_the_tls_port_is_told_so() {
    let (_folder, _certificate, server) = start(&[]);
    for request in [
        HEALTH,
        "POST /whip/news HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let said = server.raw(request);
        assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
        assert!(said.contains("urn:rekindle:problem:plain-http"), "{said}");
        assert!(said.contains("https://"), "{said}");
    }
    // What is neither gets no HTTP.
    assert!(
        !server
            .raw("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}")
            .contains("HTTP")
    );
}

#[test]
fn certificates_that_cannot_be_used_stop_the_start_and_say_why() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let certificate = Certificate::new(folder.path());
    let other = tempfile::tempdir().expect("temporary folder");
    let other = Certificate::new(other.path());
    let [_, cert, _, key] = certificate.options();
    let [_, other_cert, _, _] = other.options();
    let tls = |cert: &str, key: &str, parts: &[&str]| {
        refused(
            folder.path(),
            &["--tls-cert", cert, "--tls-key", key],
            parts,
        );
    };
    tls("none.pem", key, &["none.pem", "--tls-cert", "No such file"]);
    tls(other_cert, key, &["belong together"]);
    tls(key, key, &["no certificate", "fullchain.pem"]);
    refused(folder.path(), &["--tls-cert", cert], &["--tls-key", "both"]);
    refused(folder.path(), &["--tls-key", key], &["--tls-cert", "both"]);
    let mut permissions = fs::metadata(key).expect("metadata").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(key, permissions).expect("set");
    tls(cert, key, &["chmod 600"]);
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_no_connection_ends() {
    let (folder, mut certificate, server) = start(&[]);
    let old = certificate.trusted(&[&TLS13], &[]);
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        let publisher = client.join("/whip/news", PUBLISH).await;
        let mut events = client.events(&publisher).await;
        events.until("event: hello").await;
        // A transfer that has begun.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let body = futures_util::stream::unfold(receiver, async |mut receiver| {
            let part: Bytes = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(part), receiver))
        });
        let half = WATCH.len() / 2;
        let request = client.request("POST", "/whep/news");
        let request = request.header("content-type", "application/sdp");
        let request = request.body(Body::from_stream(body)).expect("a request");
        sender
            .send(Bytes::from(&WATCH[..half]))
            .await
            .expect("taken");

        let mut others = certificate.http2(server.http()).await;
        let transfer = tokio::spawn(async move { client.send(request).await.status() });
        certificate.renew(folder.path());
        server.signal("HUP");
        tokio::task::block_in_place(|| server.wait_for_log("taken anew", 1));

        // Newcomers get the new one.
        let mut newcomer = certificate.http2(server.http()).await;
        assert_eq!(newcomer.get("/healthz").await.0, 200);
        let stream = TcpStream::connect(server.http()).expect("connected");
        let mut stream = StreamOwned::new(
            ClientConnection::new(old.clone(), name()).expect("a client"),
            stream,
        );
        assert!(
            stream.write_all(HEALTH.as_bytes()).is_err(),
            "the old one is gone"
        );

        // And those who were here go on.
        sender
            .send(Bytes::from(&WATCH[half..]))
            .await
            .expect("taken");
        drop(sender);
        assert_eq!(transfer.await.expect("done"), 201);
        assert_eq!(others.get("/healthz").await.0, 200);
        let request = others.request("DELETE", &publisher).body(Body::empty());
        assert_eq!(others.send(request.expect("a request")).await.status(), 200);
        assert!(events.rest().await.contains("event: gone"));

        // A file that cannot be used keeps what is there, and says so.
        fs::write(&certificate.cert, "nothing").expect("written");
        server.signal("HUP");
        tokio::task::block_in_place(|| server.wait_for_log("the old one stays", 1));
        assert!(
            server.log().contains("no certificate in"),
            "{}",
            server.log()
        );
        assert_eq!(
            certificate
                .http2(server.http())
                .await
                .get("/healthz")
                .await
                .0,
            200
        );
    });
}

#[test]
fn a_kill_ends_streams_over_http_2_and_the_next_boot_opens_them_again() {
    let (folder, certificate, server) = start(&[]);
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        let session = client.join("/whip/news", PUBLISH).await;
        let mut events = client.events(&session).await;
        events.until("\"boot\":1").await;
        let mut command = rekindle(folder.path());
        command.args(certificate.options());
        let server = tokio::task::block_in_place(|| server.kill_and_start_again_as(&mut command));
        assert!(!events.rest().await.contains("event: gone"));
        let mut client = certificate.http2(server.http()).await;
        client.events(&session).await.until("\"boot\":2").await;
    });
}

#[test]
fn one_connection_carries_the_event_streams_of_many_tabs() {
    let (_folder, certificate, server) = start(&["--join-rate", "0"]);
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        let publisher = client.join("/whip/news", PUBLISH).await;
        let mut streams = Vec::new();
        for _ in 0..100 {
            let session = client.join("/whep/news", WATCH).await;
            let mut events = client.events(&session).await;
            events.until("event: hello").await;
            streams.push((session, events));
        }
        // Requests beside them are answered, and each stream ends by itself.
        assert_eq!(client.get("/healthz").await.0, 200);
        for (session, events) in streams {
            let request = client.request("DELETE", &session).body(Body::empty());
            assert_eq!(client.send(request.expect("a request")).await.status(), 200);
            assert!(events.rest().await.contains("event: gone"));
        }
        client.events(&publisher).await.until("event: hello").await;
        assert!(!client.ended.is_finished());
    });
}

#[test]
fn a_stop_answers_what_was_asked_over_http_2_and_ends_streams_last() {
    let (_folder, certificate, server) = start(&[]);
    runtime().block_on(async {
        let mut client = certificate.http2(server.http()).await;
        let session = client.join("/whip/news", PUBLISH).await;
        let mut events = client.events(&session).await;
        events.until("event: hello").await;
        // A connection that nobody uses keeps nobody waiting.
        let idle = certificate.http2(server.http()).await;
        let silent = TcpStream::connect(server.http()).expect("connected");
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let body = futures_util::stream::once(async {
            receiver.await.expect("told");
            Ok::<_, std::convert::Infallible>(Bytes::from_static(WATCH.as_bytes()))
        });
        let request = client.request("POST", "/whep/news");
        let request = request.header("content-type", "application/sdp");
        let request = request.body(Body::from_stream(body)).expect("a request");
        let asked = tokio::spawn(async move { client.send(request).await.status() });
        // Until the request is with the server: it counts a newcomer only when it has the offer, so
        // there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.signal("TERM");
        tokio::task::block_in_place(|| server.wait_for_log("stopping", 1));
        sender.send(()).expect("waited for");
        assert_eq!(asked.await.expect("answered"), 201);
        assert!(!events.rest().await.contains("event: gone"));
        drop((idle, silent));
        let (code, _) = tokio::task::block_in_place(|| server.terminate());
        assert_eq!(code, Some(0));
    });
}

#[test]
fn clients_that_are_slow_or_silent_lose_their_connections_and_others_are_served() {
    let (_folder, certificate, server) = start(&[]);
    let since = Instant::now();
    let mut silent = TcpStream::connect(server.http()).expect("connected");
    let mut slow = TcpStream::connect(server.http()).expect("connected");
    // The head of a record that never comes.
    slow.write_all(&[22, 3, 1, 2, 0, 1]).expect("sent");
    let mut idle = certificate.http1(server.http());
    idle.conn.complete_io(&mut idle.sock).expect("a handshake");
    runtime().block_on(async {
        let client = certificate.http2(server.http()).await;
        let mut busy = certificate.http2(server.http()).await;
        let session = busy.join("/whip/news", PUBLISH).await;
        let mut events = busy.events(&session).await;
        events.until("event: hello").await;
        let ended = tokio::time::timeout(PATIENCE, client.ended).await;
        ended
            .expect("an idle HTTP/2 connection ends")
            .expect("no panic");
        for stream in [&mut silent, &mut slow, &mut idle.sock] {
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            // However it ends.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        assert!(
            since.elapsed() >= Duration::from_secs(9),
            "{:?}",
            since.elapsed()
        );
        // One with an event stream is not idle.
        assert_eq!(busy.get("/healthz").await.0, 200);
    });
    assert!(ask(certificate.http1(server.http()), HEALTH).starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_address_with_too_many_connections_is_told_so_over_tls() {
    // Room for twice as many connections, and 64 more.
    let (_folder, certificate, server) = start(&["--max-sessions-per-address", "2"]);
    let mut open = Vec::new();
    for _ in 0..68 {
        let mut client = certificate.http1(server.http());
        client
            .conn
            .complete_io(&mut client.sock)
            .expect("a handshake");
        open.push(client);
    }
    let said = ask(certificate.http1(server.http()), HEALTH);
    assert!(
        said.starts_with("HTTP/1.1 503 ") && said.contains("retry-after: 10"),
        "{said}"
    );
    assert!(
        said.contains("urn:rekindle:problem:too-many-connections"),
        "{said}"
    );
    let last = open.pop().expect("many");
    assert!(ask(last, HEALTH).starts_with("HTTP/1.1 200 "));
}
