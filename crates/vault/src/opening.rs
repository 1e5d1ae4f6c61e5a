//! Checks before a vault is used: the folder, and its owner.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::error::{FileFault, VaultError};
use crate::files::Folder;
use crate::identity::Identities;
use crate::layout::{
    IDENTITY, LOCK, LOST_AND_FOUND, PEERS, REKEY_COMMITTED, SET_ASIDE, is_temporary,
};
use crate::record::Header;
use crate::seal::{OpeningKey, unseal};
use crate::storage::{Storage, Unread, read_identity};

/// The vault's folder, checked; `None` if it does not exist.
pub(crate) fn open_root(dir: &Path) -> Result<Option<Folder>, VaultError> {
    match Folder::open(dir) {
        Ok(root) => root.refuse_if_shared().map(|()| Some(root)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(VaultError::NotAFolder(dir.into()))
        }
        Err(cause) => Err(VaultError::Io {
            what: "open the folder",
            path: dir.into(),
            cause,
        }),
    }
}

/// Reads `identity.age`: the identities, and the header with the boot in which it was written.
/// `None` if neither it nor any peer exists.
pub(crate) fn load_identity(
    root: &Folder,
    keys: &[OpeningKey],
) -> Result<Option<(Identities, Header)>, VaultError> {
    match read_identity(root) {
        Ok(file) => open_identity(root.path(), keys, &file).map(Some),
        Err(Unread::Missing) => match count_others(root)? {
            0 => Ok(None),
            files => Err(VaultError::IdentityMissing {
                path: root.path().into(),
                files,
            }),
        },
        Err(Unread::Fault(cause)) => Err(VaultError::IdentityDamaged {
            path: root.path().into(),
            cause,
        }),
        Err(Unread::Failed(error)) => Err(error),
    }
}

/// The same from any storage, with the revision of the file.
pub(crate) fn stored_identity(
    storage: &dyn Storage,
    keys: &[OpeningKey],
) -> Result<Option<(Identities, Header, u64)>, VaultError> {
    match storage.read_identity() {
        Ok((file, revision)) => {
            let (identities, header) = open_identity(storage.place(), keys, &file)?;
            Ok(Some((identities, header, revision)))
        }
        Err(Unread::Missing) => Ok(None),
        Err(Unread::Fault(cause)) => Err(VaultError::IdentityDamaged {
            path: storage.place().into(),
            cause,
        }),
        Err(Unread::Failed(error)) => Err(error),
    }
}

/// The boot in `identity.age` now.
pub(crate) fn boot_of_identity(
    storage: &dyn Storage,
    keys: &[OpeningKey],
) -> Result<u64, VaultError> {
    let stored = stored_identity(storage, keys)?;
    let (_, header, _) = stored.ok_or_else(|| VaultError::IdentityMissing {
        path: storage.place().into(),
        files: 1,
    })?;
    Ok(header.boot)
}

/// Decrypts, verifies and decodes the `identity.age` of the vault at `place`.
pub(crate) fn open_identity(
    place: &Path,
    keys: &[OpeningKey],
    file: &[u8],
) -> Result<(Identities, Header), VaultError> {
    let damaged = |cause| VaultError::IdentityDamaged {
        path: place.into(),
        cause,
    };
    let unsealed = unseal(keys, IDENTITY, file).map_err(|fault| match fault {
        FileFault::ForeignRecipient => VaultError::WrongKey(place.into()),
        FileFault::FullState => VaultError::FullState(place.into()),
        fault => damaged(fault),
    })?;
    let (header, record) = unsealed.identity().map_err(damaged)?;
    let identities =
        Identities::from_record(&record).ok_or_else(|| damaged(FileFault::Malformed))?;
    Ok((identities, header))
}

/// How many files there are that only a vault with an identity can contain.
fn count_others(root: &Folder) -> Result<usize, VaultError> {
    let mut files = 0;
    for name in [PEERS, SET_ASIDE] {
        match root.sub(name).and_then(|folder| folder.names()) {
            Ok(names) => files += names.iter().filter(|n| !is_temporary(n)).count(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(root.error("look for peers", e)),
        }
    }
    Ok(files)
}

/// A vault is not made among other files.
pub(crate) fn refuse_if_not_empty(root: &Folder) -> Result<(), VaultError> {
    let known = [LOCK, PEERS, SET_ASIDE, LOST_AND_FOUND, REKEY_COMMITTED];
    let ours = |name: &OsStr| known.iter().any(|known| name == *known) || is_temporary(name);
    let names = root.names().map_err(|e| root.error("list the folder", e))?;
    match names.into_iter().find(|n| !ours(n)) {
        Some(found) => Err(VaultError::NotEmpty {
            path: root.path().into(),
            found: found.to_string_lossy().into_owned(),
        }),
        None => Ok(()),
    }
}

/// The folder of a rekey that has passed its point of no return, while the identity is still in it.
pub(crate) fn identity_folder(root: &Folder) -> Result<Option<Folder>, VaultError> {
    match root.sub(REKEY_COMMITTED) {
        Ok(folder) => {
            folder.refuse_if_shared()?;
            let here = folder
                .has(IDENTITY)
                .map_err(|e| root.error("look into the folder rekey/", e))?;
            Ok(here.then_some(folder))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(root.error("open the folder rekey/", e)),
    }
}
