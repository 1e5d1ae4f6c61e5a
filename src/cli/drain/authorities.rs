//! The certificates by which an admin listener is known over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why no certificate can be checked.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum AuthoritiesError {
    #[error(
        "{path} cannot be read as certificates in PEM form: {cause}; give --admin-ca the file of \
         the authority that has signed the server's certificate, or that certificate itself",
        path = path.display()
    )]
    File { path: PathBuf, cause: String },
    #[error(
        "this system has no certificates of authorities; install them (Debian: ca-certificates), or \
         give --admin-ca FILE"
    )]
    System,
}

/// A client that trusts the authorities in this file (PEM), or else the system's.
pub(super) fn client(file: Option<&Path>) -> Result<Arc<ClientConfig>, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let wrong = |cause: String| AuthoritiesError::File {
                path: path.to_owned(),
                cause,
            };
            let all = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
            for certificate in all {
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("there is none in it".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(AuthoritiesError::System);
            }
        }
    }
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the library's own versions are known to it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
