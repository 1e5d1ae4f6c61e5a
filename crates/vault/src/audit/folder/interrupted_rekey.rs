//! The content of the folder of a running or interrupted rekey.

use super::{
    CouldNotLook, FileFault, Folder, IDENTITY, Named, PEERS, Place, Walk, limits, path_in_vault,
    ufrag_of,
};
use crate::layout::OLD_PEERS;

impl Walk<'_> {
    pub(super) fn interrupted_rekey(
        &mut self,
        root: &Folder,
        name: &str,
    ) -> Result<(), CouldNotLook> {
        let text = "a rekey is running or was cut off: run it again, or start the server; either \
                    brings it to its end";
        self.report.finding("interrupted-rekey", name, text);
        self.folder(root, name, name, Walk::part_of_rekey)
    }

    fn part_of_rekey(
        &mut self,
        folder: &Folder,
        name: &str,
        path: &str,
    ) -> Result<(), CouldNotLook> {
        match name {
            IDENTITY => self.copy(folder, name, path, limits::IDENTITY_FILE, IDENTITY),
            PEERS | OLD_PEERS => self.folder(folder, name, path, Walk::peer_in_rekey),
            _ => self.stray(folder, name, path),
        }
    }

    fn peer_in_rekey(
        &mut self,
        folder: &Folder,
        name: &str,
        path: &str,
    ) -> Result<(), CouldNotLook> {
        if ufrag_of(name).is_some() {
            self.copy(folder, name, path, limits::PEER_FILE, &path_in_vault(name))
        } else {
            self.misnamed(folder, name, path)
        }
    }

    /// With the new key or the old one, so that one key file need not open all of them.
    fn copy(
        &mut self,
        folder: &Folder,
        name: &str,
        path: &str,
        limit: usize,
        place: &str,
    ) -> Result<(), CouldNotLook> {
        match self.sealed(folder, name, path, Place::Rekey, limit, Named::As(place))? {
            Ok(_) | Err(FileFault::NotAge) => {}
            Err(fault) => self.report.finding("cannot-open", path, fault.to_string()),
        }
        Ok(())
    }
}
