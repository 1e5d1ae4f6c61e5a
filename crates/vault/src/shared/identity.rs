//! `identity.age` in a shared store: every node may change it, starting from the last version.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use crate::error::VaultError;
use crate::identity::{Identities, Identity};
use crate::key::KeyFile;
use crate::layout::IDENTITY;
use crate::opening::stored_identity;
use crate::record::Header;
use crate::seal::{OpeningKey, SealingKey, seal_identity};
use crate::storage::Storage;
use crate::store::{Opened, Rotated, Vault};

use super::Shared;

/// A change fails only if another node's was made first: with as many nodes as may start at once,
/// this many attempts are enough.
pub(super) const ATTEMPTS: usize = 128;

impl Shared {
    pub(super) fn too_many(&self) -> VaultError {
        VaultError::Unavailable {
            what: "write identity.age",
            cause: format!("{}: other nodes always did first", self.place.display()),
        }
    }

    /// Reads `identity.age`; fails where it is not there.
    fn identity(&self, keys: &[OpeningKey]) -> Result<(Identities, Header, u64), VaultError> {
        stored_identity(self, keys)?.ok_or_else(|| VaultError::IdentityMissing {
            path: self.place.clone(),
            files: 1,
        })
    }

    /// Writes `identity.age` as `edit` changes it, starting from its present version. `None` if
    /// `edit` wants no change.
    fn edit_identity(
        &self,
        keys: &[OpeningKey],
        sealing: &SealingKey,
        edit: &mut dyn FnMut(&mut Identities) -> bool,
    ) -> Result<Option<(Identities, Header)>, VaultError> {
        for _ in 0..ATTEMPTS {
            let (mut identities, header, revision) = self.identity(keys)?;
            if !edit(&mut identities) {
                return Ok(None);
            }
            // The boot stays the one that was started last, on any node.
            let sealed = seal_identity(sealing, IDENTITY, &header, &identities.record());
            if self.write_identity(&sealed, revision)? {
                return Ok(Some((identities, header)));
            }
            self.refuse_if_replaced()?;
        }
        Err(self.too_many())
    }
}

impl Vault {
    /// The present identities, which another node may have changed: the current one, and those that
    /// earlier peers may use, the latest first. From then on [`adopt`](Vault::adopt) takes over
    /// their peers. For a folder: as they are in this process.
    ///
    /// # Errors
    /// The errors of reading `identity.age`.
    pub fn identities_now(
        &self,
        keys: &KeyFile,
    ) -> Result<(Arc<Identity>, Vec<Arc<Identity>>), VaultError> {
        let stored = match &self.shared {
            Some(shared) => Some(shared.identity(&keys.keys)?),
            None => None,
        };
        let mut own = self.own();
        if let Some((identities, header, _)) = stored
            && header.boot >= own.header.boot
        {
            (own.identities, own.header) = (identities, header);
        }
        let Identities { current, earlier } = own.identities.clone();
        Ok((current, earlier))
    }

    /// Encrypts `identity.age` for another key, and from now on all that this process writes.
    /// Returns its boot.
    pub(crate) fn change_shared_key(
        &self,
        keys: &[OpeningKey],
        sealing: SealingKey,
    ) -> Result<u64, VaultError> {
        let shared = self.shared.as_ref().ok_or(VaultError::FolderOnly)?;
        shared.refuse_if_replaced()?;
        let stored = shared.edit_identity(keys, &sealing, &mut |_| true)?;
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = sealing;
        Ok(stored.map_or(self.boot, |(_, header)| header.boot))
    }
}

impl Opened {
    /// [`Opened::rotate_identity`] in a shared store, durably.
    pub(crate) fn rotate_shared_identity(
        &mut self,
        now: SystemTime,
    ) -> Result<Rotated, VaultError> {
        let shared = self.vault.shared.clone().ok_or(VaultError::FolderOnly)?;
        let keys = &self.reader.keys.keys;
        let new = Arc::new(Identity::generate(now)?);
        let stored = shared.edit_identity(keys, &keys[0].sealing(), &mut |identities| {
            let may = identities.may_rotate();
            if may {
                identities.rotate(Arc::clone(&new));
            }
            may
        })?;
        let Some((identities, header)) = stored else {
            return Ok(Rotated::TooMany);
        };
        let mut own = self.vault.own();
        own.identities = identities.clone();
        own.header = header;
        drop(own);
        (self.identity, self.earlier) = (identities.current, identities.earlier);
        Ok(Rotated::Yes)
    }
}
