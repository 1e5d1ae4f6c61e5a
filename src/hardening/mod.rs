//! What the process gives up: in [`early`], before it has read a secret, whatever would expose its
//! memory; in [`sandbox`], once it holds its sockets and its vault, everything that a running
//! server never needs.
//!
//! All of this is a second line of defence, for the case that a parser has a fault: an intruder in
//! this process can start no program, open no file but the vault's, make no connection and gain no
//! privilege. Linux only.

mod files;
mod process;
mod report;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use report::Report;

/// Why there is no sandbox although the kernel offers one. A server without `--no-sandbox` does not
/// start then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Landlock and capabilities apply to threads: those that run already would stay unconfined.
    #[error(
        "the sandbox must be set up before threads are started, but {0} run; this is a mistake in \
         the program, please report it"
    )]
    Threads(usize),
    /// A folder that must stay accessible cannot be opened.
    #[error("cannot open {} for the sandbox: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
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
    /// readable. A file that replaces it is readable only where its folder holds nothing but the
    /// key file and token files, because then the whole folder stays readable.
    pub key_file: Option<&'a Path>,
    /// Files of tokens that are to be read again too, in the same way. A path that is no regular
    /// file cannot be read again, and is left out.
    pub token_files: &'a [&'a Path],
    /// The ports that TCP connections may be made to, of whatever host: Landlock knows no hosts.
    /// Without any, no socket can be made.
    pub connects: &'a [u16],
    /// Certificate and key of TLS, which are to be read again as well. Tools that renew them
    /// replace the files, so the folder of each real file (links followed) stays readable where it
    /// holds nothing but certificates and keys.
    pub tls_files: &'a [&'a Path],
    /// The folder for what an ACME authority gives. Files in it may be read, written and moved.
    pub acme_dir: Option<&'a Path>,
}

/// Protects the process's memory. To be called first in `main`: before a secret is read, and before
/// there are threads, which inherit part of it.
///
/// No core dumps, neither to a file nor to a crash reporter; no debugger and no `/proc/PID/mem` for
/// other processes of the same user; no gain of privileges by starting a program; new files for
/// their owner only; and memory that is never swapped, where the limit for locked memory allows it.
/// Nothing here fails: what the system does not grant is in the report.
pub fn early() -> Report {
    let mut report = Report::default();
    process::no_core_dumps(&mut report);
    process::no_new_privileges(&mut report);
    process::own_files_only();
    process::lock_memory(&mut report);
    report
}

/// Confines the process. To be called once all sockets are bound, the vault is open and signal
/// handlers are installed, and before any thread is started: threads that exist by then would stay
/// unconfined.
///
/// Afterwards, for good: no file but those of [`Options`]; no program can be started; no socket can
/// be made, bound or connected, except for TCP to the ports of [`Options`], if any; no capability
/// is left, not even to root (except CAP_IPC_LOCK where memory stays locked by it); no memory can
/// be made executable; and of the system calls only those that a running server makes. A forbidden
/// path is an error like any other. A forbidden call ends the process with SIGSYS: the program
/// never makes one, so an intruder does, and a restart costs the browsers less than a second.
///
/// What the kernel does not offer is left out, and the report says so.
///
/// # Errors
/// [`SandboxError`] if the kernel offers a part but refused it.
pub fn sandbox(options: &Options<'_>) -> Result<Report, SandboxError> {
    // Without /proc the threads cannot be counted; the caller keeps the order, and a test of the
    // whole program checks it.
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
