//! Which node has a channel's publisher.
//!
//! Channels have tags instead of names, which the caller makes with a secret: the store need not
//! learn what is watched. A value that a dead process left says only where the publisher was last.

use crate::error::VaultError;
use crate::layout::CHANNELS;
use crate::store::Vault;

use super::{Change, Condition};

/// Where a channel's publisher was last, if anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelPlace {
    /// The node's name.
    pub node: Option<String>,
    /// The revision of the key that says so.
    revision: u64,
}

fn key(tag: &str) -> String {
    format!("{CHANNELS}/{tag}")
}

impl Vault {
    /// Where the channel with this tag has its publisher. In a folder nowhere.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn channel_place(&self, tag: &str) -> Result<ChannelPlace, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(ChannelPlace::default());
        };
        let [entry] = shared.read("look where a channel is", [&key(tag)])?;
        Ok(
            entry.map_or_else(ChannelPlace::default, |entry| ChannelPlace {
                node: String::from_utf8(entry.value).ok(),
                revision: entry.revision,
            }),
        )
    }

    /// Records that this node has the channel's publisher, if the value has not changed since
    /// `seen`, or in any case where that is `None`. Returns whether it is recorded now. In a folder
    /// always true.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node by now;
    /// [`VaultError::Unavailable`], [`VaultError::Full`].
    pub fn place_channel(
        &self,
        tag: &str,
        seen: Option<&ChannelPlace>,
    ) -> Result<bool, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(true);
        };
        let key = key(tag);
        let mut conditions = vec![shared.is_this_process()];
        conditions.extend(seen.map(|seen| Condition::Unchanged(&key, seen.revision)));
        let change = Change::Put(&key, shared.store.node().as_bytes());
        let placed = shared.commit("say where a channel is", &conditions, &[change])?;
        if !placed {
            shared.refuse_if_replaced()?;
        }
        Ok(placed)
    }

    /// The channel has no publisher here any more: removes the value, unless another node has the
    /// channel now.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn leave_channel(&self, tag: &str) -> Result<(), VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let key = key(tag);
        let conditions = [
            shared.is_this_process(),
            Condition::Is(&key, shared.store.node().as_bytes()),
        ];
        shared.commit(
            "say that a channel has ended",
            &conditions,
            &[Change::Remove(&key)],
        )?;
        Ok(())
    }
}
