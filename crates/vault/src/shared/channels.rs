//! Which node has a channel's publisher.
//!
//! Channels have tags instead of names, which the caller makes with a secret: the store need not
//! learn what is watched. A value that a dead process left says only where the publisher was last.

use rekindle_ids::Ufrag;

use crate::error::VaultError;
use crate::layout::CHANNELS;
use crate::store::Vault;

use super::{Change, Condition, Entry};

/// Where a channel's publisher was last, if anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelPlace {
    /// The node's name.
    pub node: Option<String>,
    /// The publisher's user name fragment.
    pub publisher: Option<Ufrag>,
    /// The revision of the key that says so.
    revision: u64,
}

/// Questions in one transaction; etcd takes 128.
const AT_ONCE: usize = 32;

fn key(tag: &str) -> String {
    format!("{CHANNELS}/{tag}")
}

fn publisher_key(tag: &str) -> String {
    format!("{CHANNELS}/{tag}/publisher")
}

impl ChannelPlace {
    fn new(node: Option<Entry>, publisher: Option<Entry>) -> Self {
        let text = |entry: Entry| String::from_utf8(entry.value).ok();
        Self {
            revision: node.as_ref().map_or(0, |entry| entry.revision),
            node: node.and_then(text),
            publisher: publisher
                .and_then(text)
                .and_then(|one| Ufrag::new(one).ok()),
        }
    }
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
        let what = "look where a channel is";
        let [node, publisher] = shared.read(what, [&key(tag), &publisher_key(tag)])?;
        Ok(ChannelPlace::new(node, publisher))
    }

    /// The same of several channels, in their order.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn channel_places(&self, tags: &[String]) -> Result<Vec<ChannelPlace>, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(vec![ChannelPlace::default(); tags.len()]);
        };
        let mut places = Vec::with_capacity(tags.len());
        for some in tags.chunks(AT_ONCE) {
            let keys = some.iter().flat_map(|tag| [key(tag), publisher_key(tag)]);
            let keys: Vec<String> = keys.collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let read = shared.store.read(&keys);
            let mut entries = read
                .map_err(|e| shared.error("look where channels are", e))?
                .into_iter();
            while let (Some(node), Some(publisher)) = (entries.next(), entries.next()) {
                places.push(ChannelPlace::new(node, publisher));
            }
        }
        Ok(places)
    }

    /// Says that this node has the channel's publisher, and who that is, if nobody has said anything since `seen`;
    /// whatever was said where that is `None`. Whether it is said now. In a folder always.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node by now;
    /// [`VaultError::Unavailable`], [`VaultError::Full`].
    pub fn place_channel(
        &self,
        tag: &str,
        publisher: &Ufrag,
        seen: Option<&ChannelPlace>,
    ) -> Result<bool, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(true);
        };
        let key = key(tag);
        let mut conditions = vec![shared.is_this_process()];
        conditions.extend(seen.map(|seen| Condition::Unchanged(&key, seen.revision)));
        let changes = [
            Change::Put(&key, shared.store.node().as_bytes()),
            Change::Put(&publisher_key(tag), publisher.as_str().as_bytes()),
        ];
        let placed = shared.commit("say where a channel is", &conditions, &changes)?;
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
            &[Change::Remove(&key), Change::Remove(&publisher_key(tag))],
        )?;
        Ok(())
    }
}
