//! A vault in etcd, as named on the command line of the server and of other commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::error::CliError;
use crate::server::{Node, RunError, SharedVault};
use crate::vault::{SharedStore, VaultError, shared};

/// How to speak to etcd.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EtcdArgs {
    /// File with the certificates of those who vouch for etcd's (PEM)
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,

    /// File with the certificate that etcd is shown (PEM)
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_CERT")]
    pub etcd_cert: Option<PathBuf>,

    /// File with that certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_KEY")]
    pub etcd_key: Option<PathBuf>,

    /// User of etcd
    #[arg(long, value_name = "NAME", env = "REKINDLE_ETCD_USER")]
    pub etcd_user: Option<String>,

    /// File whose first line is that user's password
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_PASSWORD_FILE")]
    pub etcd_password_file: Option<PathBuf>,
}

impl EtcdArgs {
    /// These options; missing ones are taken from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            etcd_ca: self.etcd_ca.or(other.etcd_ca),
            etcd_cert: self.etcd_cert.or(other.etcd_cert),
            etcd_key: self.etcd_key.or(other.etcd_key),
            etcd_user: self.etcd_user.or(other.etcd_user),
            etcd_password_file: self.etcd_password_file.or(other.etcd_password_file),
        }
    }

    /// The vault at this address, for a node of this name, which browsers reach at this URL.
    pub(super) fn shared(
        self,
        address: String,
        node: Option<String>,
        url: Option<Node>,
    ) -> Result<SharedVault, CliError> {
        let shared = SharedVault {
            address,
            node,
            url,
            pull: 0,
            ca: self.etcd_ca,
            certificate: both(
                (self.etcd_cert, "--etcd-cert"),
                (self.etcd_key, "--etcd-key"),
            )?,
            user: both(
                (self.etcd_user, "--etcd-user"),
                (self.etcd_password_file, "--etcd-password-file"),
            )?,
        };
        shared.check().map_err(RunError::from)?;
        Ok(shared)
    }

    /// The store of the vault at this address, for a command that is not a node.
    pub(super) fn open(&self, address: &str) -> Result<Arc<dyn SharedStore>, CliError> {
        let shared = self.clone().shared(address.to_owned(), None, None)?;
        Ok(shared.connect().map_err(RunError::from)?.store)
    }
}

/// Two options that are useless without each other.
fn both<A, B>(
    (first, first_name): (Option<A>, &'static str),
    (second, second_name): (Option<B>, &'static str),
) -> Result<Option<(A, B)>, CliError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(CliError::Half {
            given: first_name,
            missing: second_name,
        }),
        (None, Some(_)) => Err(CliError::Half {
            given: second_name,
            missing: first_name,
        }),
    }
}

/// A copy of a store's content, in a folder that is removed when this is dropped.
pub(super) struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Copies a vault into a new temporary folder, which only this user can enter.
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
