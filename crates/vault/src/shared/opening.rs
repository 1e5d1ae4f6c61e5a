//! Opening a vault in a shared store.

use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::unix_seconds;
use crate::error::VaultError;
use crate::identity::{Identities, Identity};
use crate::key::KeyFile;
use crate::layout::{
    CHANNELS, IDENTITY, NODES, OWNERS, PEERS, PROCESSES, PULLS, REKEYING, SET_ASIDE,
};
use crate::opening::stored_identity;
use crate::reader::Reader;
use crate::record::{Header, Kind};
use crate::seal::seal_identity;
use crate::storage::Storage;
use crate::store::{Opened, Own, Vault};

use super::identity::ATTEMPTS;
use super::{Change, Condition, Shared, SharedStore};

impl Vault {
    /// Opens the vault in a store that several nodes use, or makes one there if nothing is below
    /// its prefix.
    ///
    /// All nodes have one identity, which the first of them makes, and one count of boots: each
    /// start of any of them adds one, durably before this returns. From then on this process is the
    /// store's [`node`](SharedStore::node), and an earlier one that still runs under that name can
    /// change nothing any more. Nothing is changed before the key file has proved to open
    /// `identity.age`.
    ///
    /// # Errors
    /// [`VaultError`]; each says what to do.
    pub fn open_shared(
        store: Arc<dyn SharedStore>,
        keys: KeyFile,
        now: SystemTime,
    ) -> Result<Opened, VaultError> {
        let shared = Arc::new(Shared::new(store));
        let Start {
            identities,
            header,
            first_run,
        } = shared.take_part(&keys, now)?;
        // So the others do not notice that an earlier process of this node was killed.
        let said = shared.said(&identities)?;
        shared.keep_presence(&said, &identities)?;
        let boot = header.boot;
        let storage: Arc<dyn Storage> = shared.clone();
        let reader = Reader::open(storage.clone(), keys, boot, boot)?;
        shared.owned().extend(reader.names());
        let sealing = reader.keys.keys[0].sealing();
        let Identities { current, earlier } = identities.clone();
        let own = Own {
            identities,
            header,
            unwritten: false,
        };
        Ok(Opened {
            vault: Vault::new(storage, Some(shared), boot, sealing, own),
            identity: current,
            earlier,
            boot,
            first_run,
            reader,
        })
    }
}

/// The state with which a process begins.
struct Start {
    identities: Identities,
    header: Header,
    first_run: bool,
}

impl Shared {
    /// Adds one to the count of boots and becomes the node, in one transaction. If another node was
    /// faster, it starts again from what that one has written.
    fn take_part(&self, keys: &KeyFile, now: SystemTime) -> Result<Start, VaultError> {
        let keys = &keys.keys;
        for _ in 0..ATTEMPTS {
            let stored = stored_identity(self, keys)?;
            let first_run = stored.is_none();
            let (identities, boot, revision) = match stored {
                Some((identities, header, revision)) => {
                    (identities, header.boot.saturating_add(1), revision)
                }
                None => {
                    self.refuse_if_not_empty()?;
                    (Identities::new(Identity::generate(now)?), 1, 0)
                }
            };
            let header = Header::new(Kind::IDENTITY, boot, unix_seconds(now));
            let sealed = seal_identity(&keys[0].sealing(), IDENTITY, &header, &identities.record());
            let taken = self.commit(
                "write identity.age",
                &[
                    Condition::Unchanged(IDENTITY, revision),
                    Condition::Unchanged(REKEYING, 0),
                ],
                &[
                    Change::Put(IDENTITY, &sealed),
                    Change::Put(&self.claim, self.process.as_bytes()),
                ],
            )?;
            if taken {
                return Ok(Start {
                    identities,
                    header,
                    first_run,
                });
            }
            let [rekeying] = self.read("look for a rekey", [REKEYING])?;
            if rekeying.is_some() {
                return Err(VaultError::Rekeying(self.place.clone()));
            }
        }
        Err(self.too_many())
    }

    /// A vault is made neither among foreign keys nor where its identity was lost.
    fn refuse_if_not_empty(&self) -> Result<(), VaultError> {
        let names = self
            .store
            .names("")
            .map_err(|e| self.error("list the keys", e))?;
        let below = |name: &str, folders: &[&str]| {
            name.split_once('/')
                .is_some_and(|(folder, _)| folders.contains(&folder))
        };
        let files = names
            .iter()
            .filter(|name| below(name, &[PEERS, SET_ASIDE]))
            .count();
        // Files that another node has just written are no reason to refuse.
        if files > 0 && !names.iter().any(|name| name == IDENTITY) {
            return Err(VaultError::IdentityMissing {
                path: self.place.clone(),
                files,
            });
        }
        let ours = [PEERS, SET_ASIDE, OWNERS, NODES, PROCESSES, CHANNELS, PULLS];
        match names
            .into_iter()
            .find(|name| name != IDENTITY && name != REKEYING && !below(name, &ours))
        {
            Some(found) => Err(VaultError::NotEmpty {
                path: self.place.clone(),
                found,
            }),
            None => Ok(()),
        }
    }
}
