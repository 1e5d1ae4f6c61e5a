//! Peers of other nodes: whoever asks here for the events of a session that another node had brings
//! its peer here.
//!
//! No node needs to know whether another one is alive: keys exist where the browser ran its
//! handshake, so the browser decides where its peer is, and this node takes over the record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use crate::ids::Ufrag;
use crate::net::Handle;
use crate::vault::{KeyError, KeyFile, PeerRecord, Vault, VaultError};

use super::sessions::Sessions;

/// Records taken over at once: each is some questions to the store.
const AT_ONCE: usize = 16;
/// The media loop takes a record in at once; it may have much to do.
const ARRIVAL: Duration = Duration::from_secs(5);

/// When it is looked whose a record is that was here all along, and within how many milliseconds
/// more.
const RECLAIM: Duration = Duration::from_secs(3);
const RECLAIM_SPREAD: u64 = 10_000;

/// See the module.
pub(super) struct Adoption {
    vault: Arc<Vault>,
    /// Read again for each record, so that the process holds no key that opens files.
    key_file: PathBuf,
    net: Handle,
    sessions: Arc<Sessions>,
    turns: Semaphore,
}

/// Why a peer cannot be taken over now.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptionError {
    #[error("the key file cannot be read again: {0}")]
    Key(#[from] KeyError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the server is stopping")]
    Stopping,
}

impl Adoption {
    pub(super) fn new(
        vault: Arc<Vault>,
        key_file: PathBuf,
        net: Handle,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self {
            vault,
            key_file,
            net,
            sessions,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Brings a peer here, if any node has its record. Whether there is one.
    ///
    /// # Errors
    /// [`AdoptionError`]; it can be tried again.
    pub(super) async fn adopt(&self, ufrag: &Ufrag) -> Result<bool, AdoptionError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| AdoptionError::Stopping)?;
        let arrival = self.sessions.arrival(ufrag);
        let Some(record) = self.take_over(ufrag).await? else {
            return Ok(false);
        };
        self.net.adopt(Arc::new(record));
        tracing::info!("a peer of another node comes here");
        // The caller looks whether it is there.
        let _ = tokio::time::timeout(ARRIVAL, arrival).await;
        Ok(true)
    }

    /// After a page has opened a stream here of a session that this node has had all along: its
    /// record may be another node's, where the page has been meanwhile. Then it comes back. Not
    /// before the crowd after a restart is over, and not for all at once.
    pub(super) fn reclaim_later(self: &Arc<Self>, ufrag: Ufrag) {
        let spread = ufrag.as_str().bytes().map(u64::from).sum::<u64>() % RECLAIM_SPREAD;
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RECLAIM + Duration::from_millis(spread)).await;
            if let Err(error) = this.reclaim(&ufrag).await {
                tracing::warn!(%error, "it cannot be told now whose a peer's record is");
            }
        });
    }

    async fn reclaim(&self, ufrag: &Ufrag) -> Result<(), AdoptionError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| AdoptionError::Stopping)?;
        let (vault, wanted) = (self.vault.clone(), ufrag.clone());
        let owned = tokio::task::spawn_blocking(move || vault.owns(&wanted)).await;
        if owned.map_err(|_| AdoptionError::Stopping)?? {
            return Ok(());
        }
        // The page may have gone elsewhere again.
        let Some(record) = self.sessions.record(ufrag) else {
            return Ok(());
        };
        if self.take_over(ufrag).await?.is_none() {
            // The other node has let the peer go by now.
            let vault = self.vault.clone();
            let save = move || vault.save(&record, SystemTime::now());
            let saved = tokio::task::spawn_blocking(save).await;
            saved.map_err(|_| AdoptionError::Stopping)??;
        }
        tracing::info!("a peer that was another node's for a while is this one's again");
        Ok(())
    }

    async fn take_over(&self, ufrag: &Ufrag) -> Result<Option<PeerRecord>, AdoptionError> {
        let (vault, key_file, ufrag) = (self.vault.clone(), self.key_file.clone(), ufrag.clone());
        let work = move || Ok(vault.adopt(&ufrag, &KeyFile::load(&key_file)?)?);
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| AdoptionError::Stopping)?
    }
}
