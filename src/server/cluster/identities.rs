//! Certificates that other nodes have made since this one was started.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::vault::Vault;

use super::Parts;
use super::adoption::AdoptionError;

/// `identity.age` is read again at most this often: whoever makes up session ids causes it.
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

    /// Somebody goes by a certificate that this node does not know: looks whether another node has
    /// made one. New peers of this node go on getting the one that it was started with.
    ///
    /// # Errors
    /// [`AdoptionError`]; it can be tried again.
    pub(in crate::server) async fn learn(&self) -> Result<(), AdoptionError> {
        // Whoever waits here is served by the answer that comes meanwhile.
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
            // The media loop first: a record must not come before the certificate that it names.
            let learnt = self.parts.net.learn_identity(identity.clone()).await;
            learnt.map_err(|_| AdoptionError::Stopping)?;
            self.parts.certificates.learn(&identity);
            tracing::info!("a certificate of another node was learnt");
        }
        Ok(())
    }
}
