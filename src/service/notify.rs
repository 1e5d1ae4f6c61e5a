//! Notifications of the service manager: datagrams to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long a message may wait for a manager that is busy; then it is dropped.
const WAIT: Duration = Duration::from_millis(100);

/// The manager cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error(
    "the service manager's socket NOTIFY_SOCKET={name:?} cannot be reached: {source}; with \
     systemd, set NotifyAccess=main, or Type=exec \
     where it should not be told; elsewhere unset NOTIFY_SOCKET"
)]
pub struct NotifyError {
    /// The value in the environment.
    name: String,
    /// The system's error.
    source: io::Error,
}

/// Notifies the service manager of this process's state. Does nothing without one. The connection
/// is made once, so that a sandbox which forbids new ones does not break it.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Connects to the manager that the environment names, if any: by a path, or `@` and an
    /// abstract name.
    ///
    /// # Errors
    /// [`NotifyError`] where nobody listens there.
    pub fn from_environment() -> Result<Self, NotifyError> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::connect(&name).map_err(|source| NotifyError {
                name: name.to_string_lossy().into_owned(),
                source,
            }),
            _ => Ok(Self::default()),
        }
    }

    fn connect(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', abstracted @ ..] => SocketAddr::from_abstract_name(abstracted)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "it is neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(WAIT))?;
        Ok(Self {
            socket: Some(socket),
        })
    }

    /// Whether there is a manager.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The server is ready, with its status in one line.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The server's status in one line.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\n"));
    }

    /// The server reads its configuration again; [`Self::ready`] ends this.
    pub fn reloading(&self) {
        // The C library's clock, which needs no system call that the sandbox forbids.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let micros = now.as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The server is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    /// The server is alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// Asks to be ended as by `kill -9`. Only the supervisor of `rekindle demo` does that; systemd
    /// ignores variables whose names begin with `X_` (sd_notify(3)).
    pub fn kill_me(&self) {
        self.send("X_REKINDLE_KILL=1\n");
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

/// The watchdog's timeout (`WATCHDOG_USEC`), if the manager has one.
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC")
        .filter(|&micros| mine && micros > 0)
        .map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(at: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        at.set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        let length = at.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_manager_is_told_by_a_path_and_by_an_abstract_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("rekindle-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let abstracted = UnixDatagram::bind_addr(&address).expect("bound");
        for (at, name) in [
            (at_path, path.into_os_string()),
            (abstracted, format!("@{name}").into()),
        ] {
            let notifier = Notifier::connect(&name).expect("connected");
            notifier.ready("boot 3");
            assert_eq!(heard(&at), "READY=1\nSTATUS=boot 3\n");
            notifier.reloading();
            let reloading = heard(&at);
            let micros = reloading
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .expect("as systemd wants it");
            assert!(
                micros
                    .trim_end()
                    .parse::<u64>()
                    .is_ok_and(|micros| micros > 0),
                "{reloading}"
            );
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_one_that_does_not_read_holds_nobody_up() {
        assert!(Notifier::connect(OsStr::new("/nowhere/notify")).is_err());
        assert!(Notifier::connect(OsStr::new("vsock:2:1")).is_err());
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).expect("bound");
        let notifier = Notifier::connect(path.as_os_str()).expect("connected");
        // More than any kernel's queue takes.
        let (most, mut slow) = (100_000, 0);
        let started = std::time::Instant::now();
        while slow == 0 && started.elapsed() < Duration::from_secs(10) {
            for _ in 0..most.min(100) {
                let before = std::time::Instant::now();
                notifier.alive();
                slow += usize::from(before.elapsed() >= WAIT);
                if slow > 0 {
                    break;
                }
            }
        }
        assert!(
            slow > 0 && started.elapsed() < Duration::from_secs(10),
            "it waits, but not for long"
        );
    }
}
