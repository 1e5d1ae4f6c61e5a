//! Which nodes are alive, and what they say of themselves.

use std::time::Duration;

use crate::error::VaultError;
use crate::layout::NODES;
use crate::store::Vault;

use super::{Change, Shared};

impl Shared {
    /// Says that this node is alive, for as long as this process lives.
    pub(super) fn keep_presence(&self, value: &[u8]) -> Result<(), VaultError> {
        let kept = self
            .store
            .keep(&self.presence(), value, self.is_this_process())
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
            Some(shared) => shared.keep_presence(value),
            None => Ok(()),
        }
    }

    /// The nodes that are alive, this one too, with what they say of themselves: nothing before
    /// their first call of [`presence`](Self::presence). In a folder there are none.
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
        Ok((listing.revision, listing.entries))
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
