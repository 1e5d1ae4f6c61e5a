//! No two packets under one key and index, whenever the process is killed: the real program on a
//! real disk, in full-state mode.
//!
//! A build of its own (`--cfg rekindle_kill_points`, see `tests/with_hooks.sh`) tells of every
//! packet before it is protected, and ends itself at the step that it is told: of a file that is
//! made, half written, written, synced, renamed, of a folder that is synced, of the word that goes
//! from the loop to the writer and back. Two clients on sockets of their own live through it all
//! under the keys of one handshake, as long as those last.
#![cfg(rekindle_kill_points)]

mod live;
mod running;
mod support;
mod told;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use live::{Live, broadcast, offered, path, run_until};
use rekindle::ids::Role;
use running::{Server, output, rekindle};
use support::Random;
use told::Told;

const CHANNEL: &str = "main";
/// Without media for so long after a start, a page has its browser run a handshake.
const SILENCE: Duration = Duration::from_millis(1500);

/// What is asked of one process.
#[derive(Default, Clone, Copy)]
struct Orders<'a> {
    /// It ends itself at the nth step of this name, after so many ms.
    at: Option<(&'a str, usize, u64)>,
    /// It takes its counters for durable, and writes none.
    lies: bool,
    /// It is killed from outside after this time; else once it has done all that is to be seen:
    /// somebody joined, got media, and left.
    killed_after: Option<Duration>,
}

/// Video packets that the viewer gets from a process, so many that more than one ceiling is used
/// up, and that somebody gets who joins.
const MEDIA: usize = 120;
const NEWCOMER: usize = 20;

/// A broadcast over many processes.
struct Broadcast {
    folder: tempfile::TempDir,
    http: String,
    media: String,
    publisher: Live,
    viewer: Live,
    /// Who has joined the process that runs.
    newcomer: Option<Live>,
    told: Told,
    boots: usize,
    /// Starts after which media went on under the keys that there were, and others.
    taken_over: usize,
    handshakes: usize,
}

impl Broadcast {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let made = output(rekindle(folder.path()).args(["keygen", "-o", "key"]));
        assert!(made.status.success());
        let mut command = command(&folder, Orders::default(), 0);
        let server = Server::start_as(&mut command);
        let (publisher, mut viewer) = broadcast(&server, CHANNEL, seed);
        viewer.client.receiver_mut().renumbers_audio = true;
        let mut this = Self {
            http: server.http().to_string(),
            media: server.media().to_string(),
            folder,
            publisher,
            viewer,
            newcomer: None,
            told: Told::default(),
            boots: 0,
            taken_over: 0,
            handshakes: 0,
        };
        // Until every counter has been written.
        this.run(|_, start| start.elapsed() > Duration::from_secs(1));
        server.kill();
        this.hear();
        this
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join(format!("told-{}", self.boots))
    }

    fn hear(&mut self) {
        self.told.hear(&self.report());
        std::fs::remove_file(self.report()).expect("it told something");
        self.boots += 1;
    }

    fn everybody(&mut self) -> Vec<&mut Live> {
        let both = [&mut self.publisher, &mut self.viewer];
        both.into_iter().chain(&mut self.newcomer).collect()
    }

    fn run(&mut self, mut until: impl FnMut(&[&mut Live], Instant) -> bool) {
        let start = Instant::now();
        run_until(&mut self.everybody(), "what is asked of a process", |all| {
            until(all, start)
        });
    }

    /// One process, from its start to its end.
    fn boot(&mut self, orders: Orders) {
        let started = Instant::now();
        let mut command = command(&self.folder, orders, self.boots);
        command.args(["--http", &self.http, "--udp", &self.media]);
        match Server::try_start_as(&mut command) {
            Ok(server) => self.serve(server, orders, started),
            Err(said) => assert!(orders.at.is_some() && !said.contains("panicked"), "{said}"),
        }
        self.hear();
    }

    fn serve(&mut self, mut server: Server, orders: Orders, started: Instant) {
        let over = |server: &mut Server| {
            let killed = orders
                .killed_after
                .is_some_and(|after| started.elapsed() >= after);
            killed || server.has_ended()
        };
        let before = self.viewer.video();
        self.run(|all, start| {
            over(&mut server) || all[1].video() > before || start.elapsed() > SILENCE
        });
        if self.viewer.video() > before {
            self.taken_over += 1;
        } else if !over(&mut server) {
            self.handshakes += 1;
            let now = Instant::now();
            self.publisher.client.renew(now);
            self.viewer.client.renew(now);
        }
        let offered = offered(Role::Viewer, 0x5eed + self.boots as u64);
        let answer = server.try_offer(&path(Role::Viewer, CHANNEL), &offered.sdp);
        if let Some(answer) = answer.filter(|answer| answer.status() == 201) {
            let mut newcomer = Live::answered(&server, Role::Viewer, offered, answer);
            newcomer.client.receiver_mut().renumbers_audio = true;
            let ufrag = newcomer.client.session.credentials.server_ufrag.clone();
            self.newcomer = Some(newcomer);
            // Who leaves before the writer has come to the session has none on the disk.
            let session = self
                .folder
                .path()
                .join(format!("state/sessions/{ufrag}.age"));
            self.run(|all, _| {
                over(&mut server) || (all[2].video() >= NEWCOMER && session.exists())
            });
            let left = self.newcomer.take().expect("who has just joined");
            let _ = server.try_delete(&left.session);
        }
        let enough = before + MEDIA;
        self.run(|all, _| {
            over(&mut server) || (orders.killed_after.is_none() && all[1].video() >= enough)
        });
        server.kill();
    }

    /// What was seen, and that no place was used for two packets.
    #[track_caller]
    fn assert_nothing_twice(&self) {
        println!(
            "{} processes, {} RTP and {} RTCP packets protected; {} starts went on with the keys \
             that there were, {} took a handshake",
            self.boots, self.told.rtp, self.told.rtcp, self.taken_over, self.handshakes
        );
        for (step, times) in &self.told.ended_at {
            println!("  ended at {step:?}: {times}");
        }
        assert!(self.told.twice.is_empty(), "{:x?}", self.told.twice);
    }
}

fn command(folder: &tempfile::TempDir, orders: Orders, boot: usize) -> Command {
    let mut command = rekindle(folder.path());
    command
        .args([
            "--key-file",
            "key",
            "--state-dir",
            "state",
            "--mode",
            "full-state",
            "--join-rate",
            "0",
        ])
        .env(
            "REKINDLE_KILL_TELL",
            folder.path().join(format!("told-{boot}")),
        );
    if let Some((step, nth, hold)) = orders.at {
        command
            .env("REKINDLE_KILL_AT", step)
            .env("REKINDLE_KILL_NTH", nth.to_string())
            .env("REKINDLE_KILL_HOLD", hold.to_string());
    }
    if orders.lies {
        command.env("REKINDLE_KILL_LIE", "1");
    }
    command
}

/// Kills at every one of these steps: at the first of its name, at the second, and so on, until a
/// process has done all that is to be seen before it comes to it, or until so many.
fn at_every_step(seed: u64, hold: u64, most: usize, these: fn(&str) -> bool) {
    let mut broadcast = Broadcast::new(seed);
    broadcast.boot(Orders::default());
    let mut done = BTreeSet::new();
    let next = |broadcast: &Broadcast, done: &BTreeSet<String>| {
        let mut steps = broadcast.told.steps.iter().filter(|step| these(step));
        steps.find(|step| !done.contains(*step)).cloned()
    };
    while let Some(step) = next(&broadcast, &done) {
        for nth in 1..=most {
            broadcast.boot(Orders {
                at: Some((&step, nth, hold)),
                ..Orders::default()
            });
            if !broadcast.told.ended {
                break;
            }
        }
        done.insert(step);
    }
    broadcast.assert_nothing_twice();
    for step in STEPS.into_iter().filter(|step| these(step)) {
        assert!(
            broadcast.told.ended_at.contains_key(step),
            "no process ended at {step:?}"
        );
    }
    // Those that died before any media are the rest: how many depends on what the disk takes for
    // the first writes.
    assert!(broadcast.taken_over > broadcast.boots / 4);
}

/// Every step on the way of keys and counters to the disk and back is among those.
const STEPS: [&str; 21] = [
    "counters read",
    "counters raised",
    "counters handed over",
    "work given",
    "work taken",
    "answered",
    "the loop knows",
    "counters: made",
    "counters: half written",
    "counters: written",
    "counters: synced",
    "counters: renamed",
    "counters: folder synced",
    "session: made",
    "session: half written",
    "session: written",
    "session: synced",
    "session: renamed",
    "session: folder synced",
    "session: removed",
    "peer: renamed",
];

/// Of the file of counters; the rest is keys, records, and words between threads.
fn is_of_counters(step: &str) -> bool {
    step.starts_with("counters: ")
}

#[test]
fn killed_at_every_step_of_writing_counters_no_two_packets_share_a_key_and_an_index() {
    at_every_step(0x57e9, 0, usize::MAX, is_of_counters);
}

#[test]
fn killed_at_every_step_of_writing_keys_and_of_telling_the_loop_no_two_packets_share_a_key_and_an_index()
 {
    at_every_step(0x57ea, 0, usize::MAX, |step| !is_of_counters(step));
}

/// The step takes its time: the loop goes on sending while the disk is slow, as far as what is
/// durable allows.
#[test]
fn killed_at_every_step_of_slow_writes_no_two_packets_share_a_key_and_an_index() {
    // Longer than what is reserved ahead lasts.
    at_every_step(0x510e, 1000, 3, is_of_counters);
}

#[test]
fn killed_at_any_moment_no_two_packets_share_a_key_and_an_index() {
    let mut broadcast = Broadcast::new(0xa4b1);
    let mut random = Random::new(0xa4b1);
    for _ in 0..60 {
        let after = Duration::from_micros(random.draw() % 900_000);
        broadcast.boot(Orders {
            killed_after: Some(after),
            ..Orders::default()
        });
    }
    broadcast.assert_nothing_twice();
    assert!(broadcast.taken_over > 10);
}

/// The same watch finds what it looks for, where it is: processes that do not wait for the disk,
/// killed before their counters are there.
#[test]
fn of_processes_that_do_not_wait_for_the_disk_packets_that_share_a_key_and_an_index_are_found() {
    let run = |lies| {
        let mut broadcast = Broadcast::new(0x11e5);
        for _ in 0..3 {
            broadcast.boot(Orders {
                lies,
                killed_after: Some(Duration::from_millis(2500)),
                ..Orders::default()
            });
        }
        assert!(broadcast.taken_over >= 2);
        broadcast
    };
    run(false).assert_nothing_twice();
    let told = run(true).told;
    let (rtp, rtcp): (Vec<_>, Vec<_>) = told
        .twice
        .into_iter()
        .partition(|(_, ssrc, _)| ssrc.is_some());
    println!(
        "{} RTP and {} RTCP indices used twice",
        rtp.len(),
        rtcp.len()
    );
    assert!(!rtp.is_empty() && !rtcp.is_empty());
}
