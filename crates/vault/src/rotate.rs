//! Another key file for a vault in use.

use crate::error::{FileFault, VaultError};
use crate::key::KeyFile;
use crate::layout::{SET_ASIDE, file_name, ufrag_of};
use crate::opening::load_identity;
use crate::rekey::{Outcome, reseal};
use crate::store::Vault;

impl Vault {
    /// Takes a key file that was changed while the vault is in use, and puts every file under its
    /// first identity. It must still hold the identities that open the files now, so that a kill at
    /// any moment loses nothing: the operator removes them afterwards. Blocks for the disk; peers
    /// can be saved meanwhile. Wait until the [`Reader`](super::Reader) has read all peers of
    /// earlier boots: it has no keys but those it was made with.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] if the key file does not open the vault: then nothing was changed.
    /// What reading and writing can give: then some files are under the new identity already; it
    /// can be tried again.
    pub fn rotate(&self, keys: KeyFile) -> Result<Outcome, VaultError> {
        let keys = keys.keys;
        load_identity(&self.root, &keys)?;
        self.change_key(keys[0].sealing())?;
        let mut outcome = Outcome::default();
        for name in self
            .peers
            .names()
            .map_err(|e| self.peers.error("list the peers", e))?
        {
            let Some(ufrag) = ufrag_of(&name) else {
                continue;
            };
            let _turn = self.turn(&ufrag);
            match reseal(&self.peers, &ufrag, &keys, &keys[0].sealing(), self.boot)? {
                // Under the first identity already, or removed meanwhile.
                Ok((_, 0)) => outcome.peers += 1,
                Ok((sealed, _)) => {
                    let written = self.peers.replace(&file_name(&ufrag), &sealed);
                    written.map_err(|e| self.peers.write_error("a peer's record", e))?;
                    outcome.peers += 1;
                }
                Err(FileFault::Unreadable) if !self.peers.has(&name).unwrap_or(true) => {}
                Err(fault) => {
                    tracing::warn!(%fault, "a peer's file cannot be put under the new key: left as \
                                            it is");
                    outcome.unusable += 1;
                }
            }
        }
        outcome.set_aside = self
            .root
            .sub(SET_ASIDE)
            .and_then(|f| f.names())
            .map_or(0, |names| names.len());
        Ok(outcome)
    }
}
