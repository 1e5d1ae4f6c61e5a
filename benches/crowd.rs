//! How long a server needs for the handshakes of a crowd that comes all at once, without what the
//! crowd itself needs: what clients say is made before the clock runs, and their answers while it
//! stands. Two programs take turns, such as one before a change and one after it.
//!
//!     REKINDLE_PROGRAMS=before/rekindle,after/rekindle cargo bench --bench crowd

#[path = "../tests/live/mod.rs"]
mod live;
#[path = "../tests/running/mod.rs"]
mod running;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use live::{Live, run_until_connected};
use rekindle::ids::Role;
use running::Server;

/// As many as can work on an answer before the server, whose clock does not stand, says it again.
const VIEWERS: usize = 60;
const ROUNDS: usize = 20;
/// What was lost on the way is said again then.
const LOST: Duration = Duration::from_secs(1);

struct Arm {
    program: String,
    server: Server,
    viewers: Vec<Live>,
    _folder: tempfile::TempDir,
    /// Of each round: time until all had keys, and the server's CPU time.
    rounds: Vec<(Duration, Option<Duration>)>,
}

/// Time of all its threads on processors (proc(5), `schedstat`).
fn cpu(server: &Server) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.ready["pid"])).expect("a process");
    let time = |task: fs::DirEntry| -> Option<u64> {
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse().ok()
    };
    let times = tasks.filter_map(|task| time(task.expect("an entry")));
    Duration::from_nanos(times.sum())
}

impl Arm {
    fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command
            .current_dir(folder.path())
            .args(["--join-rate=0", "--max-sessions-per-address=0"]);
        let server = Server::start_as(&mut command);
        let publisher = Live::join(&server, Role::Publisher, "news", 1);
        let mut viewers = vec![publisher];
        run_until_connected(&mut [&mut viewers[0]]);
        for n in 0..VIEWERS {
            viewers.push(Live::join(&server, Role::Viewer, "news", 100 + n as u64));
            let newest = viewers.last_mut().expect("one");
            run_until_connected(&mut [newest]);
        }
        // It sends nothing: handshakes are all there is to do.
        viewers.remove(0);
        Self {
            program: program.to_owned(),
            server,
            viewers,
            _folder: folder,
            rounds: Vec::new(),
        }
    }

    /// Sends what all have to say, and waits until each has an answer to it.
    fn flight(&mut self) -> Duration {
        let start = Instant::now();
        self.viewers.iter_mut().for_each(Live::send_out);
        let mut waiting: Vec<usize> = (0..self.viewers.len())
            .filter(|n| !self.viewers[*n].client.is_connected())
            .collect();
        while !waiting.is_empty() && start.elapsed() < LOST {
            waiting.retain(|n| !self.viewers[*n].is_answered());
            std::thread::sleep(Duration::from_micros(200));
        }
        start.elapsed()
    }

    fn round(&mut self) {
        self.viewers.iter_mut().for_each(Live::take_in);
        self.viewers.iter_mut().for_each(Live::send_out);
        // Checks are answered before.
        std::thread::sleep(Duration::from_millis(300));
        self.viewers.iter_mut().for_each(Live::take_in);
        let (before, now) = (cpu(&self.server), Instant::now());
        self.viewers
            .iter_mut()
            .for_each(|viewer| viewer.client.renew(now));
        let mut took = Duration::ZERO;
        let mut flights = 0;
        while self.viewers.iter().any(|one| !one.client.is_connected()) {
            took += self.flight();
            self.viewers.iter_mut().for_each(Live::take_in);
            flights += 1;
            assert!(flights < 100, "a handshake has a few flights");
        }
        // A thread that has ended takes its time with it.
        let spent = cpu(&self.server).checked_sub(before);
        self.rounds.push((took, spent));
    }
}

/// The least, and the quartiles, in milliseconds: what others do on the machine only adds.
fn summary(times: impl Iterator<Item = Duration>) -> String {
    let mut all: Vec<Duration> = times.collect();
    all.sort();
    let at = |part: usize| all[part * (all.len() - 1) / 4].as_secs_f64() * 1000.0;
    let [least, first, median, third] = [at(0), at(1), at(2), at(3)];
    format!("{least:.1} at the least, {first:.1} {median:.1} {third:.1} the quartiles")
}

fn main() {
    let own = env!("CARGO_BIN_EXE_rekindle").to_owned();
    let programs = std::env::var("REKINDLE_PROGRAMS").unwrap_or(own);
    let mut arms: Vec<Arm> = programs.split(',').map(Arm::new).collect();
    for _ in 0..ROUNDS {
        arms.iter_mut().for_each(Arm::round);
    }
    println!("{VIEWERS} handshakes at once, {ROUNDS} rounds, in ms");
    for arm in &arms {
        println!("{}", arm.program);
        let took = summary(arm.rounds.iter().map(|round| round.0));
        println!("  until all had keys: {took}");
        let spent = summary(arm.rounds.iter().filter_map(|round| round.1));
        println!("  the server's CPU time: {spent}");
    }
}
