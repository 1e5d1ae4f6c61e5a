//! A vault that several servers share: its address, and this server's name there.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "etcd")]
use rekindle_etcd::{Address, ConnectError, Etcd, Options};

use super::super::nodes::Node;
use crate::vault::SharedStore;

/// The settings of a node of a cluster.
#[derive(Debug, Clone)]
pub struct SharedVault {
    /// The store's address, such as `etcd://10.0.0.1:2379,10.0.0.2:2379/rekindle`.
    pub address: String,
    /// This node's name, which no other node has. The default is the host's name.
    pub node: Option<String>,
    /// The URL at which browsers that lose another node reach this one.
    pub url: Option<Node>,
    /// The most channels that this node pulls from others at once.
    pub pull: usize,
    /// The certificates (PEM) of the authorities that have signed the store's.
    pub ca: Option<PathBuf>,
    /// This node's certificate and its key (PEM), for a store that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user of the store, and a file whose first line is the password.
    pub user: Option<(String, PathBuf)>,
}

/// Why the store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SharedVaultError {
    /// The address, or a setting beside it.
    #[error("--vault {address}: {cause}")]
    Address {
        /// As the operator wrote it.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A file with a certificate, a key or a password.
    #[error("cannot speak to the store of the vault: {0}")]
    Connect(String),
    /// A name that the resolver does not know, perhaps only for a moment.
    #[error("cannot speak to the store of the vault: {0}")]
    Name(String),
    /// This build has no client of etcd.
    #[error(
        "--vault {0} needs a build with etcd: `cargo build --release --features etcd`, which needs \
         protoc (Debian: protobuf-compiler, libprotobuf-dev)"
    )]
    NotBuilt(String),
}

/// A store that is ready for requests.
pub(crate) struct Store {
    pub store: Arc<dyn SharedStore>,
    /// The store's ports.
    pub ports: Vec<u16>,
}

impl SharedVault {
    /// Checks the settings, without a request to the store.
    ///
    /// # Errors
    /// [`SharedVaultError`].
    pub fn check(&self) -> Result<(), SharedVaultError> {
        self.address().map(|_| ())
    }
}

#[cfg(feature = "etcd")]
impl SharedVault {
    fn address(&self) -> Result<Address, SharedVaultError> {
        let options = Options {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            user: self.user.clone(),
            ..Options::default()
        };
        let node = self.node.clone();
        let options = match node {
            Some(node) => Options { node, ..options },
            None => options,
        };
        Address::new(&self.address, options).map_err(|error| SharedVaultError::Address {
            address: self.address.clone(),
            cause: error.to_string(),
        })
    }

    /// Connects to the store.
    pub(crate) fn connect(&self) -> Result<Store, SharedVaultError> {
        let address = self.address()?;
        let store = Etcd::connect(&address).map_err(|error| match error {
            ConnectError::Name { .. } => SharedVaultError::Name(error.to_string()),
            error => SharedVaultError::Connect(error.to_string()),
        })?;
        let port = |member: &String| member.rsplit_once(':')?.1.parse().ok();
        Ok(Store {
            store: Arc::new(store),
            ports: address.members().iter().filter_map(port).collect(),
        })
    }
}

#[cfg(not(feature = "etcd"))]
impl SharedVault {
    fn address(&self) -> Result<std::convert::Infallible, SharedVaultError> {
        Err(SharedVaultError::NotBuilt(self.address.clone()))
    }

    /// Connects to the store.
    pub(crate) fn connect(&self) -> Result<Store, SharedVaultError> {
        match self.address()? {}
    }
}
