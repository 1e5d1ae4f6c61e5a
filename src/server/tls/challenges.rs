//! Proofs by TLS-ALPN-01 (RFC 8737): an authority that asks for the protocol `acme-tls/1` gets a
//! certificate made for it, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;

/// The protocol's name in ALPN (RFC 8737 §6.2).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether a client asks for a proof: it offers this protocol and no other (RFC 8737 §3).
pub(super) fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello
        .alpn()
        .is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none())
}

/// The certificates that prove the control of names, while an authority looks at them.
#[derive(Debug, Default)]
pub(in crate::server) struct Challenges(Mutex<HashMap<String, Arc<CertifiedKey>>>);

/// A proof can be had as long as this exists.
#[must_use]
pub(in crate::server) struct Proof<'a> {
    all: &'a Challenges,
    name: String,
}

impl Challenges {
    /// Answers for this name, in lower case, with a certificate that was made for that.
    ///
    /// # Errors
    /// [`TlsError::Issued`] for a key of a kind that is not known.
    pub(in crate::server) fn answer(
        &self,
        name: &str,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Proof<'_>, TlsError> {
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key);
        let key = key.map_err(TlsError::Issued)?;
        // Not compared with each other: the library that does so knows no certificate with the
        // critical extension of a proof.
        let certified = CertifiedKey::new(vec![certificate], key);
        self.lock().insert(name.to_owned(), Arc::new(certified));
        Ok(Proof {
            all: self,
            name: name.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.lock().get(hello.server_name()?).cloned()
    }
}
