//! Only in the build that one test asks for (`--cfg rekindle_canary`, see `tests/with_hooks.sh`):
//! reports to a listener every secret that must end with its session, and every byte that is
//! written to disk, so that the test can search for the former where it must not be.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The variable that names the listener's socket.
const SOCKET: &str = "REKINDLE_CANARY";

static LISTENER: OnceLock<Mutex<UnixStream>> = OnceLock::new();

/// Connects to the listener, if one is named. To be called before the sandbox is set up. Returns
/// whether one is named.
pub fn start() -> bool {
    let Some(path) = std::env::var_os(SOCKET) else {
        return false;
    };
    let stream = UnixStream::connect(path).expect("somebody listens");
    LISTENER.set(Mutex::new(stream)).expect("called once");
    true
}

/// A secret that must not outlive its session.
pub fn secret(name: &str, bytes: &[u8]) {
    tell(b'S', name, bytes);
}

/// What is written to a file, or is about to be encrypted for one.
pub fn file(name: &str, bytes: &[u8]) {
    tell(b'F', name, bytes);
}

/// Sends kind, length and name, length and bytes, straight from where they are: no copy is made
/// here.
fn tell(kind: u8, name: &str, bytes: &[u8]) {
    let Some(listener) = LISTENER.get() else {
        return;
    };
    let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
    let mut head = vec![kind];
    head.extend((name.len() as u32).to_be_bytes());
    head.extend(name.as_bytes());
    head.extend((bytes.len() as u32).to_be_bytes());
    let told = listener
        .write_all(&head)
        .and_then(|()| listener.write_all(bytes));
    told.expect("the listener listens");
}
