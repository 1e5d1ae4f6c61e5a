//! Where channels are: who asks here for one whose publisher is with another node is sent there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::vault::{ChannelPlace, Vault, VaultError};

use super::super::certificates::Certificates;
use super::super::nodes::Node;
use super::super::sessions::Sessions;

/// How often it is looked which channels have publishers.
const PERIOD: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Channels {
    vault: Arc<Vault>,
    certificates: Arc<Certificates>,
    me: Arc<str>,
    /// Other nodes that are alive and that browsers can be sent to, by name.
    alive: Arc<Mutex<HashMap<String, Node>>>,
    /// Channels that the others have been told to be here.
    said: Arc<Mutex<HashSet<String>>>,
}

/// Where a channel is, as far as this node is concerned.
#[derive(Debug)]
pub(in crate::server) enum Elsewhere {
    /// With another node that is alive.
    There(Node),
    /// With none, or with one that is gone. Its publisher may come here, unless another node is
    /// quicker.
    Nowhere(ChannelPlace),
}

impl Channels {
    pub(super) fn new(vault: Arc<Vault>, certificates: Arc<Certificates>, me: &str) -> Self {
        Self {
            vault,
            certificates,
            me: me.into(),
            alive: Arc::default(),
            said: Arc::default(),
        }
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<String, Node>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other nodes are alive than until now.
    pub(super) fn know(&self, alive: Vec<(String, Node)>) {
        *self.alive() = alive.into_iter().collect();
    }

    /// Where a channel's publisher is.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub(in crate::server) async fn find(&self, channel: &str) -> Result<Elsewhere, VaultError> {
        let tag = self.certificates.channel_tag(channel);
        let place = self.ask(move |vault| vault.channel_place(&tag)).await?;
        let name = place.node.as_deref().filter(|name| *name != &*self.me);
        let there = name.and_then(|name| self.alive().get(name).cloned());
        Ok(there.map_or(Elsewhere::Nowhere(place), Elsewhere::There))
    }

    /// Another node that is alive, if there is one.
    pub(in crate::server) fn another(&self) -> Option<Node> {
        let alive = self.alive();
        alive
            .values()
            .min_by_key(|node| node.url().to_owned())
            .cloned()
    }

    /// This node has the channel's publisher, if no other was quicker since `seen`; in any case
    /// where that is `None`. Whether it has.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(in crate::server) async fn place(
        &self,
        channel: &str,
        seen: Option<ChannelPlace>,
    ) -> Result<bool, VaultError> {
        let tag = self.certificates.channel_tag(channel);
        let placed = self.ask(move |vault| vault.place_channel(&tag, seen.as_ref()));
        let placed = placed.await?;
        if placed {
            self.said().insert(channel.to_owned());
        }
        Ok(placed)
    }

    fn said(&self) -> MutexGuard<'_, HashSet<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is said of this node's channels in step with the publishers that it has: those of
    /// earlier boots are said to be here, and those that have left not to be. Never ends.
    pub(super) async fn follow(&self, sessions: &Sessions) {
        let (mut changes, mut missing) = (None, HashSet::new());
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = sessions.changes();
            // A record that is still to be read is no publisher that has left.
            if (changes == Some(now) && missing.is_empty()) || !sessions.is_loaded() {
                continue;
            }
            let here = sessions.published();
            let told = self.tell(&here, &mut missing).await;
            changes = told.is_ok().then_some(now);
            if let Err(error) = told {
                tracing::debug!(%error, "what other nodes know of this one's channels is old");
            }
        }
    }

    /// Says of channels that are here that they are, and of those that were missing the last time
    /// too that they are not: a publisher that has just been let in may not be among the sessions
    /// yet.
    async fn tell(
        &self,
        here: &HashSet<String>,
        missing: &mut HashSet<String>,
    ) -> Result<(), VaultError> {
        let said = self.said().clone();
        for channel in here.difference(&said) {
            let tag = self.certificates.channel_tag(channel);
            self.ask(move |vault| {
                let place = vault.channel_place(&tag)?;
                // Where another node has it by now, its publisher has gone there.
                Ok(place.node.is_none() && vault.place_channel(&tag, Some(&place))?)
            })
            .await?;
            self.said().insert(channel.clone());
        }
        let now_missing: HashSet<String> = said.difference(here).cloned().collect();
        for channel in now_missing.intersection(missing) {
            let tag = self.certificates.channel_tag(channel);
            self.ask(move |vault| vault.leave_channel(&tag)).await?;
            self.said().remove(channel);
        }
        *missing = now_missing.difference(missing).cloned().collect();
        Ok(())
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let vault = self.vault.clone();
        let asked = tokio::task::spawn_blocking(move || question(&vault)).await;
        asked.unwrap_or_else(|_| {
            Err(VaultError::Unavailable {
                what: "ask the store",
                cause: "the server is stopping".to_owned(),
            })
        })
    }
}
