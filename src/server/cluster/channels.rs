//! Where channels are: who asks here for one whose publisher is with another node is sent there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::Ufrag;
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
    /// Channels that the others have been told to be here, and whose publishers.
    said: Arc<Mutex<HashMap<String, Ufrag>>>,
}

/// Where a channel is, as far as this node is concerned.
#[derive(Debug)]
pub(in crate::server) enum Elsewhere {
    /// With another node that is alive.
    There(There),
    /// With none, or with one that is gone. Its publisher may come here, unless another node is
    /// quicker.
    Nowhere(ChannelPlace),
}

/// Another node, and what it has of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct There {
    /// The node's name.
    pub name: String,
    pub node: Node,
    /// The channel's publisher, if that node says who it is.
    pub publisher: Option<Ufrag>,
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
        let there = self.there(&place);
        Ok(there.map_or(Elsewhere::Nowhere(place), Elsewhere::There))
    }

    fn there(&self, place: &ChannelPlace) -> Option<There> {
        let name = place.node.as_deref().filter(|name| *name != &*self.me)?;
        let node = self.alive().get(name).cloned()?;
        Some(There {
            name: name.to_owned(),
            node,
            publisher: place.publisher.clone(),
        })
    }

    /// The other nodes that are alive and have these channels; `None` for those that none has.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub(super) async fn find_all(
        &self,
        channels: &[String],
    ) -> Result<Vec<Option<There>>, VaultError> {
        let tags = channels
            .iter()
            .map(|name| self.certificates.channel_tag(name));
        let tags: Vec<String> = tags.collect();
        let places = self.ask(move |vault| vault.channel_places(&tags)).await?;
        Ok(places.iter().map(|place| self.there(place)).collect())
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
        publisher: &Ufrag,
        seen: Option<ChannelPlace>,
    ) -> Result<bool, VaultError> {
        let tag = self.certificates.channel_tag(channel);
        let who = publisher.clone();
        let placed = self.ask(move |vault| vault.place_channel(&tag, &who, seen.as_ref()));
        let placed = placed.await?;
        if placed {
            self.said().insert(channel.to_owned(), publisher.clone());
        }
        Ok(placed)
    }

    fn said(&self) -> MutexGuard<'_, HashMap<String, Ufrag>> {
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
        here: &HashMap<String, Ufrag>,
        missing: &mut HashSet<String>,
    ) -> Result<(), VaultError> {
        let said = self.said().clone();
        let news = |(channel, who): &(&String, &Ufrag)| said.get(*channel) != Some(*who);
        for (channel, who) in here.iter().filter(news) {
            let (tag, publisher) = (self.certificates.channel_tag(channel), who.clone());
            let me = self.me.clone();
            self.ask(move |vault| {
                let place = vault.channel_place(&tag)?;
                // Where another node has it by now, its publisher has gone there.
                let is_free = match place.node.as_deref() {
                    Some(node) => node == &*me && place.publisher.as_ref() != Some(&publisher),
                    None => true,
                };
                Ok(is_free && vault.place_channel(&tag, &publisher, Some(&place))?)
            })
            .await?;
            self.said().insert(channel.clone(), who.clone());
        }
        let gone = said.keys().filter(|channel| !here.contains_key(*channel));
        let now_missing: HashSet<String> = gone.cloned().collect();
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
