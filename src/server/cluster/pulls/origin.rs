//! The node that has a channel's publisher, towards nodes that pull the channel from it.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::Ufrag;

use super::super::Parts;
use super::super::adoption::{Adoption, AdoptionError};
use super::super::identities::Identities;
use super::PullingPeers;

/// Longest wait for changes in one query.
const NEWS: Duration = Duration::from_secs(10);
/// Pause before the next attempt where the store does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(in crate::server::cluster) struct Origin {
    parts: Parts,
    adoption: Arc<Adoption>,
    identities: Arc<Identities>,
    peers: PullingPeers,
}

impl Origin {
    pub(in crate::server::cluster) fn new(
        parts: Parts,
        adoption: Arc<Adoption>,
        identities: Arc<Identities>,
    ) -> Self {
        Self {
            parts,
            adoption,
            identities,
            peers: PullingPeers::default(),
        }
    }

    /// The peers of other nodes that pull channels from this one.
    pub(in crate::server::cluster) fn peers(&self) -> PullingPeers {
        self.peers.clone()
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Ufrag>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the peers through which other nodes pull channels, and removes those that they
    /// need no more. Never ends.
    pub(in crate::server::cluster) async fn follow(&self) {
        self.parts.sessions.loaded().await;
        let mut revision = 0;
        loop {
            let asked = self
                .parts
                .ask(move |vault| Ok(vault.wait_pulls(revision, NEWS)?));
            match asked.await {
                Ok((now, asked)) => {
                    revision = now;
                    self.serve(asked.into_iter().collect()).await;
                }
                Err(AdoptionError::Stopping) => std::future::pending().await,
                Err(error) => {
                    tracing::debug!(%error, "the store does not say which channels other nodes pull");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn serve(&self, asked: HashSet<Ufrag>) {
        let known = self.known().clone();
        for ufrag in asked.difference(&known) {
            self.known().insert(ufrag.clone());
            let (adoption, identities) = (self.adoption.clone(), self.identities.clone());
            let (ufrag, peers) = (ufrag.clone(), self.peers.clone());
            tokio::spawn(async move {
                if let Err(error) = adopt(&adoption, &identities, &ufrag).await {
                    tracing::warn!(%error, "a peer that pulls a channel cannot be taken over now");
                    // The next change in the store leads to another attempt.
                    let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
                    peers.remove(&ufrag);
                }
            });
        }
        for ufrag in known.difference(&asked) {
            let wanted = ufrag.clone();
            let owned = self.parts.ask(move |vault| Ok(vault.owns(&wanted)?));
            // If its record is still this node's, its key in the store was lost, and it continues;
            // or its node has died, and its checks will end.
            match owned.await {
                Ok(true) if self.parts.sessions.record(ufrag).is_some() => {}
                Ok(_) => {
                    // An error says that the server is stopping.
                    let _ = self.parts.net.leave(ufrag).await;
                    self.known().remove(ufrag);
                }
                Err(error) => {
                    tracing::debug!(%error, "the store does not say which node owns a peer")
                }
            }
        }
    }
}

/// Takes a peer over, also if it uses a certificate that its own node has just made.
async fn adopt(
    adoption: &Adoption,
    identities: &Identities,
    ufrag: &Ufrag,
) -> Result<(), AdoptionError> {
    if !adoption.adopt(ufrag).await? {
        identities.learn().await?;
        adoption.adopt(ufrag).await?;
    }
    Ok(())
}
