//! Takes the place of full-state mode in a build without it: nothing is done.

use rekindle_ids::Ufrag;

use crate::Vault;
use crate::audit::inventory::Builder;
use crate::error::VaultError;
use crate::files::Folder;
use crate::record::Kind;

/// No file of that mode can be read.
pub(crate) fn has_code_for(_: u8) -> bool {
    false
}

/// Nothing to remove: a folder that holds an identity of that mode was refused before.
pub(crate) fn prepare(_: &Folder, _: Kind) -> Result<(), VaultError> {
    Ok(())
}

/// There are no session keys that this build could remove.
pub(crate) fn wipe(_: &Folder) -> Result<(), VaultError> {
    Ok(())
}

/// The content stays one item.
pub(crate) fn fields(_: &mut Builder<'_>, _: u8, _: &[u8]) {}

impl Vault {
    /// A peer has no session keys here.
    pub(crate) fn remove_session_in_turn(&self, _: &Ufrag) -> Result<bool, VaultError> {
        Ok(false)
    }
}
