//! The lock of the vault.

use std::fs::TryLockError;

use super::{CouldNotLook, Folder, LOCK, Lock, Place, Walk};

/// Takes the lock and releases it at once. A server that starts at this moment waits for it.
pub(super) fn who_has_it(root: &Folder) -> Lock {
    let Ok(file) = root.open_to_look(LOCK) else {
        return Lock::Unknown;
    };
    match file.try_lock_shared() {
        Ok(()) => Lock::Free,
        Err(TryLockError::WouldBlock) => Lock::Held,
        Err(TryLockError::Error(_)) => Lock::Unknown,
    }
}

impl Walk<'_> {
    pub(super) fn lock(&mut self, root: &Folder) -> Result<(), CouldNotLook> {
        if self
            .entry(root, LOCK, LOCK, Place::Lock)?
            .is_some_and(|stat| stat.st_size > 0)
        {
            self.report
                .finding("unaccounted", LOCK, "the lock is not empty");
        }
        Ok(())
    }
}
