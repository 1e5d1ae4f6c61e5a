//! What of the TLS key is in the server's memory: the library's own object, and nothing that it was
//! made of; and nothing at all of a key that another one has replaced.

mod running;
mod search;
mod secure;

use std::fs;
use std::time::{Duration, Instant};

use running::{PATIENCE, Server};
use search::Needles;
use secure::Certificate;

/// The names of those that are in the server's memory; `None` where we may not look at it.
fn found(server: &Server, needles: &Needles) -> Option<Vec<String>> {
    let memory = search::memory(&server.ready["pid"].to_string())?;
    let found = memory.iter().flat_map(|(_, part)| needles.find(part));
    Some(found.map(str::to_owned).collect())
}

/// The forms of a key: its file's lines, the secret number in its DER form (RFC 5915 §3), and as
/// the library has it, which begins with the lowest byte.
fn forms(certificate: &Certificate) -> Needles {
    let text = fs::read_to_string(&certificate.key).expect("readable");
    let mut needles = Needles::default();
    for line in text.lines().filter(|line| line.len() > 32) {
        needles.add("text", line.as_bytes());
    }
    let der = certificate.key_der();
    let begin = [2, 1, 1, 4, 32];
    let at = der.windows(begin.len()).position(|part| part == begin);
    let from = at.expect("a key on P-256") + begin.len();
    let mut number = der[from..from + 32].to_vec();
    needles.add("DER", &number);
    number.reverse();
    needles.add("object", &number);
    needles
}

#[test]
fn of_the_tls_key_only_the_object_in_use_is_in_memory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut certificate = Certificate::new(folder.path());
    let server = Server::start(folder.path(), &certificate.options());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ask = |certificate: &Certificate| {
        runtime.block_on(async {
            let mut client = certificate.http2(server.http()).await;
            assert_eq!(client.get("/healthz").await.0, 200);
        });
    };
    ask(&certificate);
    let old = forms(&certificate);
    let Some(mut there) = found(&server, &old) else {
        assert!(
            std::env::var_os("CI").is_none_or(|v| v != "true"),
            "CI looks into the memory of its own server"
        );
        println!("skipped: only root may look into the server's memory");
        return;
    };
    there.dedup();
    assert_eq!(there, ["object"], "the search finds what is there");

    certificate.renew(folder.path());
    server.signal("HUP");
    server.wait_for_log("taken anew", 1);
    ask(&certificate);
    // Until the last handshake that had begun with it is over.
    let deadline = Instant::now() + PATIENCE;
    while !found(&server, &old).expect("memory").is_empty() {
        assert!(Instant::now() < deadline, "{:?}", found(&server, &old));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut there = found(&server, &forms(&certificate)).expect("memory");
    there.dedup();
    assert_eq!(there, ["object"]);
}
