//! Certificates from an ACME authority (RFC 8555), by TLS-ALPN-01 (RFC 8737): the authority asks the
//! HTTPS port itself, so nothing else must be reachable.
//!
//! What outlives the process, the account's key and the certificate with its key, is kept in a folder
//! of its own, under the key file, and is no part of the vault: nothing of it has to do with peers.

mod authority;
mod external;
mod kept;
mod name;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::vault::{KeyFile, Sealer};

use super::outbound::{Asker, Names, OutboundUrl, Trust};
use super::tls::{self, Tls, TlsError};

pub use external::{ExternalAccount, ExternalAccountError};
pub use kept::AcmeStoreError;
pub use name::{AcmeName, AcmeNameError};

use authority::{Authority, AuthorityError};
use kept::{Folder, Kept, KeptCertificate};

/// Longest time without a look at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(600);

/// How often an order is begun in one attempt, where what went wrong is known to pass.
const TRIES: u32 = 4;

/// How a certificate is obtained.
#[derive(Debug)]
pub struct AcmeSettings {
    /// The names that it is for.
    pub names: Vec<AcmeName>,
    /// The authority's directory (RFC 8555 §7.1.1).
    pub directory: OutboundUrl,
    /// Where the authority may write to its account's owner, such as `mailto:admin@example.org`.
    pub contact: Option<String>,
    /// The operator's account that the server's is bound to, if the authority wants one.
    pub external: Option<ExternalAccount>,
    /// Who has signed the certificate of the directory's own HTTPS.
    pub trust: Trust,
    /// By what its name is looked up.
    pub lookup: Names,
    /// The folder for what outlives the process.
    pub folder: PathBuf,
}

/// Obtains certificates, and renews them.
pub(super) struct Acme {
    names: Vec<AcmeName>,
    directory: OutboundUrl,
    contact: Option<String>,
    external: Option<ExternalAccount>,
    asker: Asker,
    folder: Folder,
    sealer: Mutex<Arc<Sealer>>,
    /// Taken by [`Acme::follow`], which alone changes it.
    kept: Mutex<Option<Kept>>,
    /// What is kept is to be written anew, and an attempt that waits for its time is made now.
    again: Notify,
    /// Whether the file was under the key file's first identity at the start.
    is_current: bool,
    counts: AcmeCounts,
}

/// The counts of orders.
#[derive(Debug, Default)]
pub(super) struct AcmeCounts {
    issued: AtomicU64,
    failed: AtomicU64,
}

impl AcmeCounts {
    /// By result.
    pub(super) fn by_result(&self) -> [(&'static str, u64); 2] {
        [
            ("issued", self.issued.load(Ordering::Relaxed)),
            ("failed", self.failed.load(Ordering::Relaxed)),
        ]
    }
}

impl Acme {
    /// Opens the folder, and has `tls` use the certificate that is in it, if it is for all names.
    ///
    /// # Errors
    /// [`AcmeStoreError`] where the folder cannot be used.
    pub(super) fn open(
        settings: AcmeSettings,
        keys: &KeyFile,
        tls: &Tls,
    ) -> Result<Self, AcmeStoreError> {
        let (folder, found) = Folder::open(&settings.folder, keys)?;
        let asker = Asker::new(&settings.trust, &settings.lookup);
        let directory = settings.directory.uri().to_string();
        let found = found.filter(|(kept, _)| kept.directory == directory);
        let (mut kept, is_current) = found.unwrap_or_else(|| (Kept::new(directory), true));
        if let Some(certificate) = &kept.certificate
            && let Err(error) = certificate.use_in(tls)
        {
            tracing::warn!(
                "the certificate in {} is not used: {error}",
                folder.path().display()
            );
            kept.certificate = None;
        }
        Ok(Self {
            names: settings.names,
            directory: settings.directory,
            contact: settings.contact,
            external: settings.external,
            asker,
            folder,
            sealer: Mutex::new(Arc::new(keys.sealer())),
            kept: Mutex::new(Some(kept)),
            again: Notify::new(),
            is_current,
            counts: AcmeCounts::default(),
        })
    }

    /// The ports that connections are made to.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.asker.ports(&self.directory)
    }

    /// The first of the names.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", AcmeName::as_str)
    }

    /// The folder that is written to.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn counts(&self) -> &AcmeCounts {
        &self.counts
    }

    /// Keeps what it has under this key from now on, and makes an attempt that waits for its time
    /// now.
    pub(super) fn take_sealer(&self, sealer: Sealer) {
        *self.sealer() = Arc::new(sealer);
        self.again.notify_one();
    }

    fn sealer(&self) -> std::sync::MutexGuard<'_, Arc<Sealer>> {
        self.sealer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Obtains a certificate whenever one is due. Never ends.
    pub(super) async fn follow(self: Arc<Self>, tls: Arc<Tls>) {
        let taken = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut kept) = taken else {
            return;
        };
        if !self.is_current {
            self.save(&kept).await;
        }
        loop {
            let now = SystemTime::now();
            let at = self.due(&kept, now);
            let left = at.duration_since(now).unwrap_or_default();
            if !left.is_zero() {
                let asked = tokio::time::timeout(left.min(LOOK), self.again.notified()).await;
                if asked.is_err() {
                    continue;
                }
                self.save(&kept).await;
                // SIGHUP ends a wait after a failure, and none for a renewal.
                if kept.attempts.failures == 0 {
                    continue;
                }
            }
            self.attempt(&mut kept, &tls).await;
        }
    }

    /// When the next attempt is made.
    fn due(&self, kept: &Kept, now: SystemTime) -> SystemTime {
        let current = kept.certificate.as_ref();
        let current = current.filter(|current| current.covers(&self.names));
        let wanted = current.map_or(now, |current| schedule::renewal(current.validity()));
        wanted.max(schedule::after_failures(&kept.attempts))
    }

    async fn attempt(&self, kept: &mut Kept, tls: &Tls) {
        // Written first: a process that is killed again and again must not use up the authority's
        // limits.
        kept.attempts.begin(SystemTime::now());
        self.save(kept).await;
        tracing::info!(
            names = %name::listed(&self.names),
            directory = self.directory.origin(),
            "a certificate is being obtained"
        );
        match self.order(kept, tls).await {
            Ok(certificate) => {
                kept.attempts.succeed();
                let until = schedule::date(certificate.validity().until);
                kept.certificate = Some(certificate);
                self.counts.issued.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%until, "the certificate was obtained; handshakes use it from now on");
                self.save(kept).await;
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                let wait = schedule::pause(kept.attempts.failures).as_secs() / 60;
                tracing::warn!(
                    "no certificate was obtained from {}: {error}. The next attempt is in {wait} min, \
                     or at SIGHUP; what is used until then stays in use",
                    self.directory.origin()
                );
            }
        }
    }

    async fn order(&self, kept: &mut Kept, tls: &Tls) -> Result<KeptCertificate, AuthorityError> {
        let mut tries = 1;
        loop {
            match self.order_once(kept, tls).await {
                Err(error) if tries < TRIES && error.is_unknown_account() => {
                    tracing::info!("the authority knows the account no more; another one is made");
                    kept.account = None;
                }
                // It is no fault of anybody's (RFC 8555 §6.5).
                Err(error) if tries < TRIES && error.is_bad_nonce() => {}
                ordered => return ordered,
            }
            tries += 1;
        }
    }

    async fn order_once(
        &self,
        kept: &mut Kept,
        tls: &Tls,
    ) -> Result<KeptCertificate, AuthorityError> {
        let (authority, new) = Authority::enter(
            &self.asker,
            &self.directory,
            kept.account.clone(),
            self.contact.as_deref(),
            self.external.as_ref(),
        )
        .await?;
        kept.account = Some(authority.credentials().clone());
        if new {
            tracing::info!("an account was made, by which its terms of service are agreed to");
            self.save(kept).await;
        }
        let certificate = authority.obtain(&self.names, tls.challenges()).await?;
        certificate.use_in(tls)?;
        Ok(certificate)
    }

    async fn save(&self, kept: &Kept) {
        let content = kept.content();
        let (folder, sealer) = (self.folder.clone(), self.sealer().clone());
        let written = tokio::task::spawn_blocking(move || folder.write(&sealer, &content)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(
                "{error}; until it can be written, a restart has to obtain a certificate again"
            );
        }
    }
}

impl KeptCertificate {
    /// Handshakes use it from now on.
    fn use_in(&self, tls: &Tls) -> Result<(), TlsError> {
        let certified = tls::certified(self.chain(), self.key())?;
        tls.put(certified);
        Ok(())
    }
}
