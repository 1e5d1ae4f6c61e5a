//! What is looked at before a vault is used: the folder, and whose it is.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::identity::Identities;
use crate::layout::{
    IDENTITY, LOCK, LOST_AND_FOUND, PEERS, REKEY_COMMITTED, SET_ASIDE, is_temporary,
};
use crate::record::{Header, Kind};
use crate::seal::{OpeningKey, unseal};

/// The vault's folder, checked; `None` if there is nothing of that name.
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

/// Reads `identity.age`: the identities, and the header with the boot it was written in. `None` if
/// neither it nor any peer is there.
pub(crate) fn load_identity(
    root: &Folder,
    keys: &[OpeningKey],
) -> Result<Option<(Identities, Header)>, VaultError> {
    let damaged = |cause| VaultError::IdentityDamaged {
        path: root.path().into(),
        cause,
    };
    // Where a rekey was cut off after its point of no return, the identity may still be in its
    // folder.
    let file = match identity_folder(root)?
        .as_ref()
        .unwrap_or(root)
        .read(IDENTITY, Kind::IDENTITY.file_limit())
    {
        Ok(file) => file,
        Err(ReadError::Missing) => {
            return match count_others(root)? {
                0 => Ok(None),
                files => Err(VaultError::IdentityMissing {
                    path: root.path().into(),
                    files,
                }),
            };
        }
        Err(ReadError::Fault(fault)) => return Err(damaged(fault)),
        Err(ReadError::Io(e)) => return Err(root.error("read identity.age", e)),
    };
    let unsealed = unseal(keys, IDENTITY, &file).map_err(|fault| match fault {
        FileFault::ForeignRecipient => VaultError::WrongKey(root.path().into()),
        FileFault::FullState => VaultError::FullState(root.path().into()),
        fault => damaged(fault),
    })?;
    let (header, record) = unsealed.identity().map_err(damaged)?;
    let identities =
        Identities::from_record(&record).ok_or_else(|| damaged(FileFault::Malformed))?;
    Ok(Some((identities, header)))
}

/// How many files there are that only a vault with an identity can hold.
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

/// A vault is not made among somebody's other files.
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

/// The folder of a rekey that went past its point of no return, while the identity is still in it.
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
