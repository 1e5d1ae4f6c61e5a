//! HTTP, with or without TLS: WHIP, WHEP, events, page, health; start and shutdown.

mod admin;
mod advertise;
mod app;
mod assets;
mod auth;
mod base_path;
mod body;
mod certificates;
mod cluster;
mod converse;
mod drain;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod limit;
mod listen;
mod metrics;
mod middleware;
mod names;
mod nodes;
mod opening;
mod ports;
mod problem;
mod record_writer;
mod rotation;
mod router;
mod run_error;
mod serving;
mod session;
mod session_id;
mod sessions;
mod site;
mod start;
mod status;
mod times;
mod tls;
mod watchdog;
mod whip;
mod writes;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::broadcast;
use crate::service::{Notifier, Passed};

pub use auth::{Token, TokenError};
pub use base_path::{BasePath, BasePathError};
pub use cluster::{SharedVault, SharedVaultError};
pub use listen::raise_open_files;
pub use nodes::{Node, NodeError, Nodes};
pub use ports::Ports;
pub use run_error::RunError;

pub use start::{Ending, Ready, run};
pub use tls::{Pair, Tls, TlsError};

/// What a restart takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every browser runs a fresh DTLS handshake; no session key is ever kept.
    #[default]
    Rehandshake,
    /// Session keys are kept on disk, encrypted, and used again (only in a build with the feature
    /// `full-state`).
    FullState,
}

impl Mode {
    /// Its name on the command line and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rehandshake => "rehandshake",
            Self::FullState => "full-state",
        }
    }

    /// What this mode gives up; for the log and for health.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Rehandshake => None,
            Self::FullState => Some(
                "full-state mode keeps session keys on disk: whoever records the traffic and later \
                 gets the state folder and \
                 the key file can decrypt it (no forward secrecy). It is for comparison only",
            ),
        }
    }
}

/// All that a server goes by.
#[derive(Debug)]
pub struct Config {
    /// What a restart takes.
    pub mode: Mode,
    /// The key file that opens the vault.
    pub key_file: PathBuf,
    /// Make the key file where it is missing and there is no vault yet. Only right for a path that
    /// nobody named.
    pub may_make_key: bool,
    /// The vault.
    pub state_dir: PathBuf,
    /// Where the vault is shared with other nodes; then there is no folder.
    pub shared: Option<SharedVault>,
    /// A file elsewhere that says how far the vault has come; see
    /// [`crate::vault::Opened::hold_to`].
    pub anchor: Option<PathBuf>,
    /// Ports that a service manager holds; what follows is for those that it does not.
    pub passed: Passed,
    /// Tells the service manager.
    pub notifier: Notifier,
    /// Where HTTP listens; port 0 lets the system choose.
    pub http: SocketAddr,
    /// Where media is received; port 0 lets the system choose, and then no restart can be survived
    /// without being told it.
    pub udp: SocketAddr,
    /// Where operators ask, apart from everybody else, if anywhere.
    pub admin: Option<SocketAddr>,
    /// What they must show there.
    pub admin_token: Option<Token>,
    /// Addresses for the answers' candidates; found out where empty.
    pub advertise: Vec<IpAddr>,
    /// What a publisher must show.
    pub publish: Option<Token>,
    /// What a viewer must show.
    pub watch: Option<Token>,
    /// HTTP is spoken inside TLS, with this certificate.
    pub tls: Option<Tls>,
    /// Anybody may publish, by any web page.
    pub open: bool,
    /// A client's address is the last entry of `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// The path that a proxy takes off before it passes requests on.
    pub base_path: BasePath,
    /// Other servers that may have the same sessions.
    pub other_nodes: Vec<Node>,
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
    /// Peers without a post-quantum key exchange are refused.
    pub require_post_quantum: bool,
    /// Threads that take part in what is done for peers.
    pub threads: NonZeroUsize,
    /// Settings of the core.
    pub core: broadcast::Config,
}
