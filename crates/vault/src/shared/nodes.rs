//! Which nodes are alive, and what they say of themselves.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::error::VaultError;
use crate::identity::{Identities, hex};
use crate::layout::NODES;
use crate::seal::MacKey;
use crate::store::Vault;

use super::{Change, Shared};

/// What the key of these MACs is derived for.
const INFO: &[u8] = b"node presence";
/// First bytes of what the MAC covers.
const PREFIX: &[u8] = b"rekindle node v1\0";
/// Behind what a node says: the end of a line and a MAC in hexadecimal digits.
const MAC: usize = 1 + 64;

/// Browsers go where a node says that it is. So that nobody who can write to the store sends them
/// elsewhere, what it says ends with a MAC (HMAC-SHA-256) over its name and the rest. The key is
/// derived from the first identity that the vault has had, which all nodes have.
fn presence_key(identities: &Identities) -> MacKey {
    identities.oldest().mac_key(INFO)
}

pub(super) fn mac(key: &MacKey, node: &str, value: &[u8]) -> String {
    let length = u64::try_from(node.len()).unwrap_or(u64::MAX).to_be_bytes();
    hex(&key.tag(&[PREFIX, &length, node.as_bytes(), value]))
}

/// What a node says, if it was a node of this vault that has said it.
pub(super) fn authentic(key: &MacKey, node: &str, mut value: Vec<u8>) -> Option<Vec<u8>> {
    let end = value.split_off(value.len().checked_sub(MAC)?);
    let (line_end, tag) = end.split_first()?;
    let right = mac(key, node, &value);
    let is_right = verify_slices_are_equal(right.as_bytes(), tag).is_ok();
    (*line_end == b'\n' && is_right).then_some(value)
}

impl Shared {
    /// What an earlier process of this node has said, if it still counts as alive; else nothing.
    pub(super) fn said(&self, identities: &Identities) -> Result<Vec<u8>, VaultError> {
        let [said] = self.read("look for an earlier process", [&self.presence()])?;
        let key = presence_key(identities);
        let said = said.and_then(|said| authentic(&key, self.store.node(), said.value));
        Ok(said.unwrap_or_default())
    }

    /// Says that this node is alive, for as long as this process lives.
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
    /// seconds after its end it is gone. A second call replaces the first. In a folder nothing is
    /// done.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node by now;
    /// [`VaultError::Unavailable`], [`VaultError::Full`].
    pub fn presence(&self, value: &[u8]) -> Result<(), VaultError> {
        match &self.shared {
            Some(shared) => {
                let identities = self.own().identities.clone();
                shared.keep_presence(value, &identities)
            }
            None => Ok(()),
        }
    }

    /// The nodes that are alive, this one too, with what they say of themselves: before their first
    /// call of [`presence`](Self::presence) what an earlier process said that was killed a moment
    /// ago, or nothing. Only what a node of this vault has said
    /// counts, now or earlier. In a folder there are none.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn nodes(&self) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        Ok(self.nodes_since()?.1)
    }

    /// Waits until another set of nodes is alive than as of `revision` or one says something else
    /// of itself, but no longer than `limit`. Gives them, with the revision to go on from. 0 gives
    /// the nodes of now at once. It may return early with no news.
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

    /// At a clean end: tells the other nodes at once that this one is gone. What its peers have
    /// stays, for the next process of this node or for others. Nothing can be changed afterwards.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`]: then they learn it some seconds after the process has ended.
    pub fn withdraw(&self) -> Result<(), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let what = "tell the other nodes that this one ends";
        shared.store.let_go().map_err(|e| shared.error(what, e))?;
        // Not if another process is the node by now: then this is not its business.
        shared.commit(
            what,
            &[shared.is_this_process()],
            &[Change::Remove(&shared.claim)],
        )?;
        Ok(())
    }
}
