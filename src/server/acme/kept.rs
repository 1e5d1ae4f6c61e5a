//! What outlives the process: `acme.age` in a folder of its own. Its content is JSON, so that
//! `age --decrypt` shows a reviewer what is in it; 32 bytes of a MAC follow.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::vault::{KeyFile, Sealer};

use super::super::tls::{Validity, validity};
use super::name::AcmeName;
use super::schedule::Attempts;

const FILE: &str = "acme.age";
/// Longest file, in bytes. Chains have some 5 kB.
const MAX_FILE: u64 = 256 * 1024;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeStoreError {
    /// The system says no.
    #[error(
        "cannot {what} {}, which --acme-dir names: {source}; give a folder that the server's user may \
         write to", path.display()
    )]
    Io {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others could put another certificate's key there, or take the file away.
    #[error(
        "the folder {}, which --acme-dir names, can be written by others or is another user's; make \
         it the server's user's, and `chmod 700` it", .0.display()
    )]
    Exposed(PathBuf),
}

/// The folder. Only one process uses it: that which has the vault's lock.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

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
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
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
        path: PathBuf,
        keys: &KeyFile,
    ) -> Result<(Self, Option<(Kept, bool)>), AcmeStoreError> {
        let io = |what| {
            let path = path.clone();
            move |source| AcmeStoreError::Io { what, path, source }
        };
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io("make the folder")(error));
            }
            _ => {}
        }
        let meta = fs::metadata(&path).map_err(io("look at"))?;
        let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&meta.uid());
        if !meta.is_dir() || !is_ours || meta.permissions().mode() & 0o022 != 0 {
            return Err(AcmeStoreError::Exposed(path));
        }
        let file = path.join(FILE);
        let kept = match fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("look at the file in")(error)),
            Ok(meta) if !meta.is_file() || meta.len() > MAX_FILE => {
                unusable(&file, "it is no regular file of its size");
                None
            }
            Ok(_) => read(
                &file,
                &fs::read(&file).map_err(io("read the file in"))?,
                keys,
            ),
        };
        Ok((Self(path), kept))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the file whole: a kill leaves the old one or the new one.
    pub(super) fn write(&self, sealer: &Sealer, content: &[u8]) -> Result<(), AcmeStoreError> {
        let sealed = sealer.seal(FILE, content);
        let written = || {
            let mut file = tempfile::Builder::new()
                .prefix(".tmp-")
                .tempfile_in(&self.0)?;
            file.write_all(&sealed)?;
            file.as_file().sync_all()?;
            file.persist(self.0.join(FILE))?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|source| AcmeStoreError::Io {
            what: "write the file in",
            path: self.0.clone(),
            source,
        })
    }
}

fn read(path: &Path, file: &[u8], keys: &KeyFile) -> Option<(Kept, bool)> {
    match keys.open_beside(FILE, file) {
        Ok((content, is_current)) => {
            let kept = serde_json::from_slice(&content);
            if kept.is_err() {
                // The library's error could name what it has read.
                unusable(path, "another version has written it");
            }
            Some((kept.ok()?, is_current))
        }
        Err(fault) => {
            unusable(path, &fault.to_string());
            None
        }
    }
}

fn unusable(path: &Path, why: &str) {
    tracing::warn!(
        "{} is not used ({why}): account and certificate are obtained anew, and it is written over",
        path.display()
    );
}
