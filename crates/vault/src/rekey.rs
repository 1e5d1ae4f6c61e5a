//! Another key file for a vault: `rekindle rekey`. For a vault in use, see `rotate`.
//!
//! The files of a vault at rest are encrypted again beside the old ones, in the folder
//! `.tmp-rekey/`. One rename to `rekey/` is the point of no return: before it the old key file
//! opens the vault, after it the new one, and at no moment both or none. Then the new files are
//! moved to their places. If this is interrupted, the next process under the lock (this program run
//! again, or a server) completes it. So a kill at any moment loses no peer.

use std::io;

use rekindle_ids::Ufrag;

use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::key::KeyFile;
use crate::layout::{
    IDENTITY, OLD_PEERS, PEERS, REKEY_COMMITTED, REKEY_PREPARED, SET_ASIDE, file_name,
    is_temporary, path_in_vault, ufrag_of,
};
use crate::lock::take_lock;
use crate::opening::{load_identity, open_root};
use crate::reader::open_peer;
use crate::record::Kind;
use crate::seal::{OpeningKey, SealingKey, seal_identity, seal_peer};

/// The result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Peers' files that are now under the first identity of the new key file.
    pub peers: usize,
    /// Peers' files that could not be used; they were moved to `set-aside/`, or left in place in a
    /// vault in use.
    pub unusable: usize,
    /// Files in `set-aside/`, which keep their keys.
    pub set_aside: usize,
}

/// Re-encrypts a vault that is not in use: afterwards `new` opens it. Safe to kill at any moment.
///
/// Both key files may hold several identities; all files are encrypted for the first of `new`. Boot
/// numbers and times in the files do not change.
///
/// # Errors
/// [`VaultError::InUse`] while a server runs, [`VaultError::WrongKey`] if neither key file opens
/// the vault, and the errors of reading and writing. The vault is unchanged then.
pub fn rekey(dir: &std::path::Path, old: KeyFile, new: KeyFile) -> Result<Outcome, VaultError> {
    rekey_in_steps(dir, old, new, &mut || {})
}

/// [`rekey`]; calls `step` after every step that a kill could follow.
pub(crate) fn rekey_in_steps(
    dir: &std::path::Path,
    old: KeyFile,
    new: KeyFile,
    step: &mut dyn FnMut(),
) -> Result<Outcome, VaultError> {
    let root = open_root(dir)?.ok_or_else(|| VaultError::NotAFolder(dir.into()))?;
    let sealing = new.keys[0].sealing();
    let keys: Vec<OpeningKey> = new.keys.into_iter().chain(old.keys).collect();
    // Before anything is changed, and again once no other process writes.
    let missing = || VaultError::IdentityMissing {
        path: dir.into(),
        files: 0,
    };
    load_identity(&root, &keys)?.ok_or_else(missing)?;
    let _lock = take_lock(&root)?;
    finish(&root, step)?;
    // Session keys are not carried over: after a rekey, browsers run a handshake.
    crate::full_state::wipe(&root)?;
    let (identity, header) = load_identity(&root, &keys)?.ok_or_else(missing)?;

    let failed = |e| root.write_error("re-encrypted files", e);
    let prepared = root.sub_or_create(REKEY_PREPARED).map_err(failed)?;
    step();
    let outcome =
        prepare(&root, &prepared, &keys, &sealing, header.boot, step).inspect_err(|_| {
            let _ = discard(&root);
        })?;
    let sealed = seal_identity(&sealing, IDENTITY, &header, &identity.record());
    drop(identity);
    prepared
        .write_new(IDENTITY, &sealed)
        .and_then(|()| prepared.sync())
        .and_then(|()| {
            step();
            root.rename_into(REKEY_PREPARED, &root, REKEY_COMMITTED)
        })
        .and_then(|()| root.sync())
        .map_err(|e| {
            let _ = discard(&root);
            failed(e)
        })?;
    step();
    finish(&root, step)?;
    let set_aside = root
        .sub(SET_ASIDE)
        .and_then(|folder| folder.names())
        .map_or(0, |names| names.len());
    Ok(Outcome {
        set_aside,
        ..outcome
    })
}

/// Writes the peers' new files into the prepared folder.
fn prepare(
    root: &Folder,
    prepared: &Folder,
    keys: &[OpeningKey],
    sealing: &SealingKey,
    last_boot: u64,
    step: &mut dyn FnMut(),
) -> Result<Outcome, VaultError> {
    let failed = |e| root.write_error("re-encrypted files", e);
    let new_peers = prepared.sub_or_create(PEERS).map_err(failed)?;
    let peers = root
        .sub_or_create(PEERS)
        .map_err(|e| root.error("open the folder peers/", e))?;
    let mut outcome = Outcome::default();
    for name in peers
        .names()
        .map_err(|e| peers.error("list the peers", e))?
    {
        let Some(ufrag) = ufrag_of(&name) else {
            continue;
        };
        let resealed = match peers.read(&name, Kind::PEER.file_limit()) {
            Ok(bytes) => reseal(&bytes, &ufrag, keys, sealing, last_boot),
            Err(ReadError::Missing) => Err(FileFault::Unreadable),
            Err(ReadError::Fault(fault)) => Err(fault),
            Err(ReadError::Io(e)) => return Err(peers.error("read a peer's record", e)),
        };
        match resealed {
            Ok((sealed, _)) => {
                new_peers
                    .write_new(&file_name(&ufrag), &sealed)
                    .map_err(failed)?;
                outcome.peers += 1;
            }
            Err(_) => outcome.unusable += 1,
        }
        step();
    }
    new_peers.sync().map_err(failed)?;
    step();
    Ok(outcome)
}

/// Opens a peer's file and encrypts it for another key, keeping its boot number and time. Also
/// returns which key opened it.
pub(crate) fn reseal(
    file: &[u8],
    ufrag: &Ufrag,
    keys: &[OpeningKey],
    sealing: &SealingKey,
    last_boot: u64,
) -> Result<(Vec<u8>, usize), FileFault> {
    let peer = open_peer(keys, ufrag, file, last_boot)?;
    let name = path_in_vault(&file_name(ufrag));
    let sealed = seal_peer(sealing, &name, &peer.header, &peer.record);
    Ok((sealed, peer.key))
}

/// Completes an interrupted rekey, or removes one that had not reached its point of no return. To
/// be called only under the lock, and only when the key file has proved to open the vault.
pub(crate) fn finish(root: &Folder, step: &mut dyn FnMut()) -> Result<(), VaultError> {
    discard(root).map_err(|e| root.error("remove what is left of a rekey", e))?;
    move_into_place(root, step).map_err(|e| root.error("finish a rekey that was cut off", e))
}

/// Removes what was prepared but not committed.
fn discard(root: &Folder) -> io::Result<()> {
    match root.sub(REKEY_PREPARED) {
        Ok(prepared) => prepared
            .remove_folder(PEERS)
            .and_then(|()| root.remove_folder(REKEY_PREPARED)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Moves the new files to their places. Each step can be recognised as done or not done.
fn move_into_place(root: &Folder, step: &mut dyn FnMut()) -> io::Result<()> {
    if !root.has(REKEY_COMMITTED)? {
        return Ok(());
    }
    let new = root.sub(REKEY_COMMITTED)?;
    let both = |step: &mut dyn FnMut()| -> io::Result<()> {
        new.sync()?;
        root.sync()?;
        step();
        Ok(())
    };
    if new.has(PEERS)? {
        if root.has(PEERS)? {
            root.rename_into(PEERS, &new, OLD_PEERS)?;
            both(step)?;
        }
        new.rename_into(PEERS, root, PEERS)?;
        both(step)?;
    }
    if new.has(IDENTITY)? {
        new.rename_into(IDENTITY, root, IDENTITY)?;
        both(step)?;
    }
    if new.has(OLD_PEERS)? {
        empty_old_peers(root, &new.sub(OLD_PEERS)?, step)?;
        new.remove_folder(OLD_PEERS)?;
        step();
    }
    root.remove_folder(REKEY_COMMITTED)
}

/// Old files with a new version are removed; those that could not be opened are set aside; foreign
/// ones are moved back.
fn empty_old_peers(root: &Folder, old: &Folder, step: &mut dyn FnMut()) -> io::Result<()> {
    let peers = root.sub(PEERS)?;
    for name in old.names()? {
        match ufrag_of(&name) {
            _ if is_temporary(&name) && old.is_file(&name)? => continue,
            Some(_) if peers.has(&name)? => continue,
            Some(ufrag) => old.rename_into(
                &name,
                &root.sub_or_create(SET_ASIDE)?,
                format!("{ufrag}.rekey.age"),
            )?,
            None => old.rename_into(&name, &peers, &name)?,
        }
        step();
    }
    peers.sync()
}
