//! What a server writes to its disk. The sandbox allows it to write only to its state folder, so
//! that folder is watched.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{ffi, fs, io};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use serde::Serialize;

/// What happened in a state folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Written {
    /// Changes of any kind that the kernel reported: files created, written, renamed, removed.
    pub changes: u64,
    /// Files that were moved into place.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Watches a state folder.
pub(crate) struct Watch {
    inotify: OwnedFd,
    folders: Vec<(i32, PathBuf)>,
}

impl Watch {
    /// Watches a state folder and the folders in it.
    ///
    /// # Errors
    /// Where the system gives no watch.
    pub(super) fn new(state: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inside = fs::read_dir(state)?.flatten().map(|entry| entry.path());
        let folders = inside
            .filter(|path| path.is_dir())
            .chain([state.to_owned()]);
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB;
        let folders = folders
            .map(|path| Ok((inotify::add_watch(&inotify, &path, flags)?, path)))
            .collect::<io::Result<_>>()?;
        Ok(Self { inotify, folders })
    }

    /// What happened since the last call.
    pub(super) fn take(&mut self) -> Written {
        let mut written = Written::default();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            written.changes += 1;
            if event.events().contains(ReadFlags::MOVED_TO) {
                written.files += 1;
                let folder = self
                    .folders
                    .iter()
                    .find(|(wd, _)| *wd == event.wd())
                    .map(|(_, path)| path);
                let name = event
                    .file_name()
                    .map(|name| ffi::OsStr::from_bytes(name.to_bytes()));
                let size = folder
                    .zip(name)
                    .and_then(|(folder, name)| fs::metadata(folder.join(name)).ok());
                written.bytes += size.map_or(0, |meta| meta.len());
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_put_in_place_are_counted_and_reading_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let peers = folder.path().join("peers");
        fs::create_dir(&peers).expect("a folder");
        let mut watch = Watch::new(folder.path()).expect("a watch");
        assert_eq!(watch.take(), Written::default());
        fs::write(peers.join(".new"), [7; 300]).expect("written");
        fs::rename(peers.join(".new"), peers.join("a")).expect("renamed");
        let written = watch.take();
        assert_eq!((written.files, written.bytes), (1, 300));
        assert!(written.changes >= 3, "{written:?}");
        fs::read(peers.join("a")).expect("read");
        assert_eq!(watch.take(), Written::default());
    }
}
