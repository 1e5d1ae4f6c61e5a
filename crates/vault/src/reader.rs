//! Reads the peers of earlier boots on demand.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use rekindle_ids::{Ufrag, hex};

use crate::error::{FileFault, VaultError};
use crate::key::KeyFile;
use crate::layout::{file_name, path_in_vault};
use crate::opening::boot_of_identity;
use crate::record::{Header, PeerRecord};
use crate::seal::{OpeningKey, unseal};
use crate::storage::{Storage, Unread};

/// Reads the peers' files of earlier boots. Holds the key file's identities; dropping it wipes
/// them, so drop it when all peers are read or the resume window has ended. Several threads may
/// read at once, each another peer.
pub struct Reader {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) keys: KeyFile,
    names: Mutex<HashSet<Ufrag>>,
    /// The boot in `identity.age` when it was last read.
    pub(crate) last_boot: AtomicU64,
    /// This boot.
    boot: u64,
}

impl Reader {
    /// Lists the peers' files without reading any.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        keys: KeyFile,
        last_boot: u64,
        boot: u64,
    ) -> Result<Self, VaultError> {
        let names = storage.peers()?.into_iter().collect();
        Ok(Self {
            storage,
            keys,
            names: Mutex::new(names),
            last_boot: AtomicU64::new(last_boot),
            boot,
        })
    }

    /// The peers that have a file and were not read yet, in no order.
    pub fn names(&self) -> Vec<Ufrag> {
        self.left().iter().cloned().collect()
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Ufrag>> {
        // No code that holds it can panic.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.left().len()
    }

    /// Whether there are none (left).
    pub fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    /// Whether this peer has a file that was not read yet.
    pub fn contains(&self, ufrag: &str) -> bool {
        self.left().contains(ufrag)
    }

    /// Reads a peer's record, once. `None` if there is none, or if its file cannot be used: then
    /// the file is moved to `set-aside/` and the log says why. The name of the file is logged at
    /// debug level only, since it identifies a peer; the warning has the first 32 bits of its
    /// SHA-256.
    ///
    /// A boot's number is durable before any record of it. So a record of a later boot than the one
    /// in `identity.age` at the start of this process means that `identity.age` is an old copy, and
    /// that somebody may want an old certificate back in use.
    ///
    /// # Errors
    /// [`VaultError::Io`] when the system cannot read the file; it can be tried again, and no
    /// server should stop for it. [`VaultError::RolledBack`] for a record that is newer than the
    /// identity: no server should continue. The record stays where it is.
    pub fn read(&self, ufrag: &Ufrag) -> Result<Option<PeerRecord>, VaultError> {
        if !self.left().contains(ufrag) {
            return Ok(None);
        }
        let result = match self.storage.read_peer(ufrag) {
            Ok(bytes) => self.open_file(ufrag, &bytes)?,
            Err(Unread::Missing) => {
                self.left().remove(ufrag);
                return Ok(None);
            }
            Err(Unread::Fault(fault)) => Err(fault),
            Err(Unread::Failed(error)) => return Err(error),
        };
        self.left().remove(ufrag);
        match result {
            Ok(peer) => Ok(Some(peer.record)),
            Err(FileFault::FutureBoot(record)) => Err(VaultError::RolledBack {
                path: self.storage.place().into(),
                identity: self.last_boot(),
                record,
            }),
            Err(fault) => {
                self.set_aside(ufrag, fault);
                Ok(None)
            }
        }
    }

    pub(crate) fn last_boot(&self) -> u64 {
        self.last_boot.load(Ordering::Relaxed)
    }

    /// A newer record is judged once more by the present `identity.age`, where other processes
    /// write it too.
    fn open_file(
        &self,
        ufrag: &Ufrag,
        bytes: &[u8],
    ) -> Result<Result<PeerFile, FileFault>, VaultError> {
        let keys = &self.keys.keys;
        let opened = open_peer(keys, ufrag, bytes, self.last_boot());
        if self.storage.folder().is_some() || !matches!(opened, Err(FileFault::FutureBoot(_))) {
            return Ok(opened);
        }
        let now = boot_of_identity(&*self.storage, keys)?;
        self.last_boot.fetch_max(now, Ordering::Relaxed);
        Ok(open_peer(keys, ufrag, bytes, self.last_boot()))
    }

    /// It is kept, since an operator may want to know what happened.
    fn set_aside(&self, ufrag: &Ufrag, fault: FileFault) {
        let file = file_name(ufrag);
        let digest = digest::digest(&digest::SHA256, file.as_bytes());
        let short = hex::encode(&digest.as_ref()[..4]);
        let name = format!("{ufrag}.{}.age", self.boot);
        match self.storage.set_aside(ufrag, &name) {
            Ok(()) => {
                tracing::warn!(file = %short, %fault, "a peer's file cannot be used: moved to \
                                                       set-aside/")
            }
            Err(error) => {
                tracing::warn!(file = %short, %fault, %error, "a peer's file cannot be used, nor \
                                                               moved to set-aside/: it is not \
                                                               read, and \
                     `rekindle audit` names it; take it out of peers/ by hand (`lsattr` and `ls \
                     -l` tell why it stays)");
            }
        }
        tracing::debug!(file = %short, name = file, "the file's name");
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} peers)", self.len())
    }
}

/// A peer's opened file.
#[derive(Debug)]
pub(crate) struct PeerFile {
    /// In which boot it was written, and when.
    pub header: Header,
    pub record: PeerRecord,
    /// The index of the key that opened it.
    pub key: usize,
}

/// Decrypts, verifies, decodes and checks a peer's file.
pub(crate) fn open_peer(
    keys: &[OpeningKey],
    ufrag: &Ufrag,
    file: &[u8],
    last_boot: u64,
) -> Result<PeerFile, FileFault> {
    let unsealed = unseal(keys, &path_in_vault(&file_name(ufrag)), file)?;
    let (header, record): (Header, PeerRecord) = unsealed.peer()?;
    if record.ice.ufrag != *ufrag {
        return Err(FileFault::WrongName);
    }
    record.check().map_err(FileFault::Unfit)?;
    if header.boot > last_boot {
        return Err(FileFault::FutureBoot(header.boot));
    }
    Ok(PeerFile {
        header,
        record,
        key: unsealed.key,
    })
}
