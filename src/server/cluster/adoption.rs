//! Takes over peers of other nodes. A page that asks here for the events of its session brings its
//! peer here.
//!
//! No node needs to know whether another one is alive. Keys exist only where the browser ran its
//! handshake, so the browser decides where its peer is, and that node takes over the record.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use crate::ids::{Role, Ufrag};
use crate::vault::{KeyError, KeyFile, PeerRecord, Vault, VaultError};

use super::Parts;
use super::channels::Channels;

/// Records taken over at once. Each takes some requests to the store.
const AT_ONCE: usize = 16;
/// Longest wait for the media loop, which restores a record at once unless it is busy.
const ARRIVAL: Duration = Duration::from_secs(5);

/// Time from a handshake to the check whose the record is, and the random part added to it, in
/// milliseconds. If a browser goes elsewhere within this time, this node can take its record back
/// wrongly.
const RECLAIM: Duration = Duration::from_millis(500);
const RECLAIM_SPREAD: u64 = 2_000;

/// See the module.
pub(in crate::server) struct Adoption {
    parts: Parts,
    channels: Channels,
    turns: Semaphore,
}

/// Why a peer cannot be taken over now.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum AdoptionError {
    #[error("the key file cannot be read again: {0}")]
    Key(#[from] KeyError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the server is stopping")]
    Stopping,
}

impl Adoption {
    pub(super) fn new(parts: Parts, channels: Channels) -> Self {
        Self {
            parts,
            channels,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Takes a peer over, if any node has its record. Gives whether one has.
    ///
    /// # Errors
    /// [`AdoptionError`]; the caller can try again.
    pub(in crate::server) async fn adopt(&self, ufrag: &Ufrag) -> Result<bool, AdoptionError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| AdoptionError::Stopping)?;
        let arrival = self.parts.sessions.arrival(ufrag);
        let Some(record) = self.take_over(ufrag).await? else {
            return Ok(false);
        };
        self.follow_publisher(&record).await;
        self.parts.net.adopt(Arc::new(record));
        tracing::info!("a peer of another node comes here");
        // The caller checks whether it is there.
        let _ = tokio::time::timeout(ARRIVAL, arrival).await;
        Ok(true)
    }

    /// Takes back the record of a browser that runs another handshake here, where the page was with
    /// another node meanwhile. Waits while a crowd returns, and checks one peer after another. Never
    /// ends.
    pub(super) async fn follow(self: &Arc<Self>) {
        let mut renewed = self.parts.sessions.renewed();
        while let Some(ufrag) = renewed.recv().await {
            let spread = ufrag.as_str().bytes().map(u64::from).sum::<u64>() * 7 % RECLAIM_SPREAD;
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RECLAIM + Duration::from_millis(spread)).await;
                if let Err(error) = this.reclaim(&ufrag).await {
                    tracing::warn!(%error, "the owner of a peer's record cannot be determined now");
                }
            });
        }
    }

    async fn reclaim(&self, ufrag: &Ufrag) -> Result<(), AdoptionError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| AdoptionError::Stopping)?;
        let wanted = ufrag.clone();
        let owned = self.parts.ask(move |vault| Ok(vault.owns(&wanted)?));
        if owned.await? {
            return Ok(());
        }
        let here = |_: &Arc<PeerRecord>| !self.parts.sessions.is_draining();
        let Some(record) = self.parts.sessions.record(ufrag).filter(here) else {
            return Ok(());
        };
        self.follow_publisher(&record).await;
        if self.take_over(ufrag).await?.is_none() {
            // The other node has removed the peer meanwhile.
            let save = move |vault: &Vault| Ok(vault.save(&record, SystemTime::now())?);
            self.parts.ask(save).await?;
        }
        tracing::info!("a peer that was another node's for a while is this one's again");
        Ok(())
    }

    /// Names this node as the channel's, if the peer is its publisher.
    async fn follow_publisher(&self, record: &PeerRecord) {
        if record.role == Role::Publisher
            && let Err(error) = self
                .channels
                .place(&record.channel, &record.ice.ufrag, None)
                .await
        {
            tracing::warn!(%error, "the other nodes do not know that a channel is here now");
        }
    }

    async fn take_over(&self, ufrag: &Ufrag) -> Result<Option<PeerRecord>, AdoptionError> {
        let ufrag = ufrag.clone();
        let take = move |vault: &Vault, keys: &KeyFile| vault.adopt(&ufrag, keys);
        self.parts.ask_with_keys(take).await
    }
}
