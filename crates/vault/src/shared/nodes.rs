//! Which nodes are alive, and what they say of themselves.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rekindle_ids::hex;

use crate::error::VaultError;
use crate::identity::Identities;
use crate::layout::NODES;
use crate::seal::MacKey;
use crate::store::Vault;

use super::{Change, Shared};

/// The purpose of the key for these MACs.
const INFO: &[u8] = b"node presence";
/// Prefix of what the MAC covers.
const PREFIX: &[u8] = b"rekindle node v1\0";
/// What follows a node's text: a line break and a MAC in hexadecimal digits.
const MAC: usize = 1 + 64;

/// Browsers go where a node says it is. So that nobody who can write to the store can send them
/// elsewhere, its text ends with a MAC (HMAC-SHA-256) over its name and the text. The key is
/// derived from the vault's first identity, which all nodes have.
fn presence_key(identities: &Identities) -> MacKey {
    identities.oldest().mac_key(INFO)
}

pub(super) fn mac(key: &MacKey, node: &str, value: &[u8]) -> String {
    let length = u64::try_from(node.len()).unwrap_or(u64::MAX).to_be_bytes();
    hex::encode(&key.tag(&[PREFIX, &length, node.as_bytes(), value]))
}

/// What a node says of itself, if a node of this vault wrote it.
pub(super) fn authentic(key: &MacKey, node: &str, mut value: Vec<u8>) -> Option<Vec<u8>> {
    let end = value.split_off(value.len().checked_sub(MAC)?);
    let (line_end, tag) = end.split_first()?;
    let right = mac(key, node, &value);
    let is_right = verify_slices_are_equal(right.as_bytes(), tag).is_ok();
    (*line_end == b'\n' && is_right).then_some(value)
}

impl Shared {
    /// What an earlier process of this node said, if that still counts as alive; otherwise nothing.
    pub(super) fn said(&self, identities: &Identities) -> Result<Vec<u8>, VaultError> {
        let [said] = self.read("look for an earlier process", [&self.presence()])?;
        let key = presence_key(identities);
        let said = said.and_then(|said| authentic(&key, self.store.node(), said.value));
        Ok(said.unwrap_or_default())
    }

    /// Announces that this node is alive, for as long as this process lives.
    pub(super) fn keep_presence(
        &self,
        value: &[u8],
        identities: &Identities,
    ) -> Result<(), VaultError> {
        let mac = mac(&presence_key(identities), self.store.node(), value);
        let value = [value, b"\n", mac.as_bytes()].concat();
        let kept = self
            .store
            .keep(&self.presence(), &value, self.is_this_process())
            .map_err(|e| self.error("tell the other nodes of this one", e))?;
        match kept {
            true => Ok(()),
            false => Err(VaultError::NotOwner),
        }
    }
}

impl Vault {
    /// Tells the other nodes what this one says of itself, for as long as this process lives: some
    /// seconds after its end it is removed. A second call replaces the first. In a folder nothing
    /// is done.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node now; [`VaultError::Unavailable`],
    /// [`VaultError::Full`].
    pub fn presence(&self, value: &[u8]) -> Result<(), VaultError> {
        match &self.shared {
            Some(shared) => {
                let identities = self.own().identities.clone();
                shared.keep_presence(value, &identities)
            }
            None => Ok(()),
        }
    }

    /// The live nodes, including this one, with what they say of themselves. Before a node's first
    /// call of [`presence`](Self::presence), that is what an earlier process said that was just
    /// killed, or nothing. Only what a node of this vault wrote counts. In a folder there are none.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn nodes(&self) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        Ok(self.nodes_since()?.1)
    }

    /// Waits until the live nodes or their texts differ from those at `revision`, at most for
    /// `limit`. Returns them with the revision to continue from. 0 returns the present nodes at
    /// once. It may return early without a change.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    #[allow(clippy::type_complexity, reason = "what `nodes` gives, and a number")]
    pub fn wait_nodes(
        &self,
        revision: u64,
        limit: Duration,
    ) -> Result<(u64, Vec<(String, Vec<u8>)>), VaultError> {
        if let (Some(shared), 1..) = (&self.shared, revision) {
            shared
                .store
                .wait(NODES, revision, limit)
                .map_err(|e| shared.error("wait for news of the nodes", e))?;
        }
        self.nodes_since()
    }

    #[allow(clippy::type_complexity, reason = "as above")]
    fn nodes_since(&self) -> Result<(u64, Vec<(String, Vec<u8>)>), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok((0, Vec::new()));
        };
        let listing = shared
            .store
            .list(NODES)
            .map_err(|e| shared.error("list the nodes", e))?;
        let key = presence_key(&self.own().identities);
        let said = |(node, value): (String, Vec<u8>)| match authentic(&key, &node, value) {
            Some(value) => Some((node, value)),
            None => {
                tracing::warn!(
                    node,
                    "the store has a node that none of this vault's has said: it is left out"
                );
                None
            }
        };
        let nodes = listing.entries.into_iter().filter_map(said).collect();
        Ok((listing.revision, nodes))
    }

    /// At a clean end: tells the other nodes at once that this one is gone. The records of its
    /// peers stay, for the next process of this node or for other nodes. Nothing can be changed
    /// afterwards.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`]: then they learn of it some seconds after the process has ended.
    pub fn withdraw(&self) -> Result<(), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let what = "tell the other nodes that this one ends";
        shared.store.let_go().map_err(|e| shared.error(what, e))?;
        // Not if another process is the node now: then its presence must stay.
        shared.commit(
            what,
            &[shared.is_this_process()],
            &[Change::Remove(&shared.claim)],
        )?;
        Ok(())
    }
}
