//! Changes that are still to be made in the vault, and the writing of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ids::Ufrag;
use crate::vault::{PeerRecord, Vault, VaultError};

use super::super::sessions::Sessions;
use super::Records;

/// Most changes written in one batch, before newer events are read.
const BATCH: usize = 64;
/// Most changes that are kept while the vault's store does not answer. Further ones are dropped;
/// the vault keeps its old content for these until the next boot.
const KEPT: usize = 100_000;

/// A change to a peer's record. Only the newest counts: an address that changes twice is written
/// once, and a removed peer is never written again.
pub(super) enum Change {
    Save(Arc<PeerRecord>),
    Remove(Vec<oneshot::Sender<()>>),
}

/// Changes that are still to be made.
#[derive(Default)]
pub(super) struct Changes(HashMap<Ufrag, Change>);

/// Those that could not be made, since the vault's store did not answer.
pub(super) type Left = Vec<(Ufrag, Change)>;

impl Changes {
    pub(super) fn save(&mut self, record: Arc<PeerRecord>) {
        self.0
            .insert(record.ice.ufrag.clone(), Change::Save(record));
    }

    pub(super) fn remove(&mut self, ufrag: Ufrag, done: Option<oneshot::Sender<()>>) {
        match self
            .0
            .entry(ufrag)
            .or_insert_with(|| Change::Remove(Vec::new()))
        {
            Change::Remove(waiting) => waiting.extend(done),
            save => *save = Change::Remove(done.into_iter().collect()),
        }
    }

    /// Keeps these for another attempt, unless there is a newer change: a peer whose record was to
    /// be removed may be back, since the record was still there.
    pub(super) fn again(&mut self, left: Left, sessions: &Sessions) {
        for (ufrag, change) in left {
            let is_back = matches!(change, Change::Remove(_)) && sessions.record(&ufrag).is_some();
            if !is_back && self.0.len() < KEPT {
                self.0.entry(ufrag).or_insert(change);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn batch(&mut self) -> Vec<(Ufrag, Change)> {
        let names: Vec<Ufrag> = self.0.keys().take(BATCH).cloned().collect();
        names
            .into_iter()
            .filter_map(|ufrag| self.0.remove_entry(&ufrag))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn take(&mut self, ufrag: &Ufrag) -> Option<Change> {
        self.0.remove(ufrag)
    }
}

/// Writes on a thread that may wait. A request that waits for a removal waits for one attempt only,
/// whatever its result: the session has ended.
pub(super) fn write(records: Records, batch: Vec<(Ufrag, Change)>) -> JoinHandle<Left> {
    tokio::task::spawn_blocking(move || {
        let (mut removals, mut saves) = (Vec::new(), Vec::new());
        for (ufrag, change) in batch {
            match change {
                Change::Remove(waiting) => removals.push((ufrag, waiting)),
                Change::Save(record) => saves.push((ufrag, record)),
            }
        }
        let mut left = remove(&records, removals);
        for (ufrag, record) in saves {
            // A store that has not answered is not asked again for each change.
            if !left.is_empty() || !save(&records, &record) {
                left.push((ufrag, Change::Save(record)));
            }
        }
        left
    })
}

/// Removes all of these at once. Returns those that are to be tried again.
fn remove(records: &Records, removals: Vec<(Ufrag, Vec<oneshot::Sender<()>>)>) -> Left {
    let (ufrags, waiting): (Vec<_>, Vec<_>) = removals.into_iter().unzip();
    let removed = records
        .writes
        .count_each(|| records.vault.remove_each(&ufrags));
    for done in waiting.into_iter().flatten() {
        // The client may be gone.
        let _ = done.send(());
    }
    let mut left = Vec::new();
    let mut removed = removed.into_iter();
    for ufrag in ufrags {
        match removed.next() {
            Some(Ok(_)) => {}
            Some(Err(error @ VaultError::NotOwner)) => {
                tracing::debug!(%error, "the record of a peer that is gone stays");
            }
            // `None` is a peer for which the store was not asked any more.
            None | Some(Err(VaultError::Unavailable { .. })) => {
                tracing::debug!("the record of a peer that is gone is still to be removed");
                left.push((ufrag, Change::Remove(Vec::new())));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the record of a peer that is gone could not be removed; \
                                        the next boot will");
            }
        }
    }
    left
}

/// Returns whether it need not be tried again.
fn save(records: &Records, record: &PeerRecord) -> bool {
    let vault: &Vault = &records.vault;
    match records
        .writes
        .count(|| vault.save(record, SystemTime::now()))
    {
        Ok(()) => true,
        Err(error @ VaultError::NotOwner) => {
            tracing::debug!(%error, "a browser's new address is not saved");
            true
        }
        Err(error @ VaultError::Unavailable { .. }) => {
            tracing::debug!(%error, "a browser's new address is still to be saved");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a browser's new address could not be saved; after a restart it \
                                    may come back later");
            true
        }
    }
}
