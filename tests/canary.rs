//! The canary: a real broadcast with restarts, on a server that tells this test every session key,
//! exporter output and DTLS secret as it comes to be (`--cfg rekindle_canary`, see
//! `tests/with_hooks.sh`; in no other build). They are then looked for in every file that was ever
//! written, before and after its encryption, in all that was logged, and in the memory of the
//! process after its peers have left. The same search finds what was planted.
#![cfg(rekindle_canary)]

mod live;
mod running;
mod search;
mod support;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use live::{Live, broadcast, renew, run_for, run_until_connected, run_until_more_video};
use rekindle::ids::Role;
use running::{PATIENCE, Server, rekindle};
use search::Needles;

/// What the server tells.
#[derive(Default)]
struct Told {
    secrets: Vec<(String, Vec<u8>)>,
    files: Vec<(String, Vec<u8>)>,
}

/// Listens to servers.
struct Canary {
    path: PathBuf,
    told: Arc<Mutex<Told>>,
}

impl Canary {
    fn new(folder: &Path) -> Self {
        let path = folder.join("canary");
        let listener = UnixListener::bind(&path).expect("a socket");
        let told = Arc::new(Mutex::new(Told::default()));
        let hears = told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, hears) = (stream.expect("a connection"), hears.clone());
                std::thread::spawn(move || hear(stream, &hears));
            }
        });
        Self { path, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program, under observation, with the loudest log there is.
    fn rekindle(&self, folder: &Path) -> Command {
        let mut command = rekindle(folder);
        command
            .env("REKINDLE_CANARY", &self.path)
            .args(["--log", "trace,rekindle=trace"]);
        command
    }

    /// All secrets of so far, and the SRTP keys that come of them. Each once.
    fn secrets(&self, since: usize) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for (name, bytes) in &self.told().secrets[since..] {
            all.push((name.clone(), bytes.clone()));
            if name == "exported" {
                all.extend(srtp_secrets(bytes));
            }
        }
        let mut seen = HashSet::new();
        // What DTLS 1.3 derives from no secret at all is in every implementation, and known to
        // everybody (RFC 8448).
        let public = |bytes: &[u8]| {
            bytes.iter().all(|&b| b == 0) || early_secrets().iter().any(|known| known == bytes)
        };
        all.retain(|(_, bytes)| bytes.len() >= 12 && !public(bytes) && seen.insert(bytes.clone()));
        all
    }
}

/// Reads what one server tells, until it dies.
fn hear(mut stream: UnixStream, told: &Mutex<Told>) {
    let mut part = |length: usize| -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let mut next = || -> Option<(u8, String, Vec<u8>)> {
        let kind = part(1)?[0];
        let length =
            |bytes: Vec<u8>| u32::from_be_bytes(bytes.try_into().expect("four bytes")) as usize;
        let name = length(part(4)?);
        let name = String::from_utf8(part(name)?).expect("text");
        let bytes = length(part(4)?);
        Some((kind, name, part(bytes)?))
    };
    while let Some((kind, name, bytes)) = next() {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            b'S' => told.secrets.push((name, bytes)),
            _ => told.files.push((name, bytes)),
        }
    }
}

/// Early Secret and its "derived" secret without PSK, for SHA-256 and SHA-384 (RFC 8446 §7.1).
fn early_secrets() -> Vec<Vec<u8>> {
    use aws_lc_rs::{digest, hmac};
    let one = |digest_algorithm: &'static digest::Algorithm, hmac_algorithm: hmac::Algorithm| {
        let length = digest_algorithm.output_len();
        let tag = |key: &[u8], data: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac_algorithm, key), data)
                .as_ref()
                .to_vec()
        };
        let early = tag(&vec![0; length], &vec![0; length]);
        let mut label = vec![0, length as u8];
        label.extend([&[13][..], b"tls13 derived", &[length as u8]].concat());
        label.extend(digest::digest(digest_algorithm, b"").as_ref());
        label.push(1);
        let derived = tag(&early, &label);
        [early, derived]
    };
    [
        one(&digest::SHA256, hmac::HMAC_SHA256),
        one(&digest::SHA384, hmac::HMAC_SHA384),
    ]
    .concat()
}

/// What becomes of exported keying material: master keys and salts (RFC 5764 §4.2), and the session
/// keys and salts that are derived from them (RFC 3711 §4.3, RFC 7714 §11).
fn srtp_secrets(exported: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (key, salt) = match exported.len() {
        88 => (32, 12),
        56 => (16, 12),
        60 => (16, 14),
        other => panic!("{other} bytes of keying material"),
    };
    let mut all = Vec::new();
    for side in 0..2 {
        let master = &exported[side * key..(side + 1) * key];
        let master_salt = &exported[2 * key + side * salt..2 * key + (side + 1) * salt];
        all.push((format!("SRTP master key {side}"), master.to_vec()));
        all.push((format!("SRTP master salt {side}"), master_salt.to_vec()));
        for (label, name, length) in [
            (0, "SRTP key", key),
            (1, "SRTP authentication key", 20),
            (2, "SRTP salt", salt),
            (3, "SRTCP key", key),
            (4, "SRTCP authentication key", 20),
            (5, "SRTCP salt", salt),
        ] {
            // RFC 3711 §4.3.1, §4.3.3: AES in counter mode from (salt XOR label << 48) << 16, for
            // key derivation rate 0.
            let mut counter = [0_u8; 16];
            counter[..salt].copy_from_slice(master_salt);
            counter[7] ^= label;
            let algorithm = if key == 32 { &AES_256 } else { &AES_128 };
            let cipher = UnboundCipherKey::new(algorithm, master).expect("a key");
            let cipher = EncryptingKey::ctr(cipher).expect("counter mode");
            let mut derived = vec![0; length];
            let context = EncryptionContext::Iv128(FixedLength::from(counter));
            cipher
                .less_safe_encrypt(&mut derived, context)
                .expect("encrypted");
            all.push((format!("{name} {side}"), derived));
        }
    }
    all
}

/// Keeps a copy of every content that any file below a folder is seen with: a second witness beside
/// what the server tells.
struct Watch {
    seen: Arc<Mutex<HashSet<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn new(folder: PathBuf) -> Self {
        let watch = Self {
            seen: Arc::default(),
            stop: Arc::default(),
        };
        let (seen, stop) = (watch.seen.clone(), watch.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut folders = vec![folder.clone()];
                while let Some(folder) = folders.pop() {
                    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                        let path = entry.path();
                        match fs::read(&path) {
                            Ok(content) => drop(
                                seen.lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .insert(content),
                            ),
                            Err(_) if path.is_dir() => folders.push(path),
                            // It went away.
                            Err(_) => {}
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        watch
    }

    fn seen(&self) -> HashSet<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A secret as it is, and as it could be written in text.
fn needles(secrets: &[(String, Vec<u8>)]) -> Needles {
    let mut needles = Needles::default();
    for (name, bytes) in secrets {
        needles.add(name.clone(), bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        needles.add(format!("{name} in hexadecimal digits"), hex.as_bytes());
        needles.add(
            format!("{name} in hexadecimal digits"),
            hex.to_uppercase().as_bytes(),
        );
        // As Debug prints bytes.
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        needles.add(format!("{name} as a list"), list.join(", ").as_bytes());
        needles.add(
            format!("{name} in base64"),
            base64(&bytes[..bytes.len() / 3 * 3]).as_bytes(),
        );
    }
    needles
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift) as usize & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// Which of these secrets are in the memory of the server.
fn in_memory(server: &Server, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut needles = Needles::default();
    secrets
        .iter()
        .for_each(|(name, bytes)| needles.add(name.clone(), bytes));
    let memory = search::memory(&server.ready["pid"].to_string()).expect("the canary lets us look");
    let mut found = Vec::new();
    for (mapping, part) in &memory {
        found.extend(
            needles
                .find(part)
                .into_iter()
                .map(|name| format!("{name} in {mapping}")),
        );
    }
    found.sort();
    found
}

#[test]
fn no_session_secret_is_ever_written_and_none_outlives_its_session() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let canary = Canary::new(folder.path());
    let watch = Watch::new(folder.path().join("rekindle-state"));
    let mut logs = String::new();

    // A broadcast: one peer by DTLS 1.3, others by 1.2.
    let server = Server::start_as(&mut canary.rekindle(folder.path()));
    let (mut publisher, mut viewer) = broadcast(&server, "news", 300);
    let mut second = Live::join(&server, Role::Viewer, "news", 302);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut second]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut second], 30);
    assert_eq!(
        canary
            .told()
            .secrets
            .iter()
            .filter(|(name, _)| name == "exported")
            .count(),
        3
    );
    logs += &server.log();

    // kill -9, and again, in the middle of the handshakes.
    let server = server.kill_and_start_again_as(&mut canary.rekindle(folder.path()));
    renew(&mut [&mut publisher, &mut viewer, &mut second]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut second], 30);
    logs += &server.log();
    let server = server.kill_and_start_again_as(&mut canary.rekindle(folder.path()));
    let now = Instant::now();
    for browser in [&mut publisher, &mut viewer, &mut second] {
        browser.client.renew(now);
    }
    run_for(
        &mut [&mut publisher, &mut viewer, &mut second],
        Duration::from_millis(20),
    );
    logs += &server.log();
    let before_last_boot = canary.told().secrets.len();
    let server = server.kill_and_start_again_as(&mut canary.rekindle(folder.path()));
    renew(&mut [&mut publisher, &mut viewer, &mut second]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut second], 30);

    // Live keys are in memory, where else; so the search finds them.
    let secrets = canary.secrets(before_last_boot);
    let live = in_memory(&server, &secrets);
    let kinds = ["exported", "SRTP key", "SRTCP key"];
    assert!(
        kinds
            .iter()
            .all(|kind| live.iter().any(|name| name.starts_with(kind))),
        "{live:?}"
    );
    // False alarms: keys that new ones took the place of.
    renew(&mut [&mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut second], 30);

    // A completed handshake of DTLS 1.3 stays for 5 s. Then all of DTLS is gone, and
    // what SRTP needs is left.
    run_for(
        &mut [&mut publisher, &mut viewer, &mut second],
        Duration::from_secs(6),
    );
    let secrets = canary.secrets(before_last_boot);
    let exported = secrets
        .iter()
        .filter(|(name, _)| name == "exported")
        .map(|(_, bytes)| bytes.clone());
    let exported: Vec<Vec<u8>> = exported.collect();
    let is_of_srtp = |(name, bytes): &(String, Vec<u8>)| {
        let is_part = |whole: &Vec<u8>| whole.windows(bytes.len()).any(|part| part == bytes);
        name.starts_with("SRT") || exported.iter().any(is_part)
    };
    let (of_srtp, of_dtls): (Vec<_>, Vec<_>) = secrets.iter().cloned().partition(is_of_srtp);
    println!(
        "{} secrets of SRTP, {} of DTLS alone",
        of_srtp.len(),
        of_dtls.len()
    );
    // BoringSSL tells those of its key log, and nothing in between.
    let (least, least_of_all) = match cfg!(feature = "boring") {
        true => (16, 80),
        false => (40, 100),
    };
    assert!(
        of_srtp.len() > 40 && of_dtls.len() >= least,
        "{} {}",
        of_srtp.len(),
        of_dtls.len()
    );
    assert!(in_memory(&server, &of_srtp).len() > 10);
    let left = in_memory(&server, &of_dtls);
    assert!(
        left.is_empty(),
        "DTLS secrets outlive their handshake: {left:#?}"
    );

    // All leave.
    for browser in [&viewer, &second, &publisher] {
        assert_eq!(server.delete(&browser.session).status(), 200);
    }
    println!(
        "{} secrets of the last boot are looked for in memory",
        secrets.len()
    );
    assert!(secrets.len() > least_of_all, "{}", secrets.len());
    let left = in_memory(&server, &secrets);
    assert!(
        left.is_empty(),
        "still in memory after the peers have left: {left:#?}"
    );

    let (code, log) = server.terminate();
    assert_eq!(code, Some(0));
    logs += &log;
    assert!(logs.contains("TRACE") || logs.contains("DEBUG"), "{logs}");

    // Files: what the server says it wrote, plaintexts included, and what was seen.
    let deadline = Instant::now() + PATIENCE;
    let seen = watch.seen();
    let files: Vec<Vec<u8>> = loop {
        let told: Vec<_> = canary
            .told()
            .files
            .iter()
            .map(|(_, bytes)| bytes.clone())
            .collect();
        // All that was seen is known: nothing else writes there. The lock is empty.
        let unknown = seen
            .iter()
            .filter(|content| !content.is_empty() && !told.contains(content));
        // A file that was looked at while it was written.
        let unknown =
            unknown.filter(|content| !told.iter().any(|whole| whole.starts_with(content)));
        if unknown.count() == 0 {
            break told;
        }
        assert!(
            Instant::now() < deadline,
            "something was written that the vault did not write"
        );
    };
    assert!(
        files.len() > 15 && seen.len() > 5,
        "{} {}",
        files.len(),
        seen.len()
    );
    let secrets = canary.secrets(0);
    let needles = needles(&secrets);
    println!(
        "{} secrets of all boots are looked for in {} files and the log",
        secrets.len(),
        files.len()
    );
    for (name, bytes) in canary.told().files.iter() {
        assert_eq!(needles.find(bytes), [""; 0], "in {name}");
    }
    seen.iter()
        .for_each(|content| assert_eq!(needles.find(content), [""; 0]));
    let key_file = fs::read(folder.path().join("rekindle-key.txt")).expect("readable");
    assert_eq!(needles.find(&key_file), [""; 0]);
    assert_eq!(needles.find(logs.as_bytes()), [""; 0]);

    // Planted in a file and in the log, each in its own way, they are found.
    let (name, planted) = secrets
        .iter()
        .find(|(name, _)| name.starts_with("SRTP key"))
        .expect("one");
    let mut file = files[0].clone();
    file.splice(20..20, planted.iter().copied());
    assert_eq!(needles.find(&file), [name]);
    for text in [
        format!(
            "{logs} key={}",
            planted
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        ),
        format!("{logs} key={planted:?}"),
        format!("{logs} key={}", base64(&planted[..planted.len() / 3 * 3])),
    ] {
        let found = needles.find(text.as_bytes());
        assert!(
            found.len() == 1 && found[0].starts_with(name.as_str()),
            "{found:?}"
        );
    }
}

#[test]
fn this_build_has_the_hook() {
    let program = fs::read(env!("CARGO_BIN_EXE_rekindle")).expect("the program");
    let mut needles = Needles::default();
    needles.add("hook", b"REKINDLE_CANARY");
    assert!(!needles.find(&program).is_empty());
}
