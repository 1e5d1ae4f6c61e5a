//! Channels that one node takes from another: the node that wants one makes a viewer's record as
//! that of any browser, and asks the node that has the publisher to take it over.
//!
//! Whoever can write to the store must not have nodes take over records: what asks for it ends with
//! a MAC, as what nodes say of themselves does. It is there as long as the process that asks.

use std::time::Duration;

use rekindle_ids::Ufrag;

use crate::error::VaultError;
use crate::key::KeyFile;
use crate::layout::{PULLS, file_name, path_in_vault};
use crate::record::PeerRecord;
use crate::store::Vault;

use super::nodes::{authentic, mac};

/// What the key of these MACs is derived for.
const INFO: &[u8] = b"pull";

/// What the MAC covers besides the name of the node that asks.
fn name(from: &str, ufrag: &Ufrag) -> String {
    format!("{from}/{ufrag}")
}

fn key(from: &str, ufrag: &Ufrag) -> String {
    format!("{PULLS}/{from}/{ufrag}")
}

impl Vault {
    /// Asks another node, `from`, to take over a viewer's record of this node's, which wants to take
    /// the viewer's channel from it: for as long as this process lives, or until
    /// [`end_pull`](Self::end_pull). In a folder nothing is done.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node by now;
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

    /// Takes back what [`ask_pull`](Self::ask_pull) has asked.
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

    /// The peers that this node is asked to take over, since other nodes take channels from it.
    /// Waits until there is news since `revision`, but no longer than `limit`, and gives the
    /// revision to go on from; 0 gives them at once. It may return early. In a folder none, at once.
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

    /// A peer's record, whichever node has it, and nothing changes. The keys are used for this call
    /// only. `None` as for [`adopt`](Self::adopt).
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
