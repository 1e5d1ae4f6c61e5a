//! What a connection to etcd needs besides an address: certificates and passwords, which are read
//! once.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use zeroize::Zeroizing;

use crate::address::Address;

/// Most bytes of a file with certificates, a key or a password.
const FILE: u64 = 1024 * 1024;

/// Why no connection can be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A key or password that others can read.
    #[error("{path} can be read by others: `chmod 600 {path}`, and make a new one if they may have \
             read it", path = .0.display())]
    ReadableByOthers(PathBuf),
    /// No password.
    #[error("the password file {path} has no password in it: give one in its first \
             line", path = .0.display())]
    NoPassword(PathBuf),
    /// None of the members' names can be resolved.
    #[error(
        "the name {host} cannot be resolved: {cause}; give an address, or correct the name service"
    )]
    Name {
        /// A member.
        host: String,
        /// The system's error.
        cause: io::Error,
    },
    /// The system has no thread left.
    #[error("cannot start the thread that speaks to etcd: {0}")]
    Thread(#[source] io::Error),
}

/// The members by their present addresses, so that no name has to be resolved later, and what a
/// connection to each needs. Reads the files that the address's options name. A member whose name
/// cannot be resolved is left out while there is another.
pub(crate) fn members(address: &Address) -> Result<Vec<(String, ConnectOptions)>, ConnectError> {
    let (options, tls) = options(address)?;
    let scheme = if address.tls { "https" } else { "http" };
    let (mut members, mut unknown) = (Vec::new(), None);
    for host in &address.members {
        let found = host.to_socket_addrs().map(|mut found| found.next());
        match found {
            Ok(Some(at)) => {
                let mut options = options.clone();
                if let Some(tls) = tls.clone() {
                    let name = host.rsplit_once(':').map_or(&**host, |(name, _)| name);
                    let name = name.trim_start_matches('[').trim_end_matches(']');
                    options = options.with_tls(tls.domain_name(name));
                }
                members.push((format!("{scheme}://{at}"), options));
            }
            Ok(None) => unknown = Some((host, io::ErrorKind::NotFound.into())),
            Err(cause) => unknown = Some((host, cause)),
        }
    }
    match unknown {
        Some((host, cause)) if members.is_empty() => Err(ConnectError::Name {
            host: host.clone(),
            cause,
        }),
        Some((host, cause)) => {
            tracing::warn!(host, %cause, "a member of etcd is left out: its name is not known");
            Ok(members)
        }
        None => Ok(members),
    }
}

fn options(address: &Address) -> Result<(ConnectOptions, Option<TlsOptions>), ConnectError> {
    let given = &address.options;
    let mut options = ConnectOptions::new()
        .with_connect_timeout(given.limit)
        // A member that has lost the others reports it at once, and another one is asked.
        .with_require_leader(true);
    if let Some((user, path)) = &given.user {
        let file = read_secret(path)?;
        let line = file.split(|&b| b == b'\n').next().unwrap_or_default();
        let password = std::str::from_utf8(line.trim_ascii()).unwrap_or_default();
        if password.is_empty() {
            return Err(ConnectError::NoPassword(path.clone()));
        }
        options = options
            .with_user(user, password)
            .with_auto_token_refresh(true);
    }
    let tls = if address.tls {
        let mut tls = TlsOptions::new();
        if let Some(path) = &given.ca {
            tls = tls.ca_certificate(Certificate::from_pem(&*read(path, false)?));
        }
        if let Some((certificate, key)) = &given.certificate {
            let (certificate, key) = (read(certificate, false)?, read_secret(key)?);
            tls = tls.identity(Identity::from_pem(&*certificate, &*key));
        }
        Some(tls)
    } else {
        None
    };
    Ok((options, tls))
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConnectError> {
    read(path, true)
}

fn read(path: &Path, secret: bool) -> Result<Zeroizing<Vec<u8>>, ConnectError> {
    let failed = |cause| ConnectError::File {
        path: path.into(),
        cause,
    };
    let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if secret && rekindle_secrets::is_exposed(path, &meta) {
        return Err(ConnectError::ReadableByOthers(path.into()));
    }
    let length = meta.len().min(FILE);
    // Allocated at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
