//! What the vault needs of the place where its files are. A folder is one implementation;
//! [`crate::shared`] uses a store that several processes share.

use std::path::Path;

use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::layout::{IDENTITY, PEERS, SET_ASIDE, file_name, is_temporary, ufrag_of};
use crate::opening::identity_folder;
use crate::record::Kind;

/// A place for `identity.age` and the peers' files. Data is durable when a call that writes it
/// returns `Ok`, and otherwise unchanged or absent, unless the place cannot tell
/// ([`VaultError::Unavailable`]). All calls block.
pub(crate) trait Storage: Send + Sync {
    /// Its path or address, for messages.
    fn place(&self) -> &Path;

    /// The folder, for what only a folder has: a lock, session keys.
    fn folder(&self) -> Option<&Folder> {
        None
    }

    /// Reads `identity.age`; also returns its revision, 0 where no other process writes.
    fn read_identity(&self) -> Result<(Vec<u8>, u64), Unread>;

    /// Replaces `identity.age`, unless another process has since it had this revision (0: since it
    /// did not exist): then returns `false`, and nothing was written.
    fn write_identity(&self, sealed: &[u8], revision: u64) -> Result<bool, VaultError>;

    /// The peers whose files this process may read and write, in no order.
    fn peers(&self) -> Result<Vec<Ufrag>, VaultError>;

    /// Reads a peer's file.
    fn read_peer(&self, ufrag: &Ufrag) -> Result<Vec<u8>, Unread>;

    /// Writes a peer's file, new or not.
    fn write_peer(&self, ufrag: &Ufrag, sealed: &[u8]) -> Result<(), VaultError>;

    /// Removes a peer's file; returns whether it existed.
    fn remove_peer(&self, ufrag: &Ufrag) -> Result<bool, VaultError>;

    /// Moves a peer's file to `set-aside/`, under another name.
    fn set_aside(&self, ufrag: &Ufrag, name: &str) -> Result<(), VaultError>;

    /// The number of files in `set-aside/`, if it is known.
    fn set_aside_count(&self) -> usize;
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// There is no such file, or it is another process's.
    Missing,
    /// It exists, but must not be read.
    Fault(FileFault),
    /// Trying again later may help.
    Failed(VaultError),
}

impl Unread {
    fn of(folder: &Folder, what: &'static str, error: ReadError) -> Self {
        match error {
            ReadError::Missing => Self::Missing,
            ReadError::Fault(fault) => Self::Fault(fault),
            ReadError::Io(cause) => Self::Failed(folder.error(what, cause)),
        }
    }
}

/// The folders of a vault, held open.
pub(crate) struct FolderStorage {
    root: Folder,
    peers: Folder,
}

impl FolderStorage {
    pub(crate) fn new(root: Folder, peers: Folder) -> Self {
        Self { root, peers }
    }

    /// The same folders, opened again.
    pub(crate) fn reopen(&self) -> Result<Self, VaultError> {
        let root = self
            .root
            .sub(".")
            .map_err(|e| self.root.error("open the folder", e))?;
        let peers = root
            .sub(PEERS)
            .map_err(|e| root.error("open the folder peers/", e))?;
        Ok(Self { root, peers })
    }
}

impl Storage for FolderStorage {
    fn place(&self) -> &Path {
        self.root.path()
    }

    fn folder(&self) -> Option<&Folder> {
        Some(&self.root)
    }

    fn read_identity(&self) -> Result<(Vec<u8>, u64), Unread> {
        Ok((read_identity(&self.root)?, 0))
    }

    fn write_identity(&self, sealed: &[u8], _: u64) -> Result<bool, VaultError> {
        self.root
            .replace(IDENTITY, sealed)
            .map_err(|e| self.root.write_error(IDENTITY, e))?;
        // No other process writes: the folder is locked.
        Ok(true)
    }

    fn peers(&self) -> Result<Vec<Ufrag>, VaultError> {
        let names = self.peers.names();
        let names = names.map_err(|e| self.peers.error("list the peers", e))?;
        let strange = names
            .iter()
            .filter(|name| ufrag_of(name).is_none() && !is_temporary(name))
            .count();
        if strange > 0 {
            tracing::warn!(
                strange,
                "files in peers/ that rekindle did not put there are left alone; see `rekindle \
                 audit`"
            );
        }
        Ok(names.iter().filter_map(ufrag_of).collect())
    }

    fn read_peer(&self, ufrag: &Ufrag) -> Result<Vec<u8>, Unread> {
        self.peers
            .read(file_name(ufrag), Kind::PEER.file_limit())
            .map_err(|e| Unread::of(&self.peers, "read a peer's record", e))
    }

    fn write_peer(&self, ufrag: &Ufrag, sealed: &[u8]) -> Result<(), VaultError> {
        self.peers
            .replace(&file_name(ufrag), sealed)
            .map_err(|e| self.peers.write_error("a peer's record", e))
    }

    fn remove_peer(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        self.peers
            .remove(&file_name(ufrag))
            .map_err(|e| self.peers.error("remove a peer's record", e))
    }

    fn set_aside(&self, ufrag: &Ufrag, name: &str) -> Result<(), VaultError> {
        self.root
            .sub_or_create(SET_ASIDE)
            .and_then(|folder| self.peers.rename_into(file_name(ufrag), &folder, name))
            .map_err(|e| self.peers.error("move a peer's file to set-aside/", e))
    }

    fn set_aside_count(&self) -> usize {
        self.root
            .sub(SET_ASIDE)
            .and_then(|folder| folder.names())
            .map_or(0, |names| names.len())
    }
}

/// Reads `identity.age`. If a rekey was interrupted after its point of no return, it may still be
/// in that rekey's folder.
pub(crate) fn read_identity(root: &Folder) -> Result<Vec<u8>, Unread> {
    let folder = identity_folder(root).map_err(Unread::Failed)?;
    folder
        .as_ref()
        .unwrap_or(root)
        .read(IDENTITY, Kind::IDENTITY.file_limit())
        .map_err(|e| Unread::of(root, "read identity.age", e))
}
