//! The options of a node: a server that shares its vault with others.

use clap::Args;

use crate::server::{Node, SharedVault};

use super::error::CliError;
use super::etcd::EtcdArgs;

/// Most channels that are taken from other nodes: each has a port.
const MAX_PULLS: i64 = 1024;

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

    /// How many channels this server takes at once from others that share the vault, so that their
    /// viewers are answered where they ask; without it they are sent to where the publisher is
    /// [default: 0]
    #[arg(long, value_name = "CHANNELS", env = "REKINDLE_PULL",
          value_parser = clap::value_parser!(u16).range(..=MAX_PULLS))]
    pub pull: Option<u16>,

    #[command(flatten)]
    pub etcd: EtcdArgs,
}

impl ClusterArgs {
    /// These options; missing ones are taken from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            vault: self.vault.or(other.vault),
            node: self.node.or(other.node),
            node_url: self.node_url.or(other.node_url),
            pull: self.pull.or(other.pull),
            etcd: self.etcd.or(other.etcd),
        }
    }

    /// The settings of a node; `None` for a server with a vault of its own.
    pub(super) fn shared(self) -> Result<Option<SharedVault>, CliError> {
        let Some(address) = self.vault else {
            let alone = Self::default();
            return match (
                self == alone,
                self.node.is_some() || self.node_url.is_some() || self.pull.is_some(),
            ) {
                (true, _) => Ok(None),
                (false, true) => Err(CliError::WithoutVault {
                    given: "--node, --node-url and --pull",
                }),
                (false, false) => Err(CliError::WithoutVault {
                    given: "the options of etcd",
                }),
            };
        };
        let shared = self.etcd.shared(address, self.node, self.node_url)?;
        Ok(Some(SharedVault {
            pull: self.pull.unwrap_or_default().into(),
            ..shared
        }))
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
            etcd: EtcdArgs {
                etcd_user: Some("u".to_owned()),
                ..EtcdArgs::default()
            },
            ..given("etcd://127.0.0.1:2379/x")
        };
        let refused = half.shared().expect_err("no password");
        assert!(
            refused.to_string().contains("--etcd-password-file"),
            "{refused}"
        );
    }
}
