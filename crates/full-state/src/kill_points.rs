//! Only in the build that one test asks for (`--cfg rekindle_kill_points`, see
//! `tests/with_hooks.sh`): the process reports every packet before it is protected, and ends itself
//! at a given step of writing or reading keys and counters.
//!
//! It reports by appending to a file. What `write` has accepted stays with the kernel, whatever
//! happens to the process.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;

use super::record::SessionId;

/// Names the file for the reports.
const TELL: &str = "REKINDLE_KILL_TELL";
/// The step at which to end, and at which occurrence of its name, counted from 1.
const AT: &str = "REKINDLE_KILL_AT";
const NTH: &str = "REKINDLE_KILL_NTH";
/// How long that step waits before, in ms; everything else continues.
const HOLD: &str = "REKINDLE_KILL_HOLD";
/// Counters are reported as durable and are not: what happens if nobody waits for the disk.
const LIE: &str = "REKINDLE_KILL_LIE";

static HOOK: OnceLock<Hook> = OnceLock::new();

struct Hook {
    told: Mutex<Told>,
    at: Option<String>,
    hold: Duration,
    lies: bool,
}

struct Told {
    file: File,
    /// How many steps of this name may still pass.
    left: u32,
}

thread_local! {
    /// The file that this thread writes.
    static WRITES: Cell<&'static str> = const { Cell::new("") };
}

/// Reads its settings from the environment. To be called before the sandbox is set up.
pub fn start() {
    let Some(path) = std::env::var_os(TELL) else {
        return;
    };
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let file = File::options().create(true).append(true).open(path);
    let hook = Hook {
        told: Mutex::new(Told {
            file: file.expect("a file to tell to"),
            left: number(NTH).unwrap_or(1),
        }),
        at: std::env::var(AT).ok(),
        hold: Duration::from_millis(number(HOLD).unwrap_or(0).into()),
        lies: std::env::var_os(LIE).is_some(),
    };
    assert!(HOOK.set(hook).is_ok(), "called once");
}

/// This thread is about to write, or remove, this file.
pub fn writes(folder: &Path, name: &str) {
    let in_folder = |of: &str| folder.file_name().is_some_and(|last| last == of);
    WRITES.set(match name {
        "counters.age" => "counters",
        "identity.age" => "identity",
        _ if in_folder("sessions") => "session",
        _ if in_folder("peers") => "peer",
        _ => "other",
    });
}

/// A step of this thread's file: see [`step`].
pub fn step_of_file(what: &str) {
    step(&format!("{}: {what}", WRITES.get()));
}

/// Something was done that a kill may follow.
pub fn step(what: &str) {
    let Some(hook) = HOOK.get() else { return };
    let last = {
        let mut told = hook.told.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = hook.at.as_deref() == Some(what);
        told.left -= u32::from(wanted && told.left > 0);
        let last = wanted && told.left == 0;
        let mut line = vec![if last { b'K' } else { b'S' }, what.len() as u8];
        line.extend(what.as_bytes());
        told.file.write_all(&line).expect("told");
        last
    };
    if last {
        std::thread::sleep(hook.hold);
        std::process::abort();
    }
}

/// A packet will be protected with these keys and this index; `ssrc`: none for SRTCP, whose indices
/// are counted for all SSRCs together.
pub fn protects(id: SessionId, ssrc: Option<u32>, index: u64, packet: &[u8]) {
    let Some(hook) = HOOK.get() else { return };
    let mut line = vec![b'P', u8::from(ssrc.is_some())];
    line.extend(id);
    line.extend(ssrc.unwrap_or(0).to_be_bytes());
    line.extend(index.to_be_bytes());
    line.extend(&digest::digest(&digest::SHA256, packet).as_ref()[..16]);
    let mut told = hook.told.lock().unwrap_or_else(PoisonError::into_inner);
    told.file.write_all(&line).expect("told");
}

/// Whether counters are not written at all, though they are reported as durable.
pub fn lies() -> bool {
    HOOK.get().is_some_and(|hook| hook.lies)
}
