//! Channels that one node pulls from another, so that viewers can be with any node.
//!
//! [`Pulls`] is the pulling side. For a channel with viewers here and its publisher with another
//! node, it makes the record of one more viewer, with an offer and an answer as a browser has, and
//! asks that node to take the record over. [`Origin`] is the other side: it takes the record over,
//! as for a browser that has lost its host, and removes peers whose node needs them no more. From
//! then on the two nodes speak as browser and server do.
//!
//! A node is named as a channel's origin only while it has the real publisher, and a node pulls a
//! channel for its own viewers alone. So no node pulls a channel from itself, not through others
//! either.

mod described;
mod origin;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use crate::ids::{Role, Ufrag};
use crate::net::pull::{News, PullError, Puller};
use crate::sdp::SdpError;
use crate::vault::PeerRecord;

use super::Parts;
use super::adoption::AdoptionError;
use super::channels::{Channels, Elsewhere, There};
use described::Described;

pub(super) use origin::Origin;

/// Interval at which the channels with viewers are compared with those pulled.
const LOOK: Duration = Duration::from_millis(200);
/// Interval at which the store is asked where their publishers are.
const PLACES: Duration = Duration::from_millis(500);
/// A channel without viewers here is pulled for this time still.
const LINGER: Duration = Duration::from_secs(10);

/// The peers through which other nodes pull channels from this one.
pub(super) type PullingPeers = Arc<Mutex<HashSet<Ufrag>>>;

/// See the module.
pub(in crate::server) struct Pulls {
    parts: Parts,
    channels: Channels,
    puller: Puller,
    /// They are no viewers for whom this node would pull a channel.
    pulling_peers: PullingPeers,
    /// By channel. Locked while a pull begins or ends.
    pulled: tokio::sync::Mutex<HashMap<String, PulledChannel>>,
    /// Viewers to be removed, with the nodes that have them.
    parting: tokio::sync::Mutex<Vec<(Ufrag, String)>>,
}

/// A channel that this node pulls.
struct PulledChannel {
    /// Of the viewer as which the other node knows this one.
    ufrag: Ufrag,
    there: There,
    /// Since when it has no viewers here.
    unwatched: Option<Instant>,
}

/// Why a channel cannot be pulled now.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum StartError {
    #[error(transparent)]
    Vault(#[from] AdoptionError),
    #[error(transparent)]
    Client(#[from] PullError),
    #[error("its publisher's session descriptions cannot be used: {0}")]
    Sdp(#[from] SdpError),
    #[error("the system gives no random numbers")]
    Random,
}

impl Pulls {
    pub(super) fn new(
        parts: Parts,
        channels: Channels,
        puller: Puller,
        pulling_peers: PullingPeers,
    ) -> Self {
        Self {
            parts,
            channels,
            puller,
            pulling_peers,
            pulled: tokio::sync::Mutex::default(),
            parting: tokio::sync::Mutex::default(),
        }
    }

    /// Pulls a channel from the node that has its publisher, unless it is pulled already. Gives
    /// whether the channel is pulled now: no, where no other node has it.
    ///
    /// # Errors
    /// [`StartError`]; the caller can try again.
    pub(in crate::server) async fn ensure(&self, channel: &str) -> Result<bool, StartError> {
        if self.pulled.lock().await.contains_key(channel) {
            return Ok(true);
        }
        let found = self.channels.find(channel).await;
        let Elsewhere::There(there) = found.map_err(AdoptionError::from)? else {
            return Ok(false);
        };
        let mut pulled = self.pulled.lock().await;
        self.begin(&mut pulled, channel, there).await
    }

    /// The same for a channel whose publisher is known to be `there`.
    async fn begin(
        &self,
        pulled: &mut HashMap<String, PulledChannel>,
        channel: &str,
        there: There,
    ) -> Result<bool, StartError> {
        if pulled.contains_key(channel) {
            return Ok(true);
        }
        if pulled.len() >= self.puller.most() {
            tracing::debug!("a channel is not pulled: the number that --pull allows is reached");
            return Ok(false);
        }
        let started = self.start(channel, there).await?;
        let is_pulled = started.is_some();
        pulled.extend(started.map(|started| (channel.to_owned(), started)));
        Ok(is_pulled)
    }

    /// Begins to pull a channel. Gives `None` where its publisher is not found, or is here by now.
    async fn start(
        &self,
        channel: &str,
        there: There,
    ) -> Result<Option<PulledChannel>, StartError> {
        let Some(publisher) = self.publisher(channel, &there).await? else {
            tracing::debug!("a channel is not pulled: its publisher's record is not in the store");
            return Ok(None);
        };
        let described = Described::new(&self.parts, &self.puller, &publisher, &there)?;
        let Described {
            offer,
            record,
            negotiated,
        } = described;
        let begun = self.parts.net.pull(channel, negotiated).await;
        if let Err(refusal) = begun.map_err(|_| AdoptionError::Stopping)? {
            // A publisher has just joined here.
            tracing::debug!(%refusal, "a channel is not pulled");
            return Ok(None);
        }
        let (ufrag, answer) = (record.ice.ufrag.clone(), record.answer.clone());
        let started = PulledChannel {
            ufrag: ufrag.clone(),
            there: there.clone(),
            unwatched: None,
        };
        let (from, who) = (there.name.clone(), ufrag.clone());
        let asked = self.parts.ask(move |vault| {
            vault.save(&record, SystemTime::now())?;
            Ok(vault.ask_pull(&from, &who)?)
        });
        let begun = match asked.await {
            Ok(()) => {
                let servers = there.node.media();
                let begun = self.puller.begin(&ufrag, channel, offer, &answer, servers);
                begun.map_err(StartError::from)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = begun {
            self.stop(channel, &started).await;
            return Err(error);
        }
        tracing::info!(
            channel,
            from = there.name,
            "a channel is pulled from another node"
        );
        Ok(Some(started))
    }

    /// The record of a channel's publisher, if the named record is one.
    async fn publisher(
        &self,
        channel: &str,
        there: &There,
    ) -> Result<Option<PeerRecord>, StartError> {
        let Some(ufrag) = there.publisher.clone() else {
            return Ok(None);
        };
        let look = self
            .parts
            .ask_with_keys(move |vault, keys| vault.look(&ufrag, keys));
        // Whoever can write to the store can name any record.
        let fits =
            |record: &PeerRecord| record.role == Role::Publisher && record.channel == channel;
        Ok(look.await?.filter(fits))
    }

    /// Ends the pull of a channel.
    async fn stop(&self, channel: &str, pulled: &PulledChannel) {
        self.end_pull(channel).await;
        self.part(pulled).await;
        tracing::info!(channel, "a channel is no longer pulled from another node");
    }

    /// Tells the media loop that the channel is no longer pulled. Its viewers stay.
    async fn end_pull(&self, channel: &str) {
        // An error says that the server is stopping.
        let _ = self.parts.net.end_pull(channel).await;
    }

    /// Removes the record, and tells the other node that this viewer has left.
    async fn part(&self, pulled: &PulledChannel) {
        self.puller.end(&pulled.ufrag);
        let parting = (pulled.ufrag.clone(), pulled.there.name.clone());
        self.parting.lock().await.push(parting);
        self.finish_parting().await;
    }

    /// Removes what could not be removed before.
    async fn finish_parting(&self) {
        let mut parting = self.parting.lock().await;
        for (ufrag, from) in std::mem::take(&mut *parting) {
            let (who, node) = (ufrag.clone(), from.clone());
            let gone = self.parts.ask_with_keys(move |vault, keys| {
                // The record becomes this node's first. So the other node sees that it has lost it.
                if vault.adopt(&who, keys)?.is_some() {
                    vault.remove(&who)?;
                }
                vault.end_pull(&node, &who)
            });
            if let Err(error) = gone.await {
                tracing::debug!(%error, "another node is told later that a channel is not needed");
                parting.push((ufrag, from));
            }
        }
    }

    /// Pulls the channels that have viewers here, from where their publishers are. Never ends.
    pub(super) async fn follow(&self, mut news: mpsc::UnboundedReceiver<News>) {
        let (mut looked, mut changes) = (Instant::now(), None);
        loop {
            let told = tokio::time::timeout(LOOK, news.recv()).await;
            if let Ok(None) = told {
                // The thread has ended, and has logged why.
                return std::future::pending().await;
            }
            if !self.parts.sessions.is_loaded() {
                continue;
            }
            let now = self.parts.sessions.changes();
            let is_time = looked.elapsed() >= PLACES;
            if told.is_err() && changes == Some(now) && !is_time {
                continue;
            }
            // The store is asked before the lock is taken, on which newcomers wait.
            let looks = is_time || told.is_ok();
            let mut places = Vec::new();
            if looks {
                looked = Instant::now();
                self.finish_parting().await;
                let pulled = self.pulled.lock().await.keys().cloned().collect();
                places = self.find_all(pulled).await;
            }
            let mut pulled = self.pulled.lock().await;
            if let Ok(Some(News::Stuck(ufrag))) = &told {
                self.restart(&mut pulled, ufrag).await;
            }
            self.follow_publishers(&mut pulled, places).await;
            let unserved = self.follow_viewers(&mut pulled).await;
            drop(pulled);
            if looks || changes != Some(now) {
                self.serve(unserved).await;
            }
            changes = Some(now);
        }
    }

    /// Those of these channels whose publisher is with another living node. None while etcd is
    /// away, and media goes on.
    async fn find_all(&self, channels: Vec<String>) -> Vec<(String, There)> {
        let places = self.channels.find_all(&channels).await;
        let found = channels.into_iter().zip(places.unwrap_or_default());
        found
            .filter_map(|(channel, there)| Some((channel, there?)))
            .collect()
    }

    /// Pulls those of these channels that other nodes have.
    async fn serve(&self, unserved: Vec<String>) {
        for (channel, there) in self.find_all(unserved).await {
            let mut pulled = self.pulled.lock().await;
            if let Err(error) = self.begin(&mut pulled, &channel, there).await {
                tracing::debug!(%error, "a channel cannot be pulled from its node now");
            }
        }
    }

    /// Ends the pulls of channels that are published here or have no viewers. Gives the channels
    /// that have viewers and no source.
    async fn follow_viewers(&self, pulled: &mut HashMap<String, PulledChannel>) -> Vec<String> {
        let watched = {
            let peers = self.pulling_peers.lock();
            let peers = peers.unwrap_or_else(PoisonError::into_inner);
            self.parts.sessions.watched(&peers)
        };
        let mut ended = Vec::new();
        for (channel, one) in pulled.iter_mut() {
            one.unwatched = match watched.get(channel) {
                Some(false) => None,
                Some(true) => {
                    ended.push(channel.clone());
                    None
                }
                None => Some(one.unwatched.unwrap_or_else(Instant::now)),
            };
            if one.unwatched.is_some_and(|since| since.elapsed() >= LINGER) {
                ended.push(channel.clone());
            }
        }
        for channel in ended {
            if let Some(one) = pulled.remove(&channel) {
                self.stop(&channel, &one).await;
            }
        }
        let unserved = watched
            .into_iter()
            .filter(|(channel, published)| !published && !pulled.contains_key(channel));
        unserved.map(|(channel, _)| channel).collect()
    }

    /// Pulls channels from where their publishers are now.
    async fn follow_publishers(
        &self,
        pulled: &mut HashMap<String, PulledChannel>,
        places: Vec<(String, There)>,
    ) {
        for (channel, there) in &places {
            let Some(one) = pulled.get_mut(channel) else {
                continue;
            };
            if *there == one.there {
                continue;
            }
            let there = there.clone();
            if there.publisher != one.there.publisher {
                // A new publisher can send other streams.
                let before = pulled.remove(channel);
                if let Some(before) = before {
                    self.replace(pulled, channel, before, there).await;
                }
                continue;
            }
            let (ufrag, new, old) = (
                one.ufrag.clone(),
                there.name.clone(),
                one.there.name.clone(),
            );
            let moved = self.parts.ask(move |vault| {
                vault.ask_pull(&new, &ufrag)?;
                match new == old {
                    true => Ok(()),
                    false => Ok(vault.end_pull(&old, &ufrag)?),
                }
            });
            match moved.await {
                Ok(()) => {
                    self.puller.lead(&one.ufrag, there.node.media());
                    one.there = there;
                }
                Err(error) => tracing::warn!(%error, "a channel cannot be followed now"),
            }
        }
    }

    /// Pulls with a new record where the other node does not know the old one, or does not answer.
    async fn restart(&self, pulled: &mut HashMap<String, PulledChannel>, ufrag: &Ufrag) {
        let of = |(channel, one): (&String, &PulledChannel)| {
            (one.ufrag == *ufrag).then(|| channel.clone())
        };
        let Some(channel) = pulled.iter().find_map(of) else {
            return;
        };
        let Ok(Elsewhere::There(there)) = self.channels.find(&channel).await else {
            return;
        };
        if let Some(before) = pulled.remove(&channel) {
            self.replace(pulled, &channel, before, there).await;
        }
    }

    /// Pulls a channel with a new record. Its viewers here stay.
    async fn replace(
        &self,
        pulled: &mut HashMap<String, PulledChannel>,
        channel: &str,
        before: PulledChannel,
        there: There,
    ) {
        self.part(&before).await;
        match self.start(channel, there).await {
            Ok(Some(started)) => drop(pulled.insert(channel.to_owned(), started)),
            Ok(None) => self.end_pull(channel).await,
            Err(error) => tracing::warn!(%error, "a channel cannot be pulled from its node now"),
        }
    }
}
