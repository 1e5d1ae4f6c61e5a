//! The certificates by which the server knows those whom it asks over TLS.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Whom the server believes that they are who they say.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Why no certificate can be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The named file cannot be read as certificates.
    #[error(
        "{path} cannot be read as certificates in PEM form: {cause}",
        path = path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The system has none where it is looked for.
    #[error(
        "this system has no certificates of authorities ({cause}); install them (Debian: \
         ca-certificates), or give {option} FILE"
    )]
    System {
        /// What was not found.
        cause: String,
        /// The option that names a file instead.
        option: &'static str,
    },
}

impl Trust {
    /// The authorities in this file (PEM).
    ///
    /// # Errors
    /// [`TrustError::File`].
    pub fn file(path: &Path) -> Result<Self, TrustError> {
        let wrong = |cause: String| TrustError::File {
            path: path.to_owned(),
            cause,
        };
        let all = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in all {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("there is none in it".to_owned()));
        }
        Ok(Self::of(roots))
    }

    /// The authorities that the system trusts. `option` is the one that names a file instead.
    ///
    /// # Errors
    /// [`TrustError::System`].
    pub fn system(option: &'static str) -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(ToString::to_string);
            let none = || io::Error::from(io::ErrorKind::NotFound).to_string();
            let cause = why.unwrap_or_else(none);
            return Err(TrustError::System { cause, option });
        }
        Ok(Self::of(roots))
    }

    /// Nobody: for servers that are asked without TLS only.
    pub fn nobody() -> Self {
        Self::of(RootCertStore::empty())
    }

    fn of(roots: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the library's own versions are known to it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // No secret of a session is kept for the next one.
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// What a client trusts by it.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(..)")
    }
}
