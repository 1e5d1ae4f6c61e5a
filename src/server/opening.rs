//! What a start opens: the key file, the vault, and the identities for DTLS.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::peer::{Dtls, Identities};
use crate::vault::{Identity, KeyError, KeyFile, Opened, Rotated, Vault, VaultError};

use super::acme::Acme;
use super::cluster::Store;
use super::{Config, RunError};

/// The key file, and whether it was made just now. It is made only at the default path, and only
/// where there is no vault that another key opens.
pub(super) fn open_key(config: &Config) -> Result<(KeyFile, bool), RunError> {
    let path = &config.key_file;
    match KeyFile::load(path) {
        Err(KeyError::Missing(_)) if config.may_make_key => {
            if config.shared.is_none() && !is_empty(&config.state_dir) {
                return Err(RunError::KeyLost {
                    state: config.state_dir.clone(),
                    key: path.clone(),
                });
            }
            Ok((KeyFile::generate(path)?, true))
        }
        loaded => Ok((loaded?, false)),
    }
}

/// What obtains certificates, if anything does. Only reads: a vault that cannot be opened after it
/// loses nothing.
pub(super) fn open_acme(config: &mut Config, keys: &KeyFile) -> Result<Option<Acme>, RunError> {
    match (config.acme.take(), &config.tls) {
        (Some(settings), Some(tls)) => Ok(Some(Acme::open(settings, keys, tls)?)),
        _ => Ok(None),
    }
}

/// Whether a folder is missing or empty; one that cannot be read counts as not empty.
fn is_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Opens the vault for the mode.
pub(super) fn open_vault(
    config: &Config,
    store: Option<&Store>,
    keys: KeyFile,
) -> Result<Opened, VaultError> {
    let now = SystemTime::now();
    if let Some(Store { store, .. }) = store {
        return Vault::open_shared(store.clone(), keys, now);
    }
    match config.mode {
        #[cfg(feature = "full-state")]
        super::Mode::FullState => Vault::open_full_state(&config.state_dir, keys, now),
        _ => Vault::open(&config.state_dir, keys, now),
    }
}

/// A new certificate for new peers.
pub(super) fn rotate_identity(opened: &mut Opened) -> Result<(), RunError> {
    match opened.rotate_identity(SystemTime::now())? {
        Rotated::Yes => {
            tracing::info!("new peers get a new certificate; those of earlier boots keep theirs")
        }
        Rotated::FirstRun => {}
        Rotated::TooMany => tracing::warn!(
            earlier = opened.earlier.len(),
            "no new certificate was made: as many earlier ones as there may be are still in use; \
             try again when their peers have left"
        ),
    }
    Ok(())
}

/// The vault's identities, for DTLS.
pub(super) fn identities(
    current: &Identity,
    earlier: &[Arc<Identity>],
    require_post_quantum: bool,
) -> Result<Identities, RunError> {
    let mut current = Dtls::new(current.certificate_der(), current.private_key_der())?;
    if require_post_quantum {
        current = current.requiring_post_quantum()?;
    }
    let beside = |one: &Arc<Identity>| {
        current
            .beside(one.certificate_der(), one.private_key_der())
            .map(Arc::new)
    };
    let earlier = earlier.iter().map(beside).collect::<Result<_, _>>()?;
    Ok(Identities::new(Arc::new(current), earlier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(is_empty(folder.path()));
        assert!(is_empty(&folder.path().join("none")));
        std::fs::write(folder.path().join("identity.age"), "x").expect("written");
        assert!(!is_empty(folder.path()));
        assert!(!is_empty(&folder.path().join("identity.age")));
    }
}
