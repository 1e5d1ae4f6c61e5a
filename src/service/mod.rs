//! What a service manager hands to the server, and what it is told: systemd's protocols, which
//! `rekindle supervise` speaks too.
//!
//! - Sockets that the manager holds (sd_listen_fds(3)): they stay open while no server runs, so
//!   nobody is refused.
//! - News for the manager (sd_notify(3)): up, what it is about, stopping, still alive.

mod notify;
pub(crate) mod sockets;

pub use notify::{Notifier, NotifyError, watchdog};
pub use sockets::{Passed, SocketsError, take};
