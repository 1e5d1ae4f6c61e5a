//! Requests to pull channels: a node that wants a channel makes the record of a viewer, like that
//! of any browser, and asks the node that has the publisher to take it over.
//!
//! Somebody who can write to the store must not be able to make nodes take over records: so a
//! request ends with a MAC, like what nodes say of themselves. It exists as long as the process
//! that made it.

use std::time::Duration;

use rekindle_ids::Ufrag;

use crate::error::VaultError;
use crate::key::KeyFile;
use crate::layout::{PULLS, file_name, path_in_vault};
use crate::record::PeerRecord;
use crate::store::Vault;

use super::nodes::{authentic, mac};

/// The purpose of the key for these MACs.
const INFO: &[u8] = b"pull";

/// What the MAC covers in addition to the name of the asking node.
fn name(from: &str, ufrag: &Ufrag) -> String {
    format!("{from}/{ufrag}")
}

fn key(from: &str, ufrag: &Ufrag) -> String {
    format!("{PULLS}/{from}/{ufrag}")
}

impl Vault {
    /// Asks another node, `from`, to take over the record of a viewer of this node, which wants to
    /// pull the viewer's channel from it. The request lasts as long as this process, or until
    /// [`end_pull`](Self::end_pull). In a folder nothing is done.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node now;
    /// [`VaultError::Unavailable`], [`VaultError::Full`].
    pub fn ask_pull(&self, from: &str, ufrag: &Ufrag) -> Result<(), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let me = shared.store.node();
        let mac_key = self.own().identities.oldest().mac_key(INFO);
        let mac = mac(&mac_key, &name(from, ufrag), me.as_bytes());
        let value = format!("{me}\n{mac}");
        let kept = shared
            .store
            .keep(
                &key(from, ufrag),
                value.as_bytes(),
                shared.is_this_process(),
            )
            .map_err(|e| shared.error("ask another node for a channel", e))?;
        match kept {
            true => Ok(()),
            false => Err(VaultError::NotOwner),
        }
    }

    /// Withdraws a request of [`ask_pull`](Self::ask_pull).
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn end_pull(&self, from: &str, ufrag: &Ufrag) -> Result<(), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        shared
            .store
            .release(&key(from, ufrag))
            .map_err(|e| shared.error("tell another node that a channel is not needed", e))
    }

    /// The peers that this node is asked to take over, since other nodes pull channels from it.
    /// Waits until there is a change since `revision`, at most for `limit`, and returns the
    /// revision to continue from; 0 returns them at once. It may return early. In a folder none, at
    /// once.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn wait_pulls(
        &self,
        revision: u64,
        limit: Duration,
    ) -> Result<(u64, Vec<Ufrag>), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok((0, Vec::new()));
        };
        let me = shared.store.node();
        let folder = format!("{PULLS}/{me}");
        let what = "look which channels other nodes want";
        if revision > 0 {
            shared
                .store
                .wait(&folder, revision, limit)
                .map_err(|e| shared.error(what, e))?;
        }
        let listed = shared.store.list(&folder);
        let listing = listed.map_err(|e| shared.error(what, e))?;
        let mac_key = self.own().identities.oldest().mac_key(INFO);
        let asked = |(ufrag, value): (String, Vec<u8>)| {
            let ufrag = Ufrag::new(ufrag).ok()?;
            let is_asked = authentic(&mac_key, &name(me, &ufrag), value).is_some();
            if !is_asked {
                tracing::warn!(
                    "the store has a wish for a channel that no node of this vault's has: it is \
                     left out"
                );
            }
            is_asked.then_some(ufrag)
        };
        let asked = listing.entries.into_iter().filter_map(asked);
        Ok((listing.revision, asked.collect()))
    }

    /// A peer's record, whichever node has it, without changing anything. The keys are used for
    /// this call only. `None` as for [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// [`VaultError::RolledBack`], [`VaultError::Unavailable`].
    pub fn look(&self, ufrag: &Ufrag, keys: &KeyFile) -> Result<Option<PeerRecord>, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(None);
        };
        let file_key = path_in_vault(&file_name(ufrag));
        match shared.read("read a peer's record", [&file_key])? {
            [Some(file)] => self.usable(shared, ufrag, &file, &keys.keys),
            [None] => Ok(None),
        }
    }
}
