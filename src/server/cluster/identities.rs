//! Reads certificates that other nodes have made since this one started.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::vault::Vault;

use super::Parts;
use super::adoption::AdoptionError;

/// Shortest interval between two reads of `identity.age`, since requests with invented session ids
/// cause them.
const PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub(in crate::server) struct Identities {
    parts: Parts,
    last: Mutex<Option<Instant>>,
}

impl Identities {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            last: Mutex::new(None),
        }
    }

    /// Reads certificates that other nodes have made, for a peer whose certificate this node does not
    /// know. New peers of this node still get the certificate that it was started with.
    ///
    /// # Errors
    /// [`AdoptionError`]; the caller can try again.
    pub(in crate::server) async fn learn(&self) -> Result<(), AdoptionError> {
        // Those who wait for the lock use the result of the one before them.
        let mut last = self.last.lock().await;
        if last.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        let read = self.parts.ask_with_keys(Vault::identities_now);
        let (current, earlier) = read.await?;
        *last = Some(Instant::now());
        for identity in earlier.into_iter().chain([current]) {
            if self.parts.certificates.knows(&identity) {
                continue;
            }
            // The media loop first, since it needs the certificate before a record that names it.
            let learnt = self.parts.net.learn_identity(identity.clone()).await;
            learnt.map_err(|_| AdoptionError::Stopping)?;
            self.parts.certificates.learn(&identity);
            tracing::info!("a certificate of another node was learnt");
        }
        Ok(())
    }
}
