//! The operator's certificate and key: two PEM files (RFC 7468).

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use zeroize::Zeroizing;

/// Longest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}, which {option} names: {source}; check the path, and that the \
             server's user may read it", path = path.display())]
    Unreadable {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a folder, a pipe or a device, or far too long.
    #[error("{path}, which {option} names, is no regular file of at most {MAX_FILE} bytes; name a \
             PEM file", path = path.display())]
    NotAFile {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Other users of this machine could impersonate the server.
    #[error("the TLS key {path} can be read by others (mode {mode:04o}); run `chmod 600 {path}`",
            path = path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its owner could read and change it.
    #[error("the TLS key {path} belongs to user {owner}; make it the server's user's, or \
             root's", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// It contains no certificate.
    #[error("there is no certificate in {path}; --tls-cert names a PEM file with the server's \
             certificate and, behind it, those between it and the authority's, such as \
             fullchain.pem", path = .0.display())]
    NoCertificate(PathBuf),
    /// It contains no key.
    #[error("there is no private key in {path}; --tls-key names a PEM file with the \
             certificate's key, not encrypted (`openssl pkey` takes a passphrase off)",
            path = .0.display())]
    NoKey(PathBuf),
    /// It is no PEM file.
    #[error("{path} is no PEM file ({what}); `openssl x509` and `openssl pkey` make one out of \
             other forms", path = path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: pem::Error,
    },
    /// The certificate cannot be read.
    #[error("the first certificate in {path} cannot be used ({what}); put the server's own \
             first", path = path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: Error,
    },
    /// The key is of an unknown kind, or damaged.
    #[error("the key in {path} cannot be used ({what}); take ECDSA with P-256 or P-384, RSA of \
             2048 bits or more, or Ed25519", path = path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: Error,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} is not that of the first certificate in {certificate}; name two \
             files that belong together, with the server's own certificate \
             first", key = key.display(), certificate = certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// A certificate that an authority has signed, or its key.
    #[error("the certificate or its key cannot be used ({0})")]
    Issued(Error),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up ({0}); this is a mistake in the program, please report it")]
    Library(Error),
}

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificates: the server's own first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Pair {
    /// Reads both. The key's text and its DER form are wiped; what remains is the library's object,
    /// which is wiped when it is freed.
    pub(super) fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = self.chain()?;
        let key = self.private_key()?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        rekindle_secrets::stack::wipe();
        certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            what @ (Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
                TlsError::BadCertificate {
                    path: self.certificate.clone(),
                    what,
                }
            }
            what => TlsError::BadKey {
                path: self.key.clone(),
                what,
            },
        })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (file, _) = open("--tls-cert", &self.certificate)?;
        let text = text("--tls-cert", &self.certificate, file)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|what| TlsError::NotPem {
            path: self.certificate.clone(),
            what,
        })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        Ok(chain)
    }

    /// A symbolic link is followed, and the opened file is checked, as for the key file
    /// ([`crate::vault::KeyFile::load`]).
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let (file, meta) = open("--tls-key", &self.key)?;
        if rekindle_secrets::is_exposed(&self.key, &meta) {
            return Err(TlsError::ReadableByOthers {
                path: self.key.clone(),
                mode: meta.mode() & 0o7777,
            });
        }
        if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(TlsError::ForeignOwner {
                path: self.key.clone(),
                owner: meta.uid(),
            });
        }
        let text = text("--tls-key", &self.key, file)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey(self.key.clone()),
            what => TlsError::NotPem {
                path: self.key.clone(),
                what,
            },
        })
    }
}

/// A regular file that is not too long.
fn open(option: &'static str, path: &Path) -> Result<(File, Metadata), TlsError> {
    // Does not block on a pipe without a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let opened = file
        .and_then(|file| file.metadata().map(|meta| (file, meta)))
        .map_err(|source| unreadable(option, path, source))?;
    if !opened.1.is_file() || opened.1.len() > MAX_FILE {
        return Err(not_a_file(option, path));
    }
    Ok(opened)
}

/// A file's content, all of which may be secret.
fn text(option: &'static str, path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    // Allocated at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(|source| unreadable(option, path, source))?;
    if text.len() as u64 > MAX_FILE {
        return Err(not_a_file(option, path));
    }
    Ok(text)
}

fn unreadable(option: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::Unreadable {
        option,
        path: path.into(),
        source,
    }
}

fn not_a_file(option: &'static str, path: &Path) -> TlsError {
    TlsError::NotAFile {
        option,
        path: path.into(),
    }
}
