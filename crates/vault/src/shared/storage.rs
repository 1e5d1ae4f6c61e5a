//! The vault's files in a shared store.

use std::path::Path;

use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::layout::{IDENTITY, OWNERS, SET_ASIDE, file_name, path_in_vault};
use crate::record::Kind;
use crate::storage::{Storage, Unread};

use super::{Change, Condition, Shared, owner_key};

impl Storage for Shared {
    fn place(&self) -> &Path {
        &self.place
    }

    fn read_identity(&self) -> Result<(Vec<u8>, u64), Unread> {
        let [identity] = self
            .read("read identity.age", [IDENTITY])
            .map_err(Unread::Failed)?;
        let identity = identity.ok_or(Unread::Missing)?;
        let value = within(Kind::IDENTITY, identity.value)?;
        Ok((value, identity.revision))
    }

    fn write_identity(&self, sealed: &[u8], revision: u64) -> Result<bool, VaultError> {
        self.commit(
            "write identity.age",
            &[
                Condition::Unchanged(IDENTITY, revision),
                self.is_this_process(),
            ],
            &[Change::Put(IDENTITY, sealed)],
        )
    }

    fn peers(&self) -> Result<Vec<Ufrag>, VaultError> {
        let listing = self
            .store
            .list(OWNERS)
            .map_err(|e| self.error("list the peers", e))?;
        let me = self.store.node().as_bytes();
        let mine = listing.entries.into_iter().filter(|(_, node)| node == me);
        Ok(mine.filter_map(|(name, _)| Ufrag::new(name).ok()).collect())
    }

    fn read_peer(&self, ufrag: &Ufrag) -> Result<Vec<u8>, Unread> {
        let keys = [&*owner_key(ufrag), &*path_in_vault(&file_name(ufrag))];
        let [owner, record] = self
            .read("read a peer's record", keys)
            .map_err(Unread::Failed)?;
        match (owner, record) {
            (Some(owner), Some(record)) if owner.value == self.store.node().as_bytes() => {
                within(Kind::PEER, record.value)
            }
            // Another node has taken it over since the peers were listed.
            _ => Err(Unread::Missing),
        }
    }

    fn write_peer(&self, ufrag: &Ufrag, sealed: &[u8]) -> Result<(), VaultError> {
        let known = self.owned().contains(ufrag);
        let written = match known {
            true => self.write_own_peer(ufrag, sealed)?,
            // It exists if an earlier call was carried out without an answer.
            false => self.write_new_peer(ufrag, sealed)? || self.write_own_peer(ufrag, sealed)?,
        };
        match written {
            true => {
                self.owned().insert(ufrag.clone());
                Ok(())
            }
            false => Err(VaultError::NotOwner),
        }
    }

    fn remove_peer(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let (owner, record) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let me = self.store.node().as_bytes();
        let conditions = [Condition::Is(&owner, me), self.is_this_process()];
        let changes = [Change::Remove(&owner), Change::Remove(&record)];
        let what = "remove a peer's record";
        let there = self.commit(what, &conditions, &changes)?;
        if !there {
            let [owner] = self.read(what, [&owner])?;
            if owner.is_some() {
                return Err(VaultError::NotOwner);
            }
            self.refuse_if_replaced()?;
        }
        self.owned().remove(ufrag);
        Ok(there)
    }

    fn set_aside(&self, ufrag: &Ufrag, name: &str) -> Result<(), VaultError> {
        let what = "move a peer's file to set-aside/";
        let (owner, record) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let aside = format!("{SET_ASIDE}/{name}");
        let [entry] = self.read(what, [&record])?;
        let Some(entry) = entry else {
            return Ok(());
        };
        let conditions = [
            Condition::Is(&owner, self.store.node().as_bytes()),
            Condition::Unchanged(&record, entry.revision),
            self.is_this_process(),
        ];
        let changes = [
            Change::Put(&aside, &entry.value),
            Change::Remove(&owner),
            Change::Remove(&record),
        ];
        match self.commit(what, &conditions, &changes)? {
            true => Ok(()),
            false => Err(VaultError::NotOwner),
        }
    }

    fn set_aside_count(&self) -> usize {
        self.store.names(SET_ASIDE).map_or(0, |names| names.len())
    }
}

const WRITE_PEER: &str = "write a peer's record";
/// Peers that are removed in one transaction, with two changes each: etcd takes 128.
const AT_ONCE: usize = 60;

impl Shared {
    /// Removes the files of several peers; `turns` keeps others from writing some of them. What
    /// came of each, up to the first to which the store gave no answer.
    pub(crate) fn remove_each<T>(
        &self,
        ufrags: &[Ufrag],
        turns: impl Fn(&[Ufrag]) -> T,
    ) -> Vec<Result<bool, VaultError>> {
        let mut removed = Vec::with_capacity(ufrags.len());
        for some in ufrags.chunks(AT_ONCE) {
            let _turns = turns(some);
            match self.remove_together(some) {
                Ok(true) => removed.extend(some.iter().map(|_| Ok(true))),
                // At least one is another node's or is not there: each by itself.
                Ok(false) => {
                    for ufrag in some {
                        removed.push(self.remove_peer(ufrag));
                        if is_unanswered(removed.last()) {
                            break;
                        }
                    }
                }
                Err(error) => removed.push(Err(error)),
            }
            if is_unanswered(removed.last()) {
                break;
            }
        }
        removed
    }

    /// Removes all of these, or none. Whether they were.
    fn remove_together(&self, ufrags: &[Ufrag]) -> Result<bool, VaultError> {
        let me = self.store.node().as_bytes();
        let keys = |ufrag| (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let keys: Vec<(String, String)> = ufrags.iter().map(keys).collect();
        let mut conditions = vec![self.is_this_process()];
        conditions.extend(keys.iter().map(|(owner, _)| Condition::Is(owner, me)));
        let changes: Vec<Change<'_>> = keys
            .iter()
            .flat_map(|(owner, record)| [Change::Remove(owner), Change::Remove(record)])
            .collect();
        let removed = self.commit("remove peers' records", &conditions, &changes)?;
        if removed {
            let mut owned = self.owned();
            for ufrag in ufrags {
                owned.remove(ufrag);
            }
        }
        Ok(removed)
    }

    /// Writes the file of a peer that nobody owns yet, unless somebody does.
    fn write_new_peer(&self, ufrag: &Ufrag, sealed: &[u8]) -> Result<bool, VaultError> {
        let (owner, record) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let changes = [
            Change::Put(&record, sealed),
            Change::Put(&owner, self.store.node().as_bytes()),
        ];
        let conditions = [Condition::Unchanged(&owner, 0), self.is_this_process()];
        self.commit(WRITE_PEER, &conditions, &changes)
    }

    /// Writes the file of a peer of this node. Returns false if it is another node's.
    fn write_own_peer(&self, ufrag: &Ufrag, sealed: &[u8]) -> Result<bool, VaultError> {
        let (owner, record) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let me = self.store.node().as_bytes();
        let conditions = [Condition::Is(&owner, me), self.is_this_process()];
        self.commit(WRITE_PEER, &conditions, &[Change::Put(&record, sealed)])
    }
}

fn is_unanswered(removed: Option<&Result<bool, VaultError>>) -> bool {
    matches!(removed, Some(Err(VaultError::Unavailable { .. })))
}

/// A value, unless it has more bytes than any file of its kind.
fn within(kind: Kind, value: Vec<u8>) -> Result<Vec<u8>, Unread> {
    match value.len() > kind.file_limit() {
        true => Err(Unread::Fault(FileFault::TooLarge)),
        false => Ok(value),
    }
}
