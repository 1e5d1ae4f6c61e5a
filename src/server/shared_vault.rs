//! A vault that several servers share: where it is, and what this one is called there.

use std::path::PathBuf;

use super::nodes::Node;

/// What a node of a cluster goes by.
#[derive(Debug, Clone)]
pub struct SharedVault {
    /// Where the store is, such as `etcd://10.0.0.1:2379,10.0.0.2:2379/rekindle`.
    pub address: String,
    /// What this node is called, and no other.
    pub node: String,
    /// Where browsers reach this node, for those that lose another one.
    pub url: Option<Node>,
    /// The certificates that the store's is checked by (PEM); the system's where there are none.
    pub ca: Option<PathBuf>,
    /// This node's certificate and its key (PEM), for a store that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file with a user's name and password, as `NAME:PASSWORD` in its first line.
    pub user: Option<PathBuf>,
}
