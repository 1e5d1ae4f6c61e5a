//! Channels that one node takes from another, so that viewers may be with any of them.
//!
//! [`Pulls`] is the side that takes: for a channel with viewers here whose publisher is with another
//! node, it makes a record of one more viewer, with an offer and an answer as any browser's has, and
//! asks that node to take the record over. [`Given`] is the other side: it does so, as for a
//! browser that has lost its host, and lets go of peers whose node wants them no more. From there on
//! the two speak as browser and server do.
//!
//! A node is named as a channel's only while it has the real publisher, and a node takes a channel
//! for viewers of its own alone, so no node takes one from itself, by whatever way.

mod described;
mod given;

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

pub(super) use given::Given;

/// How often it is looked which channels have viewers.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is looked where their publishers are.
const PLACES: Duration = Duration::from_millis(500);
/// A channel that nobody watches here any more is let go after so long.
const LINGER: Duration = Duration::from_secs(10);

/// The peers of other nodes that take channels from this one.
pub(super) type Peers = Arc<Mutex<HashSet<Ufrag>>>;

/// See the module.
pub(in crate::server) struct Pulls {
    parts: Parts,
    channels: Channels,
    puller: Puller,
    /// They make this node take no channel.
    given: Peers,
    /// Held while a channel is taken or let go.
    running: tokio::sync::Mutex<HashMap<String, Running>>,
    /// Viewers that are to go, with the nodes that have them.
    parting: tokio::sync::Mutex<Vec<(Ufrag, String)>>,
}

/// A channel that is taken.
struct Running {
    /// Of the viewer that the other node knows this one as.
    ufrag: Ufrag,
    there: There,
    /// Since when nobody watches here.
    unwatched: Option<Instant>,
}

/// Why a channel cannot be taken now.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum TakeError {
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
    pub(super) fn new(parts: Parts, channels: Channels, puller: Puller, given: Peers) -> Self {
        Self {
            parts,
            channels,
            puller,
            given,
            running: tokio::sync::Mutex::default(),
            parting: tokio::sync::Mutex::default(),
        }
    }

    /// Takes a channel from the node that has its publisher, unless it is taken already. Whether it
    /// is now; not where no other node has it.
    ///
    /// # Errors
    /// [`TakeError`]; it can be tried again.
    pub(in crate::server) async fn ensure(&self, channel: &str) -> Result<bool, TakeError> {
        if self.running.lock().await.contains_key(channel) {
            return Ok(true);
        }
        let found = self.channels.find(channel).await;
        let Elsewhere::There(there) = found.map_err(AdoptionError::from)? else {
            return Ok(false);
        };
        let mut running = self.running.lock().await;
        self.begin(&mut running, channel, there).await
    }

    /// The same, where `there` has it.
    async fn begin(
        &self,
        running: &mut HashMap<String, Running>,
        channel: &str,
        there: There,
    ) -> Result<bool, TakeError> {
        if running.contains_key(channel) {
            return Ok(true);
        }
        if running.len() >= self.puller.most() {
            tracing::debug!("a channel is not taken: there are as many as --pull lets there be");
            return Ok(false);
        }
        let taken = self.take(channel, there).await?;
        let is_taken = taken.is_some();
        running.extend(taken.map(|taken| (channel.to_owned(), taken)));
        Ok(is_taken)
    }

    /// Begins to take a channel; `None` where its publisher is not to be found, or is here by now.
    async fn take(&self, channel: &str, there: There) -> Result<Option<Running>, TakeError> {
        let Some(publisher) = self.publisher(channel, &there).await? else {
            tracing::debug!("the publisher's record of another node's channel is not there");
            return Ok(None);
        };
        let described = Described::new(&self.parts, &self.puller, &publisher, &there)?;
        let Described {
            offer,
            record,
            negotiated,
        } = described;
        let pulled = self.parts.net.pull(channel, negotiated).await;
        if let Err(refusal) = pulled.map_err(|_| AdoptionError::Stopping)? {
            // A publisher has just come here.
            tracing::debug!(%refusal, "a channel is not taken");
            return Ok(None);
        }
        let (ufrag, answer) = (record.ice.ufrag.clone(), record.answer.clone());
        let running = Running {
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
                begun.map_err(TakeError::from)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = begun {
            self.let_go(channel, &running).await;
            return Err(error);
        }
        tracing::info!(
            channel,
            from = there.name,
            "a channel is taken from another node"
        );
        Ok(Some(running))
    }

    /// The record of a channel's publisher, if it is that.
    async fn publisher(
        &self,
        channel: &str,
        there: &There,
    ) -> Result<Option<PeerRecord>, TakeError> {
        let Some(ufrag) = there.publisher.clone() else {
            return Ok(None);
        };
        let look = self
            .parts
            .ask_with_keys(move |vault, keys| vault.look(&ufrag, keys));
        // Whoever can write to the store may name another one.
        let fits =
            |record: &PeerRecord| record.role == Role::Publisher && record.channel == channel;
        Ok(look.await?.filter(fits))
    }

    /// Ends the taking of a channel.
    async fn let_go(&self, channel: &str, running: &Running) {
        self.end_pull(channel).await;
        self.part(running).await;
        tracing::info!(channel, "a channel is not taken from another node any more");
    }

    /// Nothing comes of a channel any more. Its viewers stay.
    async fn end_pull(&self, channel: &str) {
        // An error says that the server is stopping.
        let _ = self.parts.net.end_pull(channel).await;
    }

    /// The other node is told that it has a viewer less, and the record goes.
    async fn part(&self, running: &Running) {
        self.puller.end(&running.ufrag);
        let parting = (running.ufrag.clone(), running.there.name.clone());
        self.parting.lock().await.push(parting);
        self.finish_parting().await;
    }

    /// Tells other nodes what they could not be told yet.
    async fn finish_parting(&self) {
        let mut parting = self.parting.lock().await;
        for (ufrag, from) in std::mem::take(&mut *parting) {
            let (who, node) = (ufrag.clone(), from.clone());
            let gone = self.parts.ask_with_keys(move |vault, keys| {
                // First it is this node's again, so that the other one knows that it is not its own.
                if vault.adopt(&who, keys)?.is_some() {
                    vault.remove(&who)?;
                }
                vault.end_pull(&node, &who)
            });
            if let Err(error) = gone.await {
                tracing::debug!(%error, "another node learns later that a channel is not needed");
                parting.push((ufrag, from));
            }
        }
    }

    /// Keeps what is taken in step with who watches here and where publishers are. Never ends.
    pub(super) async fn follow(&self, mut news: mpsc::UnboundedReceiver<News>) {
        let (mut looked, mut changes) = (Instant::now(), None);
        loop {
            let told = tokio::time::timeout(LOOK, news.recv()).await;
            if let Ok(None) = told {
                // The thread has ended, and has said why.
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
            // What etcd is asked often is asked before anybody is kept waiting.
            let looks = is_time || told.is_ok();
            let mut places = Vec::new();
            if looks {
                looked = Instant::now();
                self.finish_parting().await;
                let taken = self.running.lock().await.keys().cloned().collect();
                places = self.find_all(taken).await;
            }
            let mut running = self.running.lock().await;
            if let Ok(Some(News::Stuck(ufrag))) = &told {
                self.take_anew(&mut running, ufrag).await;
            }
            self.follow_publishers(&mut running, places).await;
            let unserved = self.follow_viewers(&mut running).await;
            drop(running);
            if looks || changes != Some(now) {
                self.serve(unserved).await;
            }
            changes = Some(now);
        }
    }

    /// Which of these channels other nodes have that are alive. Without etcd none, and media goes
    /// on.
    async fn find_all(&self, channels: Vec<String>) -> Vec<(String, There)> {
        let places = self.channels.find_all(&channels).await;
        let found = channels.into_iter().zip(places.unwrap_or_default());
        found
            .filter_map(|(channel, there)| Some((channel, there?)))
            .collect()
    }

    /// Takes those of these channels that other nodes have.
    async fn serve(&self, unserved: Vec<String>) {
        for (channel, there) in self.find_all(unserved).await {
            let mut running = self.running.lock().await;
            if let Err(error) = self.begin(&mut running, &channel, there).await {
                tracing::debug!(%error, "a channel cannot be taken from its node now");
            }
        }
    }

    /// Lets go of channels that are here or that nobody watches. Gives those that are watched and
    /// come from nowhere.
    async fn follow_viewers(&self, running: &mut HashMap<String, Running>) -> Vec<String> {
        let watched = {
            let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            self.parts.sessions.watched(&given)
        };
        let mut ended = Vec::new();
        for (channel, one) in running.iter_mut() {
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
            if let Some(one) = running.remove(&channel) {
                self.let_go(&channel, &one).await;
            }
        }
        let unserved = watched
            .into_iter()
            .filter(|(channel, published)| !published && !running.contains_key(channel));
        unserved.map(|(channel, _)| channel).collect()
    }

    /// Takes channels from where they are now.
    async fn follow_publishers(
        &self,
        running: &mut HashMap<String, Running>,
        places: Vec<(String, There)>,
    ) {
        for (channel, there) in &places {
            let Some(one) = running.get_mut(channel) else {
                continue;
            };
            if *there == one.there {
                continue;
            }
            let there = there.clone();
            if there.publisher != one.there.publisher {
                // It may send something else.
                let before = running.remove(channel);
                if let Some(before) = before {
                    self.replace(running, channel, before, there).await;
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

    /// The other node does not know this one's viewer, or gives no answer: with another record it
    /// may.
    async fn take_anew(&self, running: &mut HashMap<String, Running>, ufrag: &Ufrag) {
        let of =
            |(channel, one): (&String, &Running)| (one.ufrag == *ufrag).then(|| channel.clone());
        let Some(channel) = running.iter().find_map(of) else {
            return;
        };
        let Ok(Elsewhere::There(there)) = self.channels.find(&channel).await else {
            return;
        };
        if let Some(before) = running.remove(&channel) {
            self.replace(running, &channel, before, there).await;
        }
    }

    /// Takes a channel anew; its viewers here stay.
    async fn replace(
        &self,
        running: &mut HashMap<String, Running>,
        channel: &str,
        before: Running,
        there: There,
    ) {
        self.part(&before).await;
        match self.take(channel, there).await {
            Ok(Some(taken)) => drop(running.insert(channel.to_owned(), taken)),
            Ok(None) => self.end_pull(channel).await,
            Err(error) => tracing::warn!(%error, "a channel cannot be taken from its node now"),
        }
    }
}
