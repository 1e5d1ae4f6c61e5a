//! The processes that a benchmark has started: none of them outlives it, however it ends.
//!
//! Each has a process group of its own, so that Ctrl-C on a terminal reaches only the benchmark,
//! which then decides.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

/// How long scripts may take to close their browsers when everything ends at once.
const LAST_WORDS: Duration = Duration::from_millis(700);

struct Running {
    group: Pid,
    /// It is asked before it is killed.
    asked_first: bool,
}

impl Running {
    fn is(&self, process: u32) -> bool {
        u32::try_from(self.group.as_raw_nonzero().get()) == Ok(process)
    }
}

struct Kept {
    running: Vec<Running>,
    folders: Vec<PathBuf>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    running: Vec::new(),
    folders: Vec::new(),
});

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process. `asked_first`: it gets SIGTERM before SIGKILL where everything ends at once.
///
/// # Errors
/// Where the program cannot be run.
pub(super) fn spawn(command: &mut Command, asked_first: bool) -> io::Result<Child> {
    let mut kept = kept();
    let child = command.process_group(0).spawn()?;
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kept.running.push(Running { group, asked_first });
    }
    Ok(child)
}

/// Ends a process and its group by SIGKILL, and waits until it has ended.
pub(super) fn kill(child: &mut Child) {
    // Under the lock, so that the number cannot be reused by another process meanwhile.
    let mut kept = kept();
    let id = child.id();
    if let Some(at) = kept.running.iter().position(|one| one.is(id)) {
        let one = kept.running.swap_remove(at);
        let _ = kill_process_group(one.group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs a program to its end, and returns its output.
///
/// # Errors
/// Where it cannot be run.
pub(super) fn output(command: &mut Command) -> io::Result<Output> {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()), true)?;
    let id = child.id();
    let output = child.wait_with_output();
    kept().running.retain(|one| !one.is(id));
    output
}

/// Registers a folder that is removed together with the processes.
pub(super) fn keep_folder(folder: &Path) {
    kept().folders.push(folder.to_owned());
}

/// That folder has been removed.
pub(super) fn forget_folder(folder: &Path) {
    kept().folders.retain(|one| one != folder);
}

/// Ends all processes, removes their folders, and ends this process with `code`.
pub(super) fn end_all(code: i32) -> ! {
    // Held until the end: no other process starts meanwhile.
    let kept = kept();
    for one in kept.running.iter().filter(|one| one.asked_first) {
        let _ = kill_process_group(one.group, Signal::TERM);
    }
    if kept.running.iter().any(|one| one.asked_first) {
        std::thread::sleep(LAST_WORDS);
    }
    for one in &kept.running {
        let _ = kill_process_group(one.group, Signal::KILL);
    }
    // Processes that have ended write nothing into their folders any more.
    for one in &kept.running {
        let _ = waitpid(Some(one.group), WaitOptions::empty());
    }
    for folder in &kept.folders {
        let _ = std::fs::remove_dir_all(folder);
    }
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_killed_takes_along_what_it_has_started() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 600 & echo $!; wait"])
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command, false).expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).expect("a line");
        let inner = line
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("a number");
        kill(&mut child);
        let ends = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", inner.as_raw_nonzero()))
                .unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let over = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            ends()
        });
        assert!(over, "process {inner:?} is still there");
    }
}
