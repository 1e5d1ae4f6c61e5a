//! The files of full-state mode: `sessions/<ufrag>.age` and `counters.age`. A part of `vault`.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::SystemTime;

use rekindle_full_state::record::{Counters, SessionRecord, limits};
use rekindle_ids::Ufrag;

use crate::clock::unix_seconds;
use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::layout::{self, PEERS, SESSIONS, file_name, session_path, ufrag_of};
use crate::record::{Header, Kind, full_state, limits as files};
use crate::seal::{decode_within, seal, unseal};
use crate::{KeyFile, Opened, Reader, Vault};

/// An identity like any other, of a vault in which session keys are kept.
const IDENTITY: Kind = Kind::new(full_state::IDENTITY, files::IDENTITY_FILE);
/// A peer's session keys.
pub(crate) const SESSION: Kind = Kind::new(full_state::SESSION, files::SESSION_FILE);
/// The counters of all sessions.
pub(crate) const COUNTERS: Kind = Kind::new(full_state::COUNTERS, files::COUNTERS_FILE);

/// Whether this build has code for the kind with this byte in its header.
pub(crate) fn has_code_for(byte: u8) -> bool {
    [IDENTITY, SESSION, COUNTERS]
        .iter()
        .any(|kind| kind.byte() == byte)
}

impl Vault {
    /// As [`Vault::open`], for full-state mode: `identity.age` says from now on that session keys
    /// may be here.
    ///
    /// # Errors
    /// Those of [`Vault::open`].
    pub fn open_full_state(
        dir: &std::path::Path,
        keys: KeyFile,
        now: SystemTime,
    ) -> Result<Opened, VaultError> {
        Self::open_as(dir, keys, now, IDENTITY)
    }

    /// Writes a peer's session keys, durably, if the peer still has a record.
    pub fn save_session(&self, session: &SessionRecord, now: SystemTime) -> Result<(), VaultError> {
        // Only then does `identity.age` say what the folder may contain.
        self.commit_boot()?;
        let file = file_name(&session.ufrag);
        let header = Header::new(SESSION, self.boot, unix_seconds(now));
        let folder = self.sessions()?;
        let _turn = self.turn(&session.ufrag);
        let root = self.root()?;
        let known = root
            .sub(PEERS)
            .and_then(|peers| peers.has(&file))
            .map_err(|e| root.error("look for a peer", e))?;
        if !known {
            return Ok(());
        }
        let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = seal(
            &key,
            &session_path(&file),
            &header,
            session,
            2 * limits::MATERIAL,
        );
        folder
            .replace(&file, &sealed)
            .map_err(|e| folder.write_error("a session", e))
    }

    /// Writes the counters of all sessions, durably.
    pub fn save_counters(&self, counters: &Counters, now: SystemTime) -> Result<(), VaultError> {
        #[cfg(rekindle_kill_points)]
        if rekindle_full_state::kill_points::lies() {
            return Ok(());
        }
        let header = Header::new(COUNTERS, self.boot, unix_seconds(now));
        let streams: usize = counters
            .sessions
            .iter()
            .map(|s| 96 + 32 * (s.sent.len() + s.received.len()))
            .sum();
        let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = seal(&key, layout::COUNTERS, &header, counters, streams + 32);
        let root = self.root()?;
        root.replace(layout::COUNTERS, &sealed)
            .map_err(|e| root.write_error(layout::COUNTERS, e))
    }

    /// Removes a peer's session keys, durably. Returns whether there were any.
    pub fn remove_session(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let _turn = self.turn(ufrag);
        self.remove_session_in_turn(ufrag)
    }

    /// The same, for a caller that has the peer's turn.
    pub(crate) fn remove_session_in_turn(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let Some(root) = self.storage.folder() else {
            return Ok(false);
        };
        match root.sub(SESSIONS) {
            Ok(folder) => folder
                .remove(&file_name(ufrag))
                .map_err(|e| folder.error("remove a session", e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(root.error("open the folder sessions/", e)),
        }
    }

    fn sessions(&self) -> Result<Folder, VaultError> {
        let root = self.root()?;
        root.sub_or_create(SESSIONS)
            .map_err(|e| root.error("open or create the folder sessions/", e))
    }

    /// The folder in which session keys may be kept.
    fn root(&self) -> Result<&Folder, VaultError> {
        self.storage.folder().ok_or(VaultError::FolderOnly)
    }
}

/// To be called under the lock, once the key file has proved to open the vault. Full-state mode
/// removes what a killed process was writing. The default mode removes all session keys before it
/// starts, and then writes in `identity.age` that there are none.
pub(crate) fn prepare(root: &Folder, identity: Kind) -> Result<(), VaultError> {
    if identity == Kind::IDENTITY {
        return wipe(root);
    }
    let sessions = root
        .sub_or_create(SESSIONS)
        .map_err(|e| root.error("open or create the folder sessions/", e))?;
    sessions.refuse_if_shared()?;
    sessions
        .remove_temporary()
        .map_err(|e| sessions.error("remove temporary files", e))?;
    Ok(())
}

/// Removes all session keys and counters, durably.
pub(crate) fn wipe(root: &Folder) -> Result<(), VaultError> {
    let failed = |e| root.error("remove session keys", e);
    let had = root.has(SESSIONS).map_err(failed)?;
    root.remove_folder(SESSIONS).map_err(failed)?;
    root.remove(layout::COUNTERS).map_err(failed)?;
    if had {
        tracing::warn!(
            "session keys that full-state mode had kept were removed; what the disk has kept of \
             them it may still have"
        );
    }
    Ok(())
}

impl Reader {
    /// The peers that have session keys here.
    pub fn sessions(&self) -> HashSet<Ufrag> {
        let folder = self
            .storage
            .folder()
            .and_then(|root| root.sub(SESSIONS).ok());
        let Some(names) = folder.and_then(|folder| folder.names().ok()) else {
            return HashSet::new();
        };
        names.iter().filter_map(ufrag_of).collect()
    }

    /// Reads a peer's session keys. `None` if there are none, or if they cannot be used; the log
    /// says why.
    pub fn read_session(&self, ufrag: &Ufrag) -> Option<SessionRecord> {
        let file = file_name(ufrag);
        let folder = self.storage.folder()?.sub(SESSIONS).ok()?;
        let bytes = read(&folder, &file, SESSION)?;
        let opened = unseal(&self.keys.keys, &session_path(&file), &bytes)
            .and_then(|unsealed| {
                decode_within::<SessionRecord, { files::SESSION_FILE }>(SESSION, unsealed.content())
            })
            .and_then(|(header, session)| match header.boot {
                boot if boot > self.last_boot() => Err(FileFault::FutureBoot(boot)),
                _ if session.ufrag != *ufrag => Err(FileFault::WrongName),
                _ => Ok(session),
            });
        match opened {
            Ok(session) => Some(session),
            Err(fault) => {
                tracing::warn!(%fault, "a peer's session keys cannot be used; it has to run a \
                                        handshake");
                None
            }
        }
    }

    /// Reads the counters of all sessions. Without them no session can be taken over.
    pub fn read_counters(&self) -> Counters {
        let root = self.storage.folder();
        let Some(bytes) = root.and_then(|root| read(root, layout::COUNTERS, COUNTERS)) else {
            return Counters::default();
        };
        let opened = unseal(&self.keys.keys, layout::COUNTERS, &bytes)
            .and_then(|unsealed| {
                decode_within::<Counters, { files::COUNTERS_FILE }>(COUNTERS, unsealed.content())
            })
            .and_then(|(header, counters)| match header.boot {
                // A start writes them before the boot's number.
                boot if boot > self.last_boot().saturating_add(1) => {
                    Err(FileFault::FutureBoot(boot))
                }
                _ if !counters.fits() => Err(FileFault::Malformed),
                _ => Ok(counters),
            });
        opened.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "counters.age cannot be used: no session can be taken over, and \
                                    every browser has to run a handshake");
            Counters::default()
        })
    }
}

fn read(folder: &Folder, file: &str, kind: Kind) -> Option<Vec<u8>> {
    match folder.read(file, kind.file_limit()) {
        Ok(bytes) => Some(bytes),
        Err(ReadError::Missing) => None,
        Err(ReadError::Fault(fault)) => {
            tracing::warn!(%fault, "a file of full-state mode cannot be used");
            None
        }
        Err(ReadError::Io(error)) => {
            tracing::warn!(%error, "a file of full-state mode cannot be read");
            None
        }
    }
}
