//! The DTLS libraries side by side in one run: CPU time of the server's side of a handshake, bytes
//! and datagrams of both sides, and how long it takes until the keys are there, by round trip and
//! loss, on a virtual clock.
//!
//!     cargo bench -p rekindle-boring --features boringssl
//!
//! The client is BoringSSL's in all cases, as in Chromium, and repeats its flights after 50 ms at
//! first, as browsers do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{DtlsCertificate, Output};
use rekindle_boring::{Association, Context, Groups, Side};

const SERVER_TIMEOUT: Duration = Duration::from_millis(200);
const CLIENT_TIMEOUT: Duration = Duration::from_millis(50);
/// Handshakes of which CPU time is taken, in turns.
const MEASURED: usize = 400;
/// Handshakes for each round trip and loss.
const LOSSY: u64 = 400;
/// A handshake that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// A server's side, by either library.
enum Server {
    Dimpl(Box<dimpl::Dtls>, Instant, bool),
    Boring(Box<Association>, bool, Option<Instant>),
}

/// Whether this begins a ClientHello.
fn is_hello(datagram: &[u8]) -> bool {
    datagram[0] == 22 && datagram[13] == 1 && datagram[19..22] == [0; 3]
}

impl Server {
    fn drive(&mut self, now: Instant, datagram: Option<&[u8]>, out: &mut Vec<Bytes>) {
        match self {
            Self::Dimpl(dtls, next, done) => {
                let mut result = dtls.handle_timeout(now);
                if let Some(datagram) = datagram {
                    result = result.and_then(|()| dtls.handle_packet(datagram));
                }
                result.expect("no error");
                let mut buffer = [0; 4096];
                loop {
                    match dtls.poll_output(&mut buffer) {
                        Output::Packet(packet) => out.push(Bytes::copy_from_slice(packet)),
                        Output::KeyingMaterial(..) => *done = true,
                        Output::Timeout(at) => break *next = at,
                        _ => {}
                    }
                }
            }
            Self::Boring(association, done, hello) => {
                // As the server does it: one that comes again is answered at once.
                if datagram.is_some_and(is_hello) && *hello.get_or_insert(now) < now {
                    association.repeat(now);
                }
                let result = association.drive(now, datagram, out);
                *done |= result.expect("no error").is_some();
            }
        }
    }

    fn next(&self) -> Instant {
        match self {
            Self::Dimpl(_, next, _) => *next,
            Self::Boring(association, ..) => association.next_timeout(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Dimpl(_, _, done) | Self::Boring(_, done, _) => *done,
        }
    }
}

/// A kind of handshake.
struct Kind {
    name: &'static str,
    client: Context,
    client_12: bool,
    server: Box<dyn Fn(Instant) -> Server>,
}

fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("a certificate");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.der().to_vec(), key.serialize_der())
}

fn kinds() -> Vec<Kind> {
    let context = |timeout, groups| {
        let (certificate, key) = certificate();
        Context::new(&certificate, &key, timeout, groups).expect("settings")
    };
    let config = dimpl::Config::builder()
        .require_client_certificate(true)
        .use_server_cookie(false)
        .flight_start_rto(SERVER_TIMEOUT)
        .flight_retries(8)
        .build();
    let config = Arc::new(config.expect("settings"));
    let by_dimpl = |auto: bool| {
        let (config, (certificate, key)) = (config.clone(), certificate());
        Box::new(move |now| {
            let own = DtlsCertificate {
                certificate: certificate.clone(),
                private_key: key.clone(),
            };
            let dtls = match auto {
                true => dimpl::Dtls::new_auto(config.clone(), own, now),
                false => dimpl::Dtls::new_12(config.clone(), own, now),
            };
            Server::Dimpl(Box::new(dtls), now, false)
        }) as Box<dyn Fn(Instant) -> Server>
    };
    let by_boring = |groups| {
        let context = context(SERVER_TIMEOUT, groups);
        Box::new(move |now| {
            let association = Association::new(&context, Side::Server, now).expect("memory");
            Server::Boring(Box::new(association), false, None)
        }) as Box<dyn Fn(Instant) -> Server>
    };
    let client = |groups| context(CLIENT_TIMEOUT, groups);
    let kind = |name, groups, client_12, server| Kind {
        name,
        client: client(groups),
        client_12,
        server,
    };
    vec![
        kind(
            "dimpl, DTLS 1.2, X25519",
            Groups::Any,
            false,
            by_dimpl(false),
        ),
        kind(
            "dimpl, DTLS 1.3, X25519",
            Groups::Any,
            false,
            by_dimpl(true),
        ),
        kind(
            "BoringSSL, DTLS 1.2, X25519",
            Groups::Any,
            true,
            by_boring(Groups::Classical),
        ),
        kind(
            "BoringSSL, DTLS 1.3, X25519",
            Groups::Any,
            false,
            by_boring(Groups::Classical),
        ),
        kind(
            "BoringSSL, DTLS 1.3, X25519MLKEM768",
            Groups::Any,
            false,
            by_boring(Groups::Any),
        ),
    ]
}

/// What a handshake took.
#[derive(Default)]
struct Took {
    cpu: Duration,
    /// Bytes and datagrams, of the client and of the server.
    sent: [(usize, usize); 2],
    /// Until the server has keys, and until both have.
    server: Option<Duration>,
    both: Option<Duration>,
}

/// One handshake over a way of this length on which `lose` takes datagrams away.
fn run(kind: &Kind, one_way: Duration, mut lose: impl FnMut() -> bool) -> Took {
    let start = Instant::now();
    let mut now = start;
    let client = match kind.client_12 {
        true => Association::new_12(&kind.client, Side::Client, now),
        false => Association::new(&kind.client, Side::Client, now),
    };
    let mut client = client.expect("memory");
    let mut took = Took::default();
    let begun = Instant::now();
    let mut server = (kind.server)(now);
    took.cpu += begun.elapsed();
    let mut client_done = false;
    // When it arrives, whether the server sent it, and what it is.
    let mut way: Vec<(Instant, bool, Bytes)> = Vec::new();
    while took.both.is_none() && now - start < LIMIT {
        let due = way.iter().position(|(at, ..)| *at <= now);
        let arrived = due.map(|place| way.remove(place));
        let mut out = Vec::new();
        let by_server = match &arrived {
            Some((_, by_server, _)) => !by_server,
            None if client.next_timeout() <= now => false,
            None if server.next() <= now && now > start => true,
            None => {
                let next = way.iter().map(|(at, ..)| *at);
                let timers = [client.next_timeout(), server.next().max(start + one_way)];
                now = next
                    .chain(timers)
                    .min()
                    .expect("timers")
                    .max(now + Duration::from_micros(100));
                continue;
            }
        };
        let datagram = arrived.as_ref().map(|(.., data)| &data[..]);
        if by_server {
            let begun = Instant::now();
            server.drive(now, datagram, &mut out);
            took.cpu += begun.elapsed();
        } else {
            client_done |= client
                .drive(now, datagram, &mut out)
                .expect("no error")
                .is_some();
        }
        if server.is_done() {
            took.server.get_or_insert(now - start);
            if client_done {
                took.both.get_or_insert(now - start);
            }
        }
        for data in out {
            let (bytes, datagrams) = &mut took.sent[usize::from(by_server)];
            *bytes += data.len();
            *datagrams += 1;
            if !lose() {
                way.push((now + one_way, by_server, data));
            }
        }
    }
    took
}

/// A generator of numbers that are the same in each run (splitmix64).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn main() {
    let kinds = kinds();
    let mut cpu: Vec<Vec<Duration>> = vec![Vec::new(); kinds.len()];
    let mut sent = vec![[(0, 0); 2]; kinds.len()];
    for _ in 0..MEASURED {
        for (place, kind) in kinds.iter().enumerate() {
            let took = run(kind, Duration::from_millis(10), || false);
            assert!(took.both.is_some(), "{} does not complete", kind.name);
            cpu[place].push(took.cpu);
            sent[place] = took.sent;
        }
    }
    println!(
        "| handshake | CPU of the server, median | a second and core | client sends | server sends |"
    );
    println!("|---|---|---|---|---|");
    for (place, kind) in kinds.iter().enumerate() {
        cpu[place].sort();
        let median = cpu[place][MEASURED / 2];
        let [client, server] = sent[place];
        println!(
            "| {} | {} us | {:.0} | {} bytes in {} | {} bytes in {} |",
            kind.name,
            median.as_micros(),
            1.0 / median.as_secs_f64(),
            client.0,
            client.1,
            server.0,
            server.1
        );
    }
    println!();
    println!("Until server / both have keys, in ms: median (95 %), {LOSSY} handshakes each");
    println!();
    println!("| handshake | 0 ms | 50 ms | 50 ms, 1 % lost | 50 ms, 5 % lost | 0 ms, 5 % lost |");
    println!("|---|---|---|---|---|---|");
    for kind in &kinds {
        print!("| {} ", kind.name);
        for (round_trip, percent) in [(0, 0), (50, 0), (50, 1), (50, 5), (0, 5)] {
            let (mut server, mut both) = (Vec::new(), Vec::new());
            for seed in 0..LOSSY {
                let mut next = numbers(seed);
                let one_way = Duration::from_millis(round_trip) / 2;
                let took = run(kind, one_way, || next() % 100 < percent);
                server.push(took.server.unwrap_or(LIMIT).as_millis());
                both.push(took.both.unwrap_or(LIMIT).as_millis());
            }
            let at = |times: &mut Vec<u128>| {
                times.sort();
                let place = |percent: usize| times[(times.len() - 1) * percent / 100];
                format!("{} ({})", place(50), place(95))
            };
            print!("| {} / {} ", at(&mut server), at(&mut both));
        }
        println!("|");
    }
}
