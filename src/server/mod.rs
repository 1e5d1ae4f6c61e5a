//! HTTP, with or without TLS: WHIP, WHEP, events, page, health; start and shutdown.

mod acme;
mod admin;
mod advertise;
mod app;
mod assets;
mod auth;
mod base_path;
mod body;
mod certificates;
mod cluster;
mod confining;
mod converse;
mod demo;
mod drain;
mod event_hook;
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
mod outbound;
mod path_text;
mod places;
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

pub use acme::{
    AcmeName, AcmeNameError, AcmeSettings, AcmeStoreError, ExternalAccount, ExternalAccountError,
};
pub(crate) use advertise::needs_zone;
pub use auth::{
    ChannelPattern, ChannelTokens, ChannelTokensError, Hook, Jwt, JwtChecks, JwtError, KeySetError,
    KeysPlace, NewJwt, Rights, Token, TokenError, Uses, make_key_file,
};
pub use base_path::{BasePath, BasePathError};
pub use cluster::{SharedVault, SharedVaultError};
pub use event_hook::{EventHook, EventSecret};
pub use listen::raise_open_files;
pub use nodes::{Node, NodeError, Nodes};
pub use outbound::{Endpoint, Names, OutboundUrl, OutboundUrlError, Trust, TrustError};
pub use ports::Ports;
pub use run_error::RunError;

pub use start::{Ending, Ready, run};
pub use tls::{Pair, Tls, TlsError};

/// What survives a restart.
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
    /// Its name on the command line and in HTTP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rehandshake => "rehandshake",
            Self::FullState => "full-state",
        }
    }

    /// The security that this mode gives up, for the log and for health.
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

/// The settings of a server.
#[derive(Debug)]
pub struct Config {
    /// What survives a restart.
    pub mode: Mode,
    /// The key file that opens the vault.
    pub key_file: PathBuf,
    /// Whether to make the key file where it is missing and there is no vault yet. Only right for a
    /// default path.
    pub may_make_key: bool,
    /// The vault's folder.
    pub state_dir: PathBuf,
    /// Where the vault is shared with other nodes; then there is no folder.
    pub shared: Option<SharedVault>,
    /// A file elsewhere that records the vault's progress; see
    /// [`crate::vault::Opened::hold_to`].
    pub anchor: Option<PathBuf>,
    /// Sockets that a service manager holds; the addresses below are for those that it does not.
    pub passed: Passed,
    /// The connection to the service manager.
    pub notifier: Notifier,
    /// Whether the page has a button by which the server asks its manager to be killed: for
    /// `rekindle demo` alone, and of no effect where others can reach the server.
    pub demo: bool,
    /// Where HTTP listens; port 0 lets the system choose.
    pub http: SocketAddr,
    /// Where media is received; with port 0 the system chooses, and then a restart is only survived
    /// if the port is configured.
    pub udp: SocketAddr,
    /// Whether media is received over TCP too, at the same address and port.
    pub ice_tcp: bool,
    /// The address of the admin listener, if there is one.
    pub admin: Option<SocketAddr>,
    /// The token for it.
    pub admin_token: Option<Token>,
    /// Addresses for the answers' candidates; determined automatically where empty.
    pub advertise: Vec<IpAddr>,
    /// Who may publish and watch.
    pub rights: Rights,
    /// Who is told what happens.
    pub events: Option<EventHook>,
    /// The certificate for HTTPS, if it is configured.
    pub tls: Option<Tls>,
    /// How that certificate is obtained, where it is not the operator's.
    pub acme: Option<AcmeSettings>,
    /// Whether anybody may publish, from any web page.
    pub open: bool,
    /// Whether the page lists the live channels that its visitor may watch.
    pub list_channels: bool,
    /// Whether a client's address is the last entry of `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// The path prefix that a proxy removes before it forwards requests.
    pub base_path: BasePath,
    /// Other servers that may have the same sessions.
    pub other_nodes: Vec<Node>,
    /// Sessions that one address may start per second; 0 for no limit.
    pub join_rate: u32,
    /// Sessions that one address may have at once; 0 for no limit.
    pub max_sessions_per_address: usize,
    /// A folder that replaces the built-in page.
    pub static_dir: Option<PathBuf>,
    /// Whether to confine the process once it has what it needs; see [`crate::hardening::sandbox`].
    pub sandbox: bool,
    /// Whether to make a new certificate for new peers; those of earlier boots keep theirs.
    pub rotate_identity: bool,
    /// Whether peers without a post-quantum key exchange are refused.
    pub require_post_quantum: bool,
    /// How many threads serve peers.
    pub threads: NonZeroUsize,
    /// Settings of the core.
    pub core: broadcast::Config,
}
