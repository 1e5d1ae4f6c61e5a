//! The interface to a service manager: systemd's protocols, which `rekindle supervise` speaks too.
//!
//! - Sockets that the manager holds (sd_listen_fds(3)): they stay open while no server runs, so
//!   that no client is refused.
//! - Notifications of the manager (sd_notify(3)): ready, status, stopping, still alive.

mod notify;
pub(crate) mod sockets;

pub use notify::{Notifier, NotifyError, watchdog};
pub use sockets::{Passed, SocketsError, take};

/// The variable by which the supervisor of `rekindle demo` tells the server that its page has the
/// button that kills it.
pub(crate) const DEMO: &str = "REKINDLE_DEMO";

/// Whether this server belongs to `rekindle demo`.
pub(crate) fn is_demo() -> bool {
    std::env::var_os(DEMO).is_some_and(|value| value == "1")
}
