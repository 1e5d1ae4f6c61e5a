//! Taking over a peer of another node.

use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::key::KeyFile;
use crate::layout::{file_name, path_in_vault};
use crate::opening::boot_of_identity;
use crate::reader::open_peer;
use crate::record::{Kind, PeerRecord};
use crate::seal::OpeningKey;
use crate::store::Vault;

use super::{Change, Condition, Entry, Shared, owner_key};

/// How often a peer's file may change while it is being taken over.
const ATTEMPTS: usize = 8;
/// Peers whose owners are asked for in one question: etcd takes 128 operations at once.
const AT_ONCE: usize = 64;

impl Vault {
    /// Takes over a peer whose record any node has, and returns the record. From then on only this
    /// node can change it: one transaction makes it the owner, if neither owner nor record has
    /// changed since they were read. A peer of this node is simply returned. The keys are used for
    /// this call only.
    ///
    /// `None` if there is no such record, if it cannot be used, or if it uses a certificate that
    /// this process does not know ([`identities_now`](Vault::identities_now)); the log says why,
    /// and the record stays with its owner. In a folder always `None`.
    ///
    /// # Errors
    /// [`VaultError::NotOwner`] if another process is this node now, [`VaultError::RolledBack`] for
    /// a record that is newer than `identity.age`; [`VaultError::Unavailable`],
    /// [`VaultError::Full`].
    pub fn adopt(&self, ufrag: &Ufrag, keys: &KeyFile) -> Result<Option<PeerRecord>, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(None);
        };
        let what = "take over a peer";
        let _turn = self.turn(ufrag);
        let (owner_key, file_key) = (owner_key(ufrag), path_in_vault(&file_name(ufrag)));
        let me = shared.store.node().as_bytes();
        for _ in 0..ATTEMPTS {
            let [owner, file] = shared.read(what, [&owner_key, &file_key])?;
            let Some(file) = file else {
                return Ok(None);
            };
            let Some(record) = self.usable(shared, ufrag, &file, &keys.keys)? else {
                return Ok(None);
            };
            let conditions = [
                Condition::Unchanged(&owner_key, owner.as_ref().map_or(0, |o| o.revision)),
                Condition::Unchanged(&file_key, file.revision),
                shared.is_this_process(),
            ];
            let known = shared.owned().contains(ufrag);
            if known && owner.is_some_and(|owner| owner.value == me) {
                return Ok(Some(record));
            }
            if shared.commit(what, &conditions, &[Change::Put(&owner_key, me)])? {
                shared.owned().insert(ufrag.clone());
                return Ok(Some(record));
            }
            shared.refuse_if_replaced()?;
        }
        Err(VaultError::Unavailable {
            what,
            cause: format!(
                "{}: other nodes change it all the time",
                shared.place.display()
            ),
        })
    }

    /// Whether this node may change a peer's record, as of now. In a folder it always may.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn owns(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let owned = self.owns_each(std::slice::from_ref(ufrag))?;
        Ok(owned.into_iter().all(|owned| owned))
    }

    /// The same of several peers.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`].
    pub fn owns_each(&self, ufrags: &[Ufrag]) -> Result<Vec<bool>, VaultError> {
        let Some(shared) = &self.shared else {
            return Ok(vec![true; ufrags.len()]);
        };
        let me = shared.store.node().as_bytes();
        let mut owned = Vec::with_capacity(ufrags.len());
        for ufrags in ufrags.chunks(AT_ONCE) {
            let keys: Vec<String> = ufrags.iter().map(owner_key).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let owners = shared.store.read(&keys);
            let owners = owners.map_err(|e| shared.error("look whose peers are", e))?;
            let mine = |owner: Option<Entry>| owner.is_some_and(|owner| owner.value == me);
            owned.extend(owners.into_iter().map(mine));
        }
        Ok(owned)
    }

    /// The record in a file, if this process can serve its peer.
    pub(super) fn usable(
        &self,
        shared: &Shared,
        ufrag: &Ufrag,
        file: &Entry,
        keys: &[OpeningKey],
    ) -> Result<Option<PeerRecord>, VaultError> {
        let opened = match file.value.len() > Kind::PEER.file_limit() {
            true => Err(FileFault::TooLarge),
            false => self.open_any(shared, ufrag, &file.value, keys)?,
        };
        match opened {
            Ok(record) if self.knows_certificate(&record) => Ok(Some(record)),
            Ok(_) => {
                tracing::warn!(
                    "a peer of another node is not taken over: it goes by a certificate that was \
                     made after this process read identity.age"
                );
                Ok(None)
            }
            Err(fault) => {
                tracing::warn!(%fault, "the file of another node's peer cannot be used: it is \
                                        left as it is");
                Ok(None)
            }
        }
    }

    fn open_any(
        &self,
        shared: &Shared,
        ufrag: &Ufrag,
        file: &[u8],
        keys: &[OpeningKey],
    ) -> Result<Result<PeerRecord, FileFault>, VaultError> {
        let known = self.own().header.boot;
        let mut opened = open_peer(keys, ufrag, file, known);
        if matches!(opened, Err(FileFault::FutureBoot(_))) {
            // Another node may have started since.
            let now = boot_of_identity(shared, keys)?;
            opened = open_peer(keys, ufrag, file, now);
            if let Err(FileFault::FutureBoot(record)) = opened {
                return Err(VaultError::RolledBack {
                    path: shared.place.clone(),
                    identity: now,
                    record,
                });
            }
            let mut own = self.own();
            own.header.boot = own.header.boot.max(now);
        }
        Ok(opened.map(|peer| peer.record))
    }

    /// Whether this process has the certificate in the answer, if the answer names one by its
    /// SHA-256 (RFC 8122 §5).
    fn knows_certificate(&self, record: &PeerRecord) -> bool {
        let own = self.own();
        let named = record
            .answer
            .lines()
            .find_map(|line| line.trim_end().strip_prefix("a=fingerprint:sha-256 "));
        named.is_none_or(|named| {
            own.identities
                .all()
                .any(|identity| fingerprint_is(named, &identity.sha256()))
        })
    }
}

/// Compares `AB:CD:...` with a hash.
fn fingerprint_is(text: &str, hash: &[u8; 32]) -> bool {
    let mut bytes = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok());
    hash.iter().all(|byte| bytes.next() == Some(Some(*byte))) && bytes.next().is_none()
}
