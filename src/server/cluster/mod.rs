//! Several servers with one vault: what a node does beyond a single server.

mod adoption;
mod channels;
mod drain;
mod identities;
mod presence;
mod pulls;
mod shared_vault;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::net::Handle;
use crate::net::pull::{News, Puller};
use crate::vault::{KeyFile, Vault, VaultError};

use self::adoption::{Adoption, AdoptionError};
use self::channels::Channels;
use self::identities::Identities;
use self::pulls::{Origin, Pulls};
use super::certificates::Certificates;
use super::nodes::Nodes;
use super::sessions::Sessions;

pub(super) use self::channels::Elsewhere;
pub(super) use self::drain::{Drain, Progress, drain};
pub(super) use self::presence::told;
pub(crate) use self::shared_vault::Store;
pub use self::shared_vault::{SharedVault, SharedVaultError};

/// The parts that only a node of a shared vault has.
pub(super) struct Cluster {
    pub adoption: Arc<Adoption>,
    pub channels: Channels,
    pub identities: Arc<Identities>,
    pub drain: Drain,
    /// The channels that this node pulls from others.
    pub pulls: Option<Arc<Pulls>>,
    /// The other nodes that pull channels from this one.
    origin: Origin,
    parts: Parts,
    /// This node's name.
    me: String,
}

/// What all parts of a node use.
#[derive(Clone)]
pub(super) struct Parts {
    pub vault: Arc<Vault>,
    pub key_file: PathBuf,
    pub net: Handle,
    pub sessions: Arc<Sessions>,
    pub certificates: Arc<Certificates>,
}

impl Parts {
    /// Calls the vault in a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Vault) -> Result<T, AdoptionError> + Send + 'static,
    ) -> Result<T, AdoptionError> {
        let vault = self.vault.clone();
        let asked = tokio::task::spawn_blocking(move || question(&vault)).await;
        asked.map_err(|_| AdoptionError::Stopping)?
    }

    /// The same with the keys. The key file is read each time, so that the process keeps no key that
    /// decrypts records.
    async fn ask_with_keys<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Vault, &KeyFile) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, AdoptionError> {
        let key_file = self.key_file.clone();
        self.ask(move |vault| Ok(question(vault, &KeyFile::load(&key_file)?)?))
            .await
    }
}

impl Cluster {
    pub(super) fn new(store: &Store, parts: Parts, puller: Option<Puller>) -> Arc<Self> {
        let me = store.store.node().to_owned();
        let channels = Channels::new(parts.vault.clone(), parts.certificates.clone(), &me);
        let identities = Arc::new(Identities::new(parts.clone()));
        let adoption = Arc::new(Adoption::new(parts.clone(), channels.clone()));
        let origin = Origin::new(parts.clone(), adoption.clone(), identities.clone());
        let pulls = puller.map(|puller| {
            let peers = origin.peers();
            Arc::new(Pulls::new(parts.clone(), channels.clone(), puller, peers))
        });
        Arc::new(Self {
            identities,
            adoption,
            drain: Drain::new(),
            pulls,
            origin,
            parts,
            channels,
            me,
        })
    }

    /// Publishes this node and its channels, keeps the list of other nodes current, pulls channels
    /// from them (`news` reports about those), and serves their pulls. Never ends.
    pub(super) async fn follow(
        self: Arc<Self>,
        nodes: Arc<Nodes>,
        told: Vec<u8>,
        news: Option<mpsc::UnboundedReceiver<News>>,
    ) {
        let (vault, sessions) = (self.parts.vault.clone(), &self.parts.sessions);
        let know = |alive| self.channels.know(alive);
        let pulls = async {
            if let (Some(pulls), Some(news)) = (&self.pulls, news) {
                pulls.follow(news).await;
            }
        };
        tokio::join!(
            self.adoption.follow(),
            self.channels.follow(sessions),
            self.origin.follow(),
            pulls,
            presence::follow(vault, nodes, &self.me, told, know),
        );
    }
}
