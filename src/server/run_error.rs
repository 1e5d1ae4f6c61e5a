//! Errors that end the server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{AcmeStoreError, SharedVaultError};
use crate::vault::{KeyError, VaultError};
use crate::{hardening, net};

/// Why the server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The HTTP port cannot be bound.
    #[error(
        "cannot listen for HTTP on {address}: {source}; is another server running, or the port \
         taken? See --http"
    )]
    Http {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The admin listener's port cannot be bound.
    #[error(
        "cannot listen for operators on {address}: {source}; is another server running, or the \
         port taken? See --admin"
    )]
    Admin {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The folder for what an ACME authority gives cannot be used.
    #[error(transparent)]
    Acme(#[from] AcmeStoreError),
    /// The media port cannot be bound.
    #[error(transparent)]
    Media(#[from] net::BindError),
    /// The port of media over TCP cannot be bound.
    #[error(
        "cannot listen for media on TCP {address}: {source}; is another server running, or the \
         port taken? Media over TCP has the number of --udp; without --ice-tcp there is none"
    )]
    IceTcp {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The passed sockets of media have two numbers.
    #[error(
        "the passed sockets receive media at port {tcp} of TCP and at port {udp} of UDP; give both \
         the same number in their socket units"
    )]
    IceTcpElsewhere {
        /// That of TCP.
        tcp: u16,
        /// That of UDP.
        udp: u16,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A vault without the key file at the default path: it was lost, and a new one would not open
    /// the vault.
    #[error(
        "the vault {state} is there, but its key file {key} is not: put it back or name it with \
         --key-file; or, to begin anew with \
         every browser joining again, move the folder away. Nothing was changed",
        state = state.display(), key = key.display()
    )]
    KeyLost {
        /// The vault's folder.
        state: PathBuf,
        /// Where the key file was expected.
        key: PathBuf,
    },
    /// The vault cannot be opened or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store that the vault is shared in cannot be used.
    #[error(transparent)]
    Store(#[from] SharedVaultError),
    /// DTLS cannot use the vault's certificate or key.
    #[error("the certificate in the vault cannot be used: {0}")]
    Certificate(#[from] crate::peer::DtlsError),
    /// The system gives no threads, descriptors or random numbers.
    #[error("the system does not give what the server needs ({what}): {source}")]
    System {
        /// What was requested.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(#[from] hardening::SandboxError),
    /// The media loop ended by itself.
    #[error(
        "the media loop has ended by itself; its log says why. Start the server anew: browsers \
         come back by themselves"
    )]
    MediaEnded,
}

impl RunError {
    /// Whether configuration, key file or vault must change before another start can succeed.
    pub fn is_configuration(&self) -> bool {
        match self {
            // A shared store that is away comes back, a rekey ends, and a process that has taken
            // this node's place may be gone; then a supervisor's next start succeeds.
            Self::Vault(
                VaultError::Unavailable { .. } | VaultError::NotOwner | VaultError::Rekeying(_),
            )
            | Self::Store(SharedVaultError::Name(_)) => false,
            Self::Key(_)
            | Self::Acme(_)
            | Self::KeyLost { .. }
            | Self::Vault(_)
            | Self::Store(_)
            | Self::Certificate(_) => true,
            _ => false,
        }
    }
}
