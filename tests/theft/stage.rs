//! The broadcast that is recorded: a real server, killed and started again, and two clients on
//! sockets of their own.

use std::any::Any;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aws_lc_rs::tls_prf;
use rekindle::ids::Role;

use super::attack::context;
use super::search::{exported_by_12, exported_by_13};
use crate::live::{Live, broadcast, renew, run_for, run_until_more_video};
use crate::running::{Server, output, rekindle};

/// A datagram as somebody on the path sees it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
}

impl Recorded {
    /// SRTP (RFC 7983 §7, RFC 5761 §4).
    pub fn is_rtp(&self) -> bool {
        self.data.len() >= 12
            && matches!(self.data[0], 128..=191)
            && !matches!(self.data[1], 192..=223)
    }
}

/// What is left when the play is over.
pub struct Stage {
    pub tape: Vec<Recorded>,
    pub state: PathBuf,
    pub key: PathBuf,
    sent: HashSet<Vec<u8>>,
    exported: Vec<(Role, Vec<u8>)>,
    /// What is gone when nobody needs it any more.
    _kept: Box<dyn Any>,
}

impl Stage {
    /// A broadcast in this mode, recorded from the first packet to the last, over a restart by
    /// SIGKILL.
    pub fn play(mode: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let made = output(rekindle(folder.path()).args(["keygen", "-o", "key"]));
        assert!(made.status.success());
        let command = || -> Command {
            let mut command = rekindle(folder.path());
            command.args(["--key-file", "key", "--state-dir", "state", "--mode", mode]);
            command
        };
        let server = Server::start_as(&mut command());
        let (mut publisher, mut viewer) = broadcast(&server, "tape", 0x7e11);
        viewer.client.receiver_mut().renumbers_audio = mode == "full-state";
        let mut both = [&mut publisher, &mut viewer];
        // As long as it takes to have every counter written more than once.
        run_for(&mut both, Duration::from_millis(1500));

        let server = server.kill_and_start_again_as(&mut command());
        let renewed = server.ready["mode"] == "rehandshake";
        if renewed {
            renew(&mut both);
        }
        run_until_more_video(&mut both, 100);
        server.kill();

        let handshakes = [&publisher, &viewer].map(|one| one.client.connected_at.len());
        assert_eq!(handshakes, if renewed { [2, 2] } else { [1, 1] }, "{mode}");
        let [state, key] = ["state", "key"].map(|name| folder.path().join(name));
        Self::over(publisher, viewer, state, key, folder)
    }

    /// A broadcast that goes on at another host, since its own is gone. Of etcd every value is
    /// stolen that any key has had: files into `state`, and the rest beside them.
    #[cfg(feature = "etcd")]
    pub fn play_over_a_failover() -> (Self, Vec<(String, Vec<u8>)>) {
        let cluster = crate::nodes::Cluster::new();
        let (a, b) = (cluster.start("a"), cluster.start("b"));
        let (mut publisher, mut viewer) = broadcast(&a, "tape", 0x7e12);
        let mut both = [&mut publisher, &mut viewer];
        run_for(&mut both, Duration::from_millis(1500));
        a.kill();
        for one in &mut both {
            let events = b.events(&format!("{}/events", one.session)).next();
            assert!(events.is_some(), "its page finds it there");
            one.lead_to(b.media());
        }
        renew(&mut both);
        run_until_more_video(&mut both, 100);
        b.kill();

        let handshakes = [&publisher, &viewer].map(|one| one.client.connected_at.len());
        assert_eq!(handshakes, [2, 2]);
        let state = cluster.path().join("stolen");
        std::fs::create_dir(&state).expect("a folder");
        let mut beside = Vec::new();
        for (i, (key, value)) in cluster.etcd.history("vault/").into_iter().enumerate() {
            if key.ends_with(".age") {
                let name = format!("{i}-{}", key.replace('/', "-"));
                std::fs::write(state.join(name), value).expect("written");
            } else {
                beside.push((key, value));
            }
        }
        let key = cluster.path().join("key.txt");
        (Self::over(publisher, viewer, state, key, cluster), beside)
    }

    fn over(publisher: Live, viewer: Live, state: PathBuf, key: PathBuf, kept: impl Any) -> Self {
        let streams = publisher.client.sender().streams();
        let sent = streams.flat_map(|stream| stream.sent.values());
        let sent = sent.map(|packet| packet.payload.to_vec()).collect();
        let everybody = [publisher, viewer];
        let exported = |one: &Live| -> Vec<(Role, Vec<u8>)> {
            let exported = one.client.exported.iter();
            exported
                .map(|(material, _)| (one.client.role, material.clone()))
                .collect()
        };
        Self {
            exported: everybody.iter().flat_map(exported).collect(),
            tape: everybody
                .into_iter()
                .flat_map(|one| one.tape)
                .map(|(from, to, data)| Recorded { from, to, data })
                .collect(),
            sent,

            state,
            key,
            _kept: Box::new(kept),
        }
    }

    /// Whether the camera or the microphone sent this.
    pub fn was_sent(&self, payload: &[u8]) -> bool {
        // RTX has the original sequence number before it (RFC 4588 §4).
        self.sent.contains(payload)
            || payload
                .get(2..)
                .is_some_and(|rest| self.sent.contains(rest))
    }

    /// What a search must find if it is there: all that an exporter gave, as it is, and a key with
    /// its salt from it. And whether there is RTP on the tape that it opens.
    pub fn plants(&self) -> Vec<(&'static str, Vec<u8>, bool)> {
        let mut plants = Vec::new();
        for (role, material) in &self.exported {
            // Client key, server key, client salt, server salt (RFC 5764 §4.2), by the length of
            // all.
            let (key, salt) = match material.len() {
                88 => (32, 12),
                56 => (16, 12),
                _ => (16, 14),
            };
            let part = |at: usize, length: usize| &material[at..at + length];
            let client = [part(0, key), part(2 * key, salt)].concat();
            let server = [part(key, key), part(2 * key + salt, salt)].concat();
            // Media goes from a publisher to the server, and from the server to a viewer.
            plants.push((
                "the client's key and salt",
                client,
                *role == Role::Publisher,
            ));
            plants.push(("the server's key and salt", server, *role == Role::Viewer));
            plants.push(("the exporter's output", material.clone(), true));
        }
        plants
    }
}

/// Handshakes whose secret is known: what it is, the secret, and a tape with a packet under keys
/// that come from it.
pub fn with_known_secrets() -> Vec<(&'static str, Vec<u8>, Vec<Recorded>)> {
    let (client, server) = ([0xc1; 32], [0x5e; 32]);
    let (from, to) = (
        SocketAddr::from(([127, 0, 0, 1], 1)),
        SocketAddr::from(([127, 0, 0, 1], 2)),
    );
    let hello = |kind: u8, random: [u8; 32]| {
        let mut record = vec![0; 59];
        (record[0], record[13]) = (22, kind);
        record[27..].copy_from_slice(&random);
        record
    };
    let secret = |length: u8| {
        (0..length)
            .map(|b| b.wrapping_mul(37) ^ 0x91)
            .collect::<Vec<u8>>()
    };
    let (short, long) = (secret(32), secret(48));
    let by_12 = |algorithm| exported_by_12(algorithm, &long, &client, &server);
    let cases = [
        (
            "a master secret, SHA-256",
            long.clone(),
            by_12(&tls_prf::P_SHA256),
        ),
        (
            "a master secret, SHA-384",
            long.clone(),
            by_12(&tls_prf::P_SHA384),
        ),
        (
            "an exporter secret, SHA-256",
            short.clone(),
            exported_by_13(&short, 88),
        ),
        (
            "an exporter secret, SHA-384",
            long.clone(),
            exported_by_13(&long, 88),
        ),
    ];
    let tape = |material: &[u8]| {
        // AES-256-GCM takes all 88 bytes.
        let mut context = context(2, &material[..32], &material[64..76]).expect("keys");
        let packet = [&[0x80, 96, 0, 7, 0, 0, 0, 1, 9, 9, 9, 9][..], &[1; 30]].concat();
        let protected = context.encrypt_rtp(&packet).expect("protected").to_vec();
        let way = |from, to, data| Recorded { from, to, data };
        vec![
            way(from, to, hello(1, client)),
            way(to, from, hello(2, server)),
            way(from, to, protected),
        ]
    };
    let all = cases.into_iter();
    all.map(|(what, secret, material)| (what, secret, tape(&material)))
        .collect()
}
