//! Another key file for a vault in use.

use crate::error::VaultError;
use crate::key::KeyFile;
use crate::opening::stored_identity;
use crate::rekey::{Outcome, reseal};
use crate::seal::OpeningKey;
use crate::storage::Unread;
use crate::store::Vault;

impl Vault {
    /// Takes a key file that was changed while the vault is in use, and encrypts every file for its
    /// first identity. It must still hold the identities that open the files now, so that a kill at
    /// any moment loses nothing: the operator removes them afterwards. Blocks for the disk; peers
    /// can be saved meanwhile. To be called only after the [`Reader`](super::Reader) has read all
    /// peers of earlier boots: it has no keys but those it was made with.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] if the key file does not open the vault: then nothing was changed.
    /// The errors of reading and writing: then some files are encrypted for the new identity
    /// already; it can be tried again.
    pub fn rotate(&self, keys: KeyFile) -> Result<Outcome, VaultError> {
        let keys = keys.keys;
        let last_boot = self.take_key(&keys)?;
        let mut outcome = Outcome::default();
        for ufrag in self.storage.peers()? {
            let _turn = self.turn(&ufrag);
            let resealed = match self.storage.read_peer(&ufrag) {
                Ok(bytes) => reseal(&bytes, &ufrag, &keys, &keys[0].sealing(), last_boot),
                // Removed meanwhile.
                Err(Unread::Missing) => continue,
                Err(Unread::Fault(fault)) => Err(fault),
                Err(Unread::Failed(error)) => return Err(error),
            };
            match resealed {
                // Already encrypted for the first identity.
                Ok((_, 0)) => outcome.peers += 1,
                Ok((sealed, _)) => match self.storage.write_peer(&ufrag, &sealed) {
                    Ok(()) => outcome.peers += 1,
                    // Its new node does that.
                    Err(VaultError::NotOwner) => {}
                    Err(error) => return Err(error),
                },
                Err(fault) => {
                    tracing::warn!(%fault, "a peer's file cannot be put under the new key: left as \
                                            it is");
                    outcome.unusable += 1;
                }
            }
        }
        outcome.set_aside = self.storage.set_aside_count();
        Ok(outcome)
    }

    /// Encrypts `identity.age` for the first key, and from now on all that is written. Returns the
    /// boot that no record can be newer than.
    fn take_key(&self, keys: &[OpeningKey]) -> Result<u64, VaultError> {
        let sealing = keys[0].sealing();
        if self.shared.is_some() {
            return self.change_shared_key(keys, sealing);
        }
        stored_identity(&*self.storage, keys)?;
        self.change_key(sealing)?;
        Ok(self.boot)
    }
}
