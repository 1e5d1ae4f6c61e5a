//! What the process takes away from itself: from [`early`], before it has read a secret, what would
//! let its memory out; from [`sandbox`], once it holds its sockets and its vault, all that a server
//! at work never needs.
//!
//! Everything here is a second wall. It is for the day a parser turns out to be wrong: an intruder
//! in this process finds no program to start, no file but the vault's, no connection to open, and
//! no right to gain. Linux only.

mod files;
mod process;
mod report;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use report::Report;

/// Why there is no sandbox although the kernel offers one. A server that was not told
/// `--no-sandbox` does not start then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Landlock and capabilities belong to threads: those that run already would stay outside.
    #[error(
        "the sandbox must be set up before threads are started, but {0} run; this is a mistake in \
         the program, please report it"
    )]
    Threads(usize),
    /// A folder that should stay usable cannot be opened.
    #[error("cannot open {} for the sandbox: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel has Landlock, but refused the rules.
    #[error(
        "the kernel refused the Landlock rules ({0}); --no-sandbox starts without, but is not for \
         production"
    )]
    Landlock(String),
    /// The capabilities could not be given up.
    #[error(
        "cannot give up capabilities ({0}); --no-sandbox starts without, but is not for production"
    )]
    Capabilities(io::Error),
    /// The kernel has seccomp, but refused the filter.
    #[error(
        "the kernel refused the seccomp filter ({0}); --no-sandbox starts without, but is not for \
         production"
    )]
    Seccomp(String),
}

/// What a sandboxed server may still use.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The vault's folder, if it is one. Files in it may be read, written, made, moved and removed.
    pub state_dir: Option<&'a Path>,
    /// The folder the page is served from, if it is not the one built in. Files in it may be read.
    pub static_dir: Option<&'a Path>,
    /// The key file, if it is to be read again while the server runs. The file itself stays
    /// readable; a file that takes its place does only where the folder holds nothing but the key
    /// file and token files, because what stays readable then is that folder.
    pub key_file: Option<&'a Path>,
    /// Files of tokens that are to be read again too, in the same way. What is no regular file
    /// cannot be read again, and is left out.
    pub token_files: &'a [&'a Path],
    /// The ports that TCP connections may be made to; without any, no socket can be made.
    pub connects: &'a [u16],
    /// Certificate and key of TLS, which are to be read again as well. Tools that renew them put
    /// other files in their place, so the folder where each really is (behind links) stays readable
    /// where it holds nothing but certificates and keys.
    pub tls_files: &'a [&'a Path],
}

/// Makes the process's memory its own. To be called first in `main`: before a secret is read, and
/// before there are threads, which inherit part of it.
///
/// No core dumps, neither to a file nor to a crash reporter; no debugger and no `/proc/PID/mem` for
/// other processes of the same user; no gain of privileges by starting a program; new files for
/// their owner only; and memory that never goes to swap, where the limit for locked memory allows.
/// Nothing here can fail: what the system does not grant is in the report.
pub fn early() -> Report {
    let mut report = Report::default();
    process::no_core_dumps(&mut report);
    process::no_new_privileges(&mut report);
    process::own_files_only();
    process::lock_memory(&mut report);
    report
}

/// Shuts the process in. To be called once all sockets are bound, the vault is open and the signals
/// have their handlers, and before any thread is started: threads that exist by then would stay
/// outside.
///
/// Afterwards, for good: no file but those of [`Options`]; no program can be started; no socket can
/// be made, bound or connected, but for TCP to the ports of [`Options`], if any; no capability is left, not even to root (but for CAP_IPC_LOCK where
/// memory stays locked by it); no memory can be made executable; and of the system calls only those
/// that a server at work makes. A forbidden path is an error like any other. A forbidden call ends
/// the process with SIGSYS: the program never makes one, so an intruder does, and a restart costs
/// the browsers less than a second.
///
/// What the kernel does not offer is left out, and the report says so.
///
/// # Errors
/// [`SandboxError`] if the kernel offers a part but it could not be put up.
pub fn sandbox(options: &Options<'_>) -> Result<Report, SandboxError> {
    // Without /proc nobody can count; the caller keeps the order, and a test of the whole program
    // sees to it.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(SandboxError::Threads(threads));
    }
    let mut report = Report::default();
    files::confine(options, &mut report)?;
    process::give_up_capabilities(&mut report)?;
    syscalls::confine(!options.connects.is_empty(), &mut report)?;
    Ok(report)
}
