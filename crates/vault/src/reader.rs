//! Reads the peers of earlier boots, each when it is asked for.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::identity::hex;
use crate::key::KeyFile;
use crate::layout::{PEERS, SET_ASIDE, file_name, is_temporary, path_in_vault, ufrag_of};
use crate::record::{Header, Kind, PeerRecord};
use crate::seal::{OpeningKey, unseal};

/// Opens the peers' files of earlier boots. Holds the key file's identities; dropping it wipes
/// them, so drop it when all peers are read or the resume window has ended. Several threads may
/// read at once, each another peer.
pub struct Reader {
    pub(crate) root: Folder,
    peers: Folder,
    pub(crate) keys: KeyFile,
    names: Mutex<HashSet<Ufrag>>,
    /// The boot that `identity.age` said at the start.
    pub(crate) last_boot: u64,
    /// This boot.
    boot: u64,
}

impl Reader {
    /// Lists the peers' files; reads none.
    pub(crate) fn open(
        root: &Folder,
        keys: KeyFile,
        last_boot: u64,
        boot: u64,
    ) -> Result<Self, VaultError> {
        // Of its own, so that it works on wherever the vault goes.
        let root = root
            .sub(".")
            .map_err(|e| root.error("open the folder", e))?;
        let peers = root
            .sub(PEERS)
            .map_err(|e| root.error("open the folder peers/", e))?;
        let mut names = HashSet::new();
        let mut strange = 0_usize;
        for name in peers
            .names()
            .map_err(|e| peers.error("list the peers", e))?
        {
            match ufrag_of(&name) {
                Some(ufrag) => {
                    names.insert(ufrag);
                }
                None if is_temporary(&name) => {}
                None => strange += 1,
            }
        }
        if strange > 0 {
            tracing::warn!(
                strange,
                "files in peers/ that rekindle did not put there are left alone; see `rekindle \
                 audit`"
            );
        }
        Ok(Self {
            root,
            peers,
            keys,
            names: Mutex::new(names),
            last_boot,
            boot,
        })
    }

    /// The peers that have a file and were not read yet, in no order.
    pub fn names(&self) -> Vec<Ufrag> {
        self.left().iter().cloned().collect()
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Ufrag>> {
        // Nothing panics while it is held.
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
    /// the file is moved to `set-aside/` and the log says why. The name of the file is in the log
    /// at debug level only, since it leads to a peer; the warning has the first 32 bits of its
    /// SHA-256.
    ///
    /// A record of a boot that `identity.age` had not seen when this process started cannot be: a
    /// boot's number is durable before any record of it. So `identity.age` is an old copy, and
    /// perhaps an old certificate that somebody wants back in use.
    ///
    /// # Errors
    /// [`VaultError::Io`] when the system would not read the file; it can be tried again, and no
    /// server should stop for it. [`VaultError::RolledBack`] for a record that is ahead of the
    /// identity: no server should go on. It stays where it is.
    pub fn read(&self, ufrag: &Ufrag) -> Result<Option<PeerRecord>, VaultError> {
        if !self.left().contains(ufrag) {
            return Ok(None);
        }
        let file = file_name(ufrag);
        let result = match self.peers.read(&file, Kind::PEER.file_limit()) {
            Ok(bytes) => open_peer(&self.keys.keys, ufrag, &bytes, self.last_boot),
            Err(ReadError::Missing) => {
                self.left().remove(ufrag);
                return Ok(None);
            }
            Err(ReadError::Fault(fault)) => Err(fault),
            Err(ReadError::Io(e)) => return Err(self.peers.error("read a peer's record", e)),
        };
        self.left().remove(ufrag);
        if let Err(FileFault::FutureBoot(record)) = result {
            return Err(VaultError::RolledBack {
                path: self.root.path().into(),
                identity: self.last_boot,
                record,
            });
        }
        match result {
            Ok(peer) => Ok(Some(peer.record)),
            Err(fault) => {
                self.set_aside(&file, fault);
                Ok(None)
            }
        }
    }

    /// Out of the way, but not out of the world: somebody may want to know what happened.
    fn set_aside(&self, file: &str, fault: FileFault) {
        let digest = digest::digest(&digest::SHA256, file.as_bytes());
        let short = hex(&digest.as_ref()[..4]);
        let stem = file.strip_suffix(".age").unwrap_or(file);
        let moved = self.root.sub_or_create(SET_ASIDE).and_then(|folder| {
            self.peers
                .rename_into(file, &folder, format!("{stem}.{}.age", self.boot))
        });
        match moved {
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

/// A peer's file, opened.
#[derive(Debug)]
pub(crate) struct PeerFile {
    /// When it was written, and in which boot.
    pub header: Header,
    pub record: PeerRecord,
    /// Which of the keys opened it.
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
