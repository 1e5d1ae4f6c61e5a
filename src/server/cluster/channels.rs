//! Where channels are. A request for a channel whose publisher is with another node is redirected
//! to that node.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::Ufrag;
use crate::vault::{ChannelPlace, Vault, VaultError};

use super::super::certificates::Certificates;
use super::super::nodes::Node;
use super::super::sessions::Sessions;

/// Interval at which the store is told which channels have publishers here.
const PERIOD: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Channels {
    vault: Arc<Vault>,
    certificates: Arc<Certificates>,
    me: Arc<str>,
    /// The other living nodes that browsers can be sent to, by name.
    alive: Arc<Mutex<HashMap<String, Node>>>,
    /// Channels that the store names as this node's, with their publishers.
    announced: Arc<Mutex<HashMap<String, Ufrag>>>,
}

/// Where a channel is, as seen from this node.
#[derive(Debug)]
pub(in crate::server) enum Elsewhere {
    /// With another living node.
    There(There),
    /// With no node, or with one that is gone. Its publisher may join here, unless another node
    /// claims it first.
    Nowhere(ChannelPlace),
}

/// Another node, and what it has of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct There {
    /// The node's name.
    pub name: String,
    pub node: Node,
    /// The channel's publisher, if that node names it.
    pub publisher: Option<Ufrag>,
}

impl Channels {
    pub(super) fn new(vault: Arc<Vault>, certificates: Arc<Certificates>, me: &str) -> Self {
        Self {
            vault,
            certificates,
            me: me.into(),
            alive: Arc::default(),
            announced: Arc::default(),
        }
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<String, Node>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the list of living nodes.
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

    /// The other living nodes that have these channels; `None` for channels that none has.
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

    /// Another living node, if there is one.
    pub(in crate::server) fn another(&self) -> Option<Node> {
        let alive = self.alive();
        alive
            .values()
            .min_by_key(|node| node.url().to_owned())
            .cloned()
    }

    /// Names this node as the channel's, unless another node was named after `seen`. Without `seen`
    /// it is named in any case. Gives whether it is.
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
            self.announced()
                .insert(channel.to_owned(), publisher.clone());
        }
        Ok(placed)
    }

    fn announced(&self) -> MutexGuard<'_, HashMap<String, Ufrag>> {
        self.announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the store's entries of this node's channels in step with its publishers, also those of
    /// earlier boots. Never ends.
    pub(super) async fn follow(&self, sessions: &Sessions) {
        let (mut changes, mut missing) = (None, HashSet::new());
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = sessions.changes();
            // A publisher whose record is not read yet has not left.
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

    /// Writes entries of channels that are here, and removes those of channels that were missing
    /// twice in a row, since a publisher that has just joined may not be among the sessions yet.
    async fn tell(
        &self,
        here: &HashMap<String, Ufrag>,
        missing: &mut HashSet<String>,
    ) -> Result<(), VaultError> {
        let said = self.announced().clone();
        let news = |(channel, who): &(&String, &Ufrag)| said.get(*channel) != Some(*who);
        for (channel, who) in here.iter().filter(news) {
            let (tag, publisher) = (self.certificates.channel_tag(channel), who.clone());
            let me = self.me.clone();
            self.ask(move |vault| {
                let place = vault.channel_place(&tag)?;
                // If another node is named meanwhile, the publisher has moved there.
                let is_free = match place.node.as_deref() {
                    Some(node) => node == &*me && place.publisher.as_ref() != Some(&publisher),
                    None => true,
                };
                Ok(is_free && vault.place_channel(&tag, &publisher, Some(&place))?)
            })
            .await?;
            self.announced().insert(channel.clone(), who.clone());
        }
        let gone = said.keys().filter(|channel| !here.contains_key(*channel));
        let now_missing: HashSet<String> = gone.cloned().collect();
        for channel in now_missing.intersection(missing) {
            let tag = self.certificates.channel_tag(channel);
            self.ask(move |vault| vault.leave_channel(&tag)).await?;
            self.announced().remove(channel);
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
