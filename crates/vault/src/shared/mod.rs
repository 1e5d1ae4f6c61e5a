//! A vault in a store that several processes use: the same files, byte for byte, as values. In
//! addition, in clear, which node may change which of them.
//!
//! | key | value |
//! |---|---|
//! | `identity.age`, `peers/<ufrag>.age`, `set-aside/...` | as in a folder |
//! | `owners/<ufrag>` | the name of the node that may change the peer's file |
//! | `processes/<node>` | the random number of the process that is the node at present |
//! | `nodes/<node>` | what the node says of itself, with a MAC, as long as it is alive |
//! | `channels/<tag>` | the name of the node that has the channel's publisher |
//! | `channels/<tag>/publisher` | the user name fragment of that publisher |
//! | `pulls/<node>/<ufrag>` | the name of a node that asks `<node>` to take over this peer, and a MAC |
//! | `rekeying` | there while a rekey runs |
//!
//! Every change of a peer's file is one transaction with a fence: it is done only if this node
//! owns the peer and this process still is the node.

mod adoption;
mod channels;
mod export;
mod identity;
mod nodes;
mod opening;
mod pulls;
mod rekey;
mod storage;
mod store;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekindle_ids::{Ufrag, hex};

use crate::error::VaultError;
use crate::layout::{NODES, OWNERS, PROCESSES};

pub use channels::ChannelPlace;
pub use export::{Exported, export};
pub use rekey::rekey;
pub use store::{Change, Condition, Entry, Listing, SharedStore, StoreError, Transaction};

/// A store, and this process's role in it.
pub(crate) struct Shared {
    store: Arc<dyn SharedStore>,
    place: PathBuf,
    /// The key that names the process of this node.
    claim: String,
    /// The value of that key while it is this process.
    process: String,
    /// The peers whose files this process has created or taken over.
    owned: Mutex<HashSet<Ufrag>>,
}

impl Shared {
    fn new(store: Arc<dyn SharedStore>) -> Self {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).expect("the system gives random bytes");
        Self {
            place: store.address().into(),
            claim: format!("{PROCESSES}/{}", store.node()),
            process: hex::encode(&random),
            owned: Mutex::default(),
            store,
        }
    }

    fn owned(&self) -> MutexGuard<'_, HashSet<Ufrag>> {
        // No code that holds it can panic.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The condition that this process still is the node.
    fn is_this_process(&self) -> Condition<'_> {
        Condition::Is(&self.claim, self.process.as_bytes())
    }

    /// The key of what this node says of itself.
    fn presence(&self) -> String {
        format!("{NODES}/{}", self.store.node())
    }

    /// Converts an error of the store.
    fn error(&self, what: &'static str, error: StoreError) -> VaultError {
        Self::error_of(&*self.store, what, error)
    }

    fn error_of(store: &dyn SharedStore, what: &'static str, error: StoreError) -> VaultError {
        match error {
            StoreError::Full(cause) => VaultError::Full {
                file: "to the shared store",
                cause: std::io::Error::new(std::io::ErrorKind::StorageFull, cause),
            },
            StoreError::Unavailable(cause) => VaultError::Unavailable {
                what,
                cause: format!("{}: {cause}", store.address()),
            },
        }
    }

    /// Makes all changes if every condition holds, and none otherwise; returns whether they were
    /// made.
    fn commit(
        &self,
        what: &'static str,
        conditions: &[Condition<'_>],
        changes: &[Change<'_>],
    ) -> Result<bool, VaultError> {
        self.store
            .commit(&Transaction {
                conditions,
                changes,
            })
            .map_err(|e| self.error(what, e))
    }

    fn read<const N: usize>(
        &self,
        what: &'static str,
        keys: [&str; N],
    ) -> Result<[Option<Entry>; N], VaultError> {
        let entries = self.store.read(&keys).map_err(|e| self.error(what, e))?;
        Ok(entries.try_into().expect("as many as were asked for"))
    }

    /// Fails if another process is the node by now.
    fn refuse_if_replaced(&self) -> Result<(), VaultError> {
        let [process] = self.read("see which process this node is", [&self.claim])?;
        match process {
            Some(entry) if entry.value == self.process.as_bytes() => Ok(()),
            _ => Err(VaultError::NotOwner),
        }
    }
}

fn owner_key(ufrag: &Ufrag) -> String {
    format!("{OWNERS}/{ufrag}")
}
