//! The lock of a vault: only one process writes.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use crate::error::VaultError;
use crate::files::Folder;
use crate::layout::LOCK;

/// A process that was just killed may hold the lock until the kernel has cleaned up.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// When to log that the lock is waited for.
const LOCK_NEWS: Duration = Duration::from_millis(200);
/// Interval between attempts.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);

/// What a process holds while it uses a vault.
pub(crate) struct Lock {
    /// The folder itself: nobody can remove this lock.
    _folder: File,
    /// The file in it, which shows an auditor that the vault is in use.
    _file: File,
}

/// Takes the lock of the folder, or gives up after a few seconds.
pub(crate) fn take_lock(root: &Folder) -> Result<Lock, VaultError> {
    let start = Instant::now();
    let folder = root
        .to_lock()
        .map_err(|e| root.error("open the folder", e))?;
    let mut said = false;
    loop {
        let file = root
            .open_lock(LOCK)
            .map_err(|e| root.error("open the lock", e))?;
        match folder.try_lock().and_then(|()| file.try_lock()) {
            // The file may have been removed between the two steps: then the lock is on a file that
            // nobody else will find.
            Ok(())
                if root
                    .is_same(LOCK, &file)
                    .map_err(|e| root.error("check the lock", e))? =>
            {
                return Ok(Lock {
                    _folder: folder,
                    _file: file,
                });
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(root.error("take the lock", e)),
        }
        if !std::mem::replace(&mut said, start.elapsed() >= LOCK_NEWS) && said {
            tracing::info!("another process uses the vault: waiting for it to end");
        }
        if start.elapsed() >= LOCK_PATIENCE {
            return Err(VaultError::InUse(root.path().into()));
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}
