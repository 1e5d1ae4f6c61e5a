//! Another key file for a vault in a shared store that no node uses.
//!
//! A folder is changed as a whole by one rename; here every file is changed by itself, and a crash
//! can interrupt that. So a key in clear says, from before the first change until the last one,
//! that a rekey runs. While it exists no node starts, and the same command, run again with the same
//! key files, completes the rekey. The last transaction changes the identity and removes that key.

use std::sync::Arc;

use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::key::KeyFile;
use crate::layout::{
    IDENTITY, NODES, PEERS, PROCESSES, REKEYING, SET_ASIDE, file_name, path_in_vault, ufrag_of,
};
use crate::opening::stored_identity;
use crate::record::Kind;
use crate::rekey::{Outcome, reseal};
use crate::seal::{OpeningKey, seal_identity};
use crate::storage::Storage;

use super::{Change, Condition, Shared, SharedStore, owner_key};

const WHAT: &str = "put the vault under another key file";
/// Most keys that are removed in one transaction; etcd allows 128.
const AT_ONCE: usize = 100;

/// Re-encrypts a vault in a shared store: afterwards `new` opens it. The same call again completes
/// an interrupted one.
///
/// Both key files may hold several identities; all files are encrypted for the first of `new`. Boot
/// numbers and times in the files do not change.
///
/// # Errors
/// [`VaultError::InUse`] while a node is there, [`VaultError::WrongKey`] if neither key file opens
/// the vault: then it is unchanged. [`VaultError::Unavailable`] and [`VaultError::Full`]: some
/// files may be encrypted for the new key already.
pub fn rekey(
    store: Arc<dyn SharedStore>,
    old: KeyFile,
    new: KeyFile,
) -> Result<Outcome, VaultError> {
    let shared = Shared::new(store);
    let keys: Vec<OpeningKey> = new.keys.into_iter().chain(old.keys).collect();
    let sealing = keys[0].sealing();
    let stored = stored_identity(&shared, &keys)?;
    let (identities, header, revision) = stored.ok_or_else(|| VaultError::IdentityMissing {
        path: shared.place.clone(),
        files: 0,
    })?;
    shared.stop_nodes(revision)?;
    let outcome = shared.reseal_all(&keys, header.boot)?;
    let sealed = seal_identity(&sealing, IDENTITY, &header, &identities.record());
    let done = shared.commit(
        WHAT,
        &[
            shared.is_this_rekey(),
            Condition::Unchanged(IDENTITY, revision),
        ],
        &[Change::Put(IDENTITY, &sealed), Change::Remove(REKEYING)],
    )?;
    shared.must(done)?;
    Ok(Outcome {
        set_aside: shared.set_aside_count(),
        ..outcome
    })
}

impl Shared {
    fn is_this_rekey(&self) -> Condition<'_> {
        Condition::Is(REKEYING, self.process.as_bytes())
    }

    /// Fails if a condition did not hold: another process is at work.
    fn must(&self, done: bool) -> Result<(), VaultError> {
        match done {
            true => Ok(()),
            false => Err(VaultError::InUse(self.place.clone())),
        }
    }

    /// From now on no node starts, and none that was paused or is just starting can change
    /// anything.
    fn stop_nodes(&self, identity: u64) -> Result<(), VaultError> {
        let list = |folder| {
            let names = self.store.names(folder);
            names.map_err(|e| self.error("list the nodes", e))
        };
        if !list(NODES)?.is_empty() {
            return Err(VaultError::InUse(self.place.clone()));
        }
        let [before] = self.read(WHAT, [REKEYING])?;
        let begun = self.commit(
            WHAT,
            &[
                Condition::Unchanged(REKEYING, before.map_or(0, |entry| entry.revision)),
                Condition::Unchanged(IDENTITY, identity),
            ],
            &[Change::Put(REKEYING, self.process.as_bytes())],
        )?;
        self.must(begun)?;
        let claims: Vec<String> = list(PROCESSES)?
            .iter()
            .map(|node| format!("{PROCESSES}/{node}"))
            .collect();
        for claims in claims.chunks(AT_ONCE) {
            let changes: Vec<_> = claims.iter().map(|claim| Change::Remove(claim)).collect();
            let done = self.commit(WHAT, &[self.is_this_rekey()], &changes)?;
            self.must(done)?;
        }
        Ok(())
    }

    fn reseal_all(&self, keys: &[OpeningKey], boot: u64) -> Result<Outcome, VaultError> {
        let names = self.store.names(PEERS);
        let names = names.map_err(|e| self.error("list the peers", e))?;
        let mut outcome = Outcome::default();
        for ufrag in names.iter().filter_map(ufrag_of) {
            match self.reseal_one(&ufrag, keys, boot)? {
                true => outcome.peers += 1,
                false => outcome.unusable += 1,
            }
        }
        Ok(outcome)
    }

    /// Encrypts a peer's file for the first key; one that cannot be opened is set aside. Returns
    /// whether it could be opened.
    fn reseal_one(
        &self,
        ufrag: &Ufrag,
        keys: &[OpeningKey],
        boot: u64,
    ) -> Result<bool, VaultError> {
        let (owner, key) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let [file] = self.read(WHAT, [&key])?;
        let Some(file) = file else {
            return Err(VaultError::InUse(self.place.clone()));
        };
        let resealed = match file.value.len() > Kind::PEER.file_limit() {
            true => Err(FileFault::TooLarge),
            false => reseal(&file.value, ufrag, keys, &keys[0].sealing(), boot),
        };
        let conditions = [
            self.is_this_rekey(),
            Condition::Unchanged(&key, file.revision),
        ];
        let done = match &resealed {
            // Already encrypted for the first key.
            Ok((_, 0)) => true,
            Ok((sealed, _)) => self.commit(WHAT, &conditions, &[Change::Put(&key, sealed)])?,
            Err(fault) => {
                tracing::warn!(%fault, "a peer's file cannot be opened: moved to set-aside/");
                let aside = format!("{SET_ASIDE}/{ufrag}.rekey.age");
                let changes = [
                    Change::Put(&aside, &file.value),
                    Change::Remove(&key),
                    Change::Remove(&owner),
                ];
                self.commit(WHAT, &conditions, &changes)?
            }
        };
        self.must(done)?;
        Ok(resealed.is_ok())
    }
}
