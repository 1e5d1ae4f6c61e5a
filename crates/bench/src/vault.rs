//! A vault with many peers: how soon a server with it answers its first STUN check.

use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::Settings;
use rekindle_client::random::Random;

use super::check::Check;
use super::error::BenchError;
use super::server::Server;
use super::stats::{Summary, as_ms};
use super::steps::unix_us;
use rekindle::vault::{FingerprintHash, KeyFile, PeerRecord, Vault};
use rekindle_ids::{IceCredentials, IcePassword, Role, Ufrag};
use rekindle_sdp as sdp;

/// Offers of real browsers.
const PUBLISH: &str = include_str!("../../sdp/src/testdata/chromium-156-publish.sdp");
const WATCH: &str = include_str!("../../sdp/src/testdata/firefox-153-watch.sdp");
/// Starts that are measured.
const STARTS: usize = 5;
/// Interval at which a check is repeated until it is answered.
const KNOCK: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads that write records: most of the time is spent waiting for the disk.
const WRITERS: usize = 16;

/// What a start with many peers takes.
#[derive(Debug, Serialize)]
pub(super) struct VaultResult {
    pub peers: usize,
    pub starts: usize,
    /// How long it took to write the records, each durably.
    #[serde(rename = "written_ms", serialize_with = "as_ms")]
    pub written: Duration,
    /// From the start of the process to its first answer to a STUN check, which names a peer in the
    /// middle of the vault.
    pub first_stun_ms: Summary,
    /// From the start of the process until all records had been read.
    pub all_read_ms: Option<Summary>,
}

/// Makes a vault with so many peers and starts servers on it.
pub(super) fn measure(
    settings: &Settings,
    peers: usize,
    mut told: impl FnMut(String),
) -> Result<VaultResult, BenchError> {
    let mut server = Server::new(
        settings.server(),
        settings.folder.as_deref(),
        &[format!("--max-peers={}", peers + 16)],
    )?;
    // Once, to learn its ports.
    server.spawn()?;
    server.wait_until_up()?;
    server.kill();
    told(format!("writing {peers} records"));
    let began = Instant::now();
    let socket = UdpSocket::bind(("127.0.0.1", 0))
        .map_err(BenchError::system("no socket for the checks"))?;
    socket
        .set_nonblocking(true)
        .map_err(BenchError::system("no socket for the checks"))?;
    fill(&server, peers)?;
    let written = began.elapsed();
    let media = server
        .media()
        .ok_or_else(|| BenchError::Server("it did not say where it listens".to_owned()))?;
    let mut random = Random::new(settings.seed);
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for n in 0..STARTS {
        told(format!("start {} of {STARTS} with {peers} peers", n + 1));
        let check = Check::new(
            ufrag(Role::Viewer, peers / 2).as_str(),
            &password(peers / 2),
            random.bytes(),
        );
        let spawned = server.spawn()?;
        let deadline = spawned + PATIENCE;
        let mut answer = [0; 1500];
        let answered = loop {
            // A port that is not bound yet refuses; that is not the end.
            let _ = socket.send_to(check.request(), media);
            std::thread::sleep(KNOCK);
            let now = Instant::now();
            if let Ok((length, _)) = socket.recv_from(&mut answer)
                && check.is_answered_by(&answer[..length], &socket)
            {
                break now;
            }
            if now > deadline {
                return Err(BenchError::Server(format!(
                    "no STUN answer in {} s",
                    PATIENCE.as_secs()
                )));
            }
        };
        first.push(1000.0 * (answered - spawned).as_secs_f64());
        server.wait_until_up()?;
        let spawned = unix_us(spawned);
        while Instant::now() < deadline {
            if let Some(at) = server
                .steps()
                .get("records")
                .and_then(|times| times.first().copied())
            {
                all.push(at.saturating_sub(spawned) as f64 / 1000.0);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server.kill();
        // Answers to checks that are still on their way.
        while socket.recv_from(&mut answer).is_ok() {}
    }
    let first_stun_ms =
        Summary::of(first).ok_or_else(|| BenchError::Server("it did not start".to_owned()))?;
    Ok(VaultResult {
        peers,
        starts: STARTS,
        written,
        first_stun_ms,
        all_read_ms: Summary::of(all),
    })
}

/// The first is the publisher.
fn ufrag(role: Role, n: usize) -> Ufrag {
    let mark = match role {
        Role::Publisher => 'A',
        Role::Viewer => 'v',
    };
    Ufrag::new(format!("{mark}{n:015}")).expect("16 letters and digits")
}

fn password(n: usize) -> String {
    format!("{n:024}")
}

/// Writes records as the server does.
fn fill(server: &Server, peers: usize) -> Result<(), BenchError> {
    let bad = |error: &dyn std::fmt::Display| BenchError::Server(error.to_string());
    let keys = KeyFile::load(&server.key_file()).map_err(|e| bad(&e))?;
    let opened = Vault::open(&server.state(), keys, SystemTime::now()).map_err(|e| bad(&e))?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(&opened.identity.fingerprint(FingerprintHash::Sha256));
    let record = |n: usize| -> Result<PeerRecord, BenchError> {
        let (role, offer) = if n == 0 {
            (Role::Publisher, PUBLISH)
        } else {
            (Role::Viewer, WATCH)
        };
        let ice = IceCredentials {
            ufrag: ufrag(role, n),
            pwd: IcePassword::new(password(n)),
        };
        let media = std::net::SocketAddr::from(([127, 0, 0, 1], 8189));
        let local = sdp::Local {
            ice: &ice,
            fingerprint_sha256: &fingerprint,
            addresses: &[media],
            tcp: false,
            session_id: n as u64,
        };
        let source = sdp::Source {
            codecs: vec![sdp::Codec::Opus, sdp::Codec::Vp8],
            streams: Vec::new(),
        };
        let answer = sdp::answer(role, offer, (n > 0).then_some(&source), &local)
            .map_err(|e| bad(&e))?
            .text;
        Ok(PeerRecord {
            role,
            channel: "bench".to_owned(),
            ice,
            offer: offer.to_owned(),
            answer,
            joined_at: 0,
        })
    };
    std::thread::scope(|scope| {
        let write = |first: usize| {
            let (vault, record) = (&opened.vault, &record);
            move || {
                (first..peers).step_by(WRITERS).try_for_each(|n| {
                    vault
                        .save(&record(n)?, SystemTime::now())
                        .map_err(|e| bad(&e))
                })
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|first| scope.spawn(write(first)))
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer
                .join()
                .unwrap_or_else(|_| Err(bad(&"a writer ended")))
        })
    })
}
