//! HTTP: WHIP, WHEP, events, page, health; start and shutdown.

mod advertise;
mod app;
mod assets;
mod auth;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod keeper;
mod limit;
mod listen;
mod problem;
mod rotation;
mod session;
mod session_id;
mod sessions;
mod start;
mod status;
mod whip;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::broadcast;

pub use auth::{Token, TokenError};
#[cfg(feature = "bench")]
pub(crate) use listen::raise_open_files;
pub use start::{Ready, RunError, run};

/// All that a server goes by.
#[derive(Debug)]
pub struct Config {
    /// The key file that opens the vault.
    pub key_file: PathBuf,
    /// Make the key file where it is missing and there is no vault yet. Only right for a path that nobody named.
    pub may_make_key: bool,
    /// The vault.
    pub state_dir: PathBuf,
    /// Where HTTP listens; port 0 lets the system choose.
    pub http: SocketAddr,
    /// Where media is received; port 0 lets the system choose, and then no restart can be survived without being told it.
    pub udp: SocketAddr,
    /// Addresses for the answers' candidates; found out where empty.
    pub advertise: Vec<IpAddr>,
    /// What a publisher must show.
    pub publish: Option<Token>,
    /// What a viewer must show.
    pub watch: Option<Token>,
    /// Anybody may publish, by any web page.
    pub open: bool,
    /// A client's address is the last entry of `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// Sessions that one address may start per second; 0 for no limit.
    pub join_rate: u32,
    /// Sessions that one address may have at once; 0 for no limit.
    pub max_sessions_per_address: usize,
    /// Serve the page from here instead of the one built in.
    pub static_dir: Option<PathBuf>,
    /// Shut the process in once it has what it needs; see [`crate::hardening::sandbox`].
    pub sandbox: bool,
    /// Make a new certificate for new peers; those of earlier boots keep theirs.
    pub rotate_identity: bool,
    /// Settings of the core.
    pub core: broadcast::Config,
}
