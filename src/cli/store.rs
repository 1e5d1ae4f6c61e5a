//! A vault in etcd, as the commands name it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::error::CliError;
use crate::vault::{SharedStore, VaultError, shared};

/// How to speak to etcd.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct StoreArgs {
    /// Certificates (PEM) of those who vouch for etcd's; for etcds://
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,
    /// Certificate (PEM) that etcd is shown
    #[arg(
        long,
        value_name = "FILE",
        env = "REKINDLE_ETCD_CERT",
        requires = "etcd_key"
    )]
    pub etcd_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "REKINDLE_ETCD_KEY",
        requires = "etcd_cert"
    )]
    pub etcd_key: Option<PathBuf>,
    /// User of etcd
    #[arg(
        long,
        value_name = "NAME",
        env = "REKINDLE_ETCD_USER",
        requires = "etcd_password_file"
    )]
    pub etcd_user: Option<String>,
    /// File whose first line is that user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "REKINDLE_ETCD_PASSWORD_FILE",
        requires = "etcd_user"
    )]
    pub etcd_password_file: Option<PathBuf>,
}

impl StoreArgs {
    /// The store of a vault in etcd. Connections are made when they are needed.
    #[cfg(feature = "etcd")]
    pub(super) fn open(&self, address: &str) -> Result<Arc<dyn SharedStore>, CliError> {
        let options = rekindle_etcd::Options {
            ca: self.etcd_ca.clone(),
            certificate: self.etcd_cert.clone().zip(self.etcd_key.clone()),
            user: self.etcd_user.clone().zip(self.etcd_password_file.clone()),
            ..rekindle_etcd::Options::default()
        };
        let address = rekindle_etcd::Address::new(address, options)?;
        Ok(Arc::new(rekindle_etcd::Etcd::connect(&address)?))
    }

    /// This build has no etcd.
    #[cfg(not(feature = "etcd"))]
    pub(super) fn open(&self, _: &str) -> Result<Arc<dyn SharedStore>, CliError> {
        Err(CliError::NoEtcd)
    }
}

/// What a store holds, in a folder that is gone with it.
pub(super) struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Copies a vault into a new folder among the temporary ones, which only this user can enter.
    pub(super) fn of(store: &dyn SharedStore) -> Result<Self, VaultError> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).expect("the system gives random bytes");
        let name = format!("rekindle-audit-{:016x}", u64::from_ne_bytes(random));
        let copy = Self {
            folder: std::env::temp_dir().join(name),
        };
        shared::export(store, &copy.folder)?;
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => eprintln!(
                "rekindle: the copy in {} could not be removed ({error}): remove it. There are \
                 only age files in it",
                self.folder.display()
            ),
            _ => {}
        }
    }
}
