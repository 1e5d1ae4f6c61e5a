//! What outlives the process: `acme.age` in a folder of its own. Its content is JSON, so that
//! `age --decrypt` shows a reviewer what is in it; 32 bytes of a MAC follow.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::vault::{Beside, KeyFile, Sealer, VaultError};

use super::super::tls::{Validity, validity};
use super::name::AcmeName;
use super::schedule::Attempts;

const FILE: &str = "acme.age";
/// Longest file, in bytes. Chains have some 5 kB.
const MAX_FILE: usize = 256 * 1024;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the folder that --acme-dir names cannot be used: {0}")]
pub struct AcmeStoreError(#[from] VaultError);

/// The folder. Only one process uses it: that which has the vault's lock.
#[derive(Clone)]
pub(super) struct Folder(Arc<Beside>);

/// The content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The URL of the directory that all else is of.
    pub directory: String,
    /// The account's URL and its key, as the library for ACME writes them.
    pub account: Option<Zeroizing<String>>,
    pub attempts: Attempts,
    pub certificate: Option<KeptCertificate>,
}

/// A certificate and its key. Both are known to be of a form that can be used.
#[derive(Deserialize)]
#[serde(try_from = "Text")]
pub(super) struct KeptCertificate {
    text: Text,
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
    validity: Validity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    names: Vec<AcmeName>,
    /// PEM (RFC 7468), the server's own first.
    chain: String,
    /// PKCS#8, PEM.
    key: Zeroizing<String>,
}

/// Why a chain or a key is none.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be read")]
pub(super) struct Unreadable(&'static str);

impl Kept {
    pub(super) fn new(directory: String) -> Self {
        Self {
            directory,
            account: None,
            attempts: Attempts::default(),
            certificate: None,
        }
    }

    pub(super) fn content(&self) -> Zeroizing<Vec<u8>> {
        // Allocated at once: a buffer that grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE));
        serde_json::to_writer(&mut *content, self).expect("texts and numbers can be written");
        content
    }
}

impl KeptCertificate {
    /// `chain` and `key` are PEM.
    pub(super) fn new(
        names: &[AcmeName],
        chain: String,
        key: Zeroizing<String>,
    ) -> Result<Self, Unreadable> {
        Self::try_from(Text {
            names: names.to_vec(),
            chain,
            key,
        })
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }

    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether it is for all these names.
    pub(super) fn covers(&self, names: &[AcmeName]) -> bool {
        names.iter().all(|name| self.text.names.contains(name))
    }
}

impl TryFrom<Text> for KeptCertificate {
    type Error = Unreadable;

    fn try_from(text: Text) -> Result<Self, Unreadable> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(text.chain.as_bytes()).collect();
        let chain = chain.map_err(|_| Unreadable("the chain of certificates"))?;
        let own = chain
            .first()
            .ok_or(Unreadable("the chain of certificates"))?;
        let validity = validity(own).ok_or(Unreadable("the certificate"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.key.as_bytes());
        let key = key.map_err(|_| Unreadable("the key"))?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        Ok(Self {
            text,
            chain,
            key,
            validity,
        })
    }
}

impl Serialize for KeptCertificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl Folder {
    /// Opens or makes the folder, and reads what is in it. A file that cannot be used is as good as
    /// none, which is said: all that it holds can be obtained again. Also returns whether the file is
    /// under the key file's first identity.
    pub(super) fn open(
        path: &Path,
        keys: &KeyFile,
    ) -> Result<(Self, Option<(Kept, bool)>), AcmeStoreError> {
        let folder = Beside::open(path)?;
        let kept = match folder.read(FILE, MAX_FILE, keys)? {
            None => None,
            Some(Ok((content, is_current))) => match serde_json::from_slice(&content) {
                Ok(kept) => Some((kept, is_current)),
                Err(_) => {
                    // The library's error could name what it has read.
                    unusable(path, "another version has written it");
                    None
                }
            },
            Some(Err(fault)) => {
                unusable(path, &fault.to_string());
                None
            }
        };
        Ok((Self(Arc::new(folder)), kept))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, sealer: &Sealer, content: &[u8]) -> Result<(), AcmeStoreError> {
        Ok(self.0.write(FILE, sealer, content)?)
    }
}

fn unusable(path: &Path, why: &str) {
    tracing::warn!(
        "{} is not used ({why}): account and certificate are obtained anew, and it is written over",
        path.join(FILE).display()
    );
}
