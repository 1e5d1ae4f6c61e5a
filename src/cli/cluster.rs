//! The options of a node: a server that shares its vault with others.

use std::path::PathBuf;

use clap::Args;

use crate::server::{Node, SharedVault};

use super::error::CliError;

/// Options of `serve`, as in [`super::args`].
#[derive(Args, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterArgs {
    /// Where the vault is that this server shares with others, in place of a folder:
    /// etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS. Needs a build with etcd
    #[arg(long, value_name = "URL", env = "REKINDLE_VAULT")]
    pub vault: Option<String>,

    /// What this server is called among those that share the vault; each needs a name of its own
    /// [default: the host's name]
    #[arg(long, value_name = "NAME", env = "REKINDLE_NODE")]
    pub node: Option<String>,

    /// Where browsers reach this server when they lose another one that shares the vault, such as
    /// https://b.example.org
    #[arg(long, value_name = "URL", env = "REKINDLE_NODE_URL")]
    pub node_url: Option<Node>,

    /// File with the certificates of those who vouch for etcd's (PEM)
    #[arg(long, value_name = "FILE", env = "REKINDLE_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,

    /// File with this server's certificate for etcd (PEM)
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

impl ClusterArgs {
    /// These, and where nothing is said, those.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            vault: self.vault.or(other.vault),
            node: self.node.or(other.node),
            node_url: self.node_url.or(other.node_url),
            etcd_ca: self.etcd_ca.or(other.etcd_ca),
            etcd_cert: self.etcd_cert.or(other.etcd_cert),
            etcd_key: self.etcd_key.or(other.etcd_key),
            etcd_user: self.etcd_user.or(other.etcd_user),
            etcd_password_file: self.etcd_password_file.or(other.etcd_password_file),
        }
    }

    /// What a node goes by; `None` for a server with a vault of its own.
    pub(super) fn shared(self) -> Result<Option<SharedVault>, CliError> {
        let Some(address) = self.vault else {
            let alone = Self::default();
            return match (
                self == alone,
                self.node.is_some() || self.node_url.is_some(),
            ) {
                (true, _) => Ok(None),
                (false, true) => Err(CliError::WithoutVault {
                    given: "--node and --node-url",
                }),
                (false, false) => Err(CliError::WithoutVault {
                    given: "the options of etcd",
                }),
            };
        };
        let shared = SharedVault {
            address,
            node: self.node,
            url: self.node_url,
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
        shared.check().map_err(crate::server::RunError::from)?;
        Ok(Some(shared))
    }
}

/// Two options of which one is nothing without the other.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_shared_vault_is_no_node() {
        assert!(matches!(ClusterArgs::default().shared(), Ok(None)));
        let named = ClusterArgs {
            node: Some("a".to_owned()),
            ..ClusterArgs::default()
        };
        let refused = named.shared().expect_err("a name for nothing");
        assert!(refused.to_string().contains("--vault"), "{refused}");
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn a_build_without_etcd_says_what_to_build() {
        let given = ClusterArgs {
            vault: Some("etcd://127.0.0.1:2379".to_owned()),
            ..ClusterArgs::default()
        };
        let refused = given.shared().expect_err("no etcd");
        assert!(refused.to_string().contains("--features etcd"), "{refused}");
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn an_address_with_a_mistake_and_half_of_a_pair_are_told() {
        let given = |vault: &str| ClusterArgs {
            vault: Some(vault.to_owned()),
            ..ClusterArgs::default()
        };
        assert!(matches!(
            given("etcd://127.0.0.1:2379/x").shared(),
            Ok(Some(_))
        ));
        let refused = given("http://127.0.0.1").shared().expect_err("no etcd");
        assert!(
            refused.to_string().contains("etcd://HOST:PORT"),
            "{refused}"
        );
        let half = ClusterArgs {
            etcd_user: Some("u".to_owned()),
            ..given("etcd://127.0.0.1:2379/x")
        };
        let refused = half.shared().expect_err("no password");
        assert!(
            refused.to_string().contains("--etcd-password-file"),
            "{refused}"
        );
    }
}
