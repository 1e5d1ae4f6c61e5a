//! A vault that several servers share: where it is, and what this one is called there.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "etcd")]
use rekindle_etcd::{Address, ConnectError, Etcd, Options};

use super::super::nodes::Node;
use crate::vault::SharedStore;

/// What a node of a cluster goes by.
#[derive(Debug, Clone)]
pub struct SharedVault {
    /// Where the store is, such as `etcd://10.0.0.1:2379,10.0.0.2:2379/rekindle`.
    pub address: String,
    /// What this node is called, and no other; the host's name where nothing is said.
    pub node: Option<String>,
    /// Where browsers reach this node, for those that lose another one.
    pub url: Option<Node>,
    /// How many channels this node takes from others at once, so that viewers may ask either.
    pub pull: usize,
    /// The certificates (PEM) of those who vouch for the store's.
    pub ca: Option<PathBuf>,
    /// This node's certificate and its key (PEM), for a store that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user of the store, and a file whose first line is the password.
    pub user: Option<(String, PathBuf)>,
}

/// Why the store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SharedVaultError {
    /// The address, or what was given beside it.
    #[error("--vault {address}: {cause}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A file with a certificate, a key or a password.
    #[error("cannot speak to the store of the vault: {0}")]
    Connect(String),
    /// A name that is not known, which the resolver may know a moment later.
    #[error("cannot speak to the store of the vault: {0}")]
    Name(String),
    /// The library that speaks to it is not in this build.
    #[error(
        "--vault {0} needs a build with etcd: `cargo build --release --features etcd`, which needs \
         protoc (Debian: protobuf-compiler, libprotobuf-dev)"
    )]
    NotBuilt(String),
}

/// A store that is ready to be asked.
pub(crate) struct Store {
    pub store: Arc<dyn SharedStore>,
    /// The ports that it is reached at.
    pub ports: Vec<u16>,
}

impl SharedVault {
    /// Checks what was given, without asking the store.
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

    /// Makes ready to ask the store.
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

    /// Makes ready to ask the store.
    pub(crate) fn connect(&self) -> Result<Store, SharedVaultError> {
        match self.address()? {}
    }
}
