//! The vault's files in etcd: implements [`rekindle_vault::SharedStore`] with etcd's API v3 (etcd
//! 3.4 or later).
//!
//! Calls block; a thread of this crate does the network I/O. Every call ends within
//! [`Options::limit`], whatever happens to members of etcd. When a call returns, written data is in
//! the logs of most members.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[cfg(feature = "client")]
mod address;
#[cfg(feature = "client")]
mod connection;
#[cfg(feature = "client")]
mod keys;
#[cfg(feature = "client")]
mod lease;
#[cfg(feature = "client")]
mod members;
#[cfg(feature = "client")]
mod store;

#[cfg(feature = "client")]
pub use address::{Address, AddressError, Options};
#[cfg(feature = "client")]
pub use connection::ConnectError;
#[cfg(feature = "client")]
pub use store::Etcd;
