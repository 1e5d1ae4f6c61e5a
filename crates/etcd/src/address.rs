//! The address of etcd, and the options of the connection.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The port of etcd's clients.
const PORT: u16 = 2379;
/// The prefix of the keys where an address has none.
const PREFIX: &str = "rekindle";
/// Most bytes of a node's name.
const NODE: usize = 253;

/// Addresses of members of one etcd, and the prefix of the vault's keys in it:
/// `etcd://a:2379,b:2379/prefix`, or with `etcds` for TLS. By default the port is 2379 and the
/// prefix `rekindle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Hosts with ports; at least one.
    pub(crate) members: Vec<String>,
    /// Whether to use TLS.
    pub(crate) tls: bool,
    /// Ends in a slash.
    pub(crate) prefix: String,
    pub(crate) options: Options,
}

/// The options of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name of this node: letters, digits, '.', '_' and '-'. No two nodes may have the same.
    /// The host's name by default.
    pub node: String,
    /// The certificates (PEM) of the authorities for etcd's certificate. TLS needs it.
    pub ca: Option<PathBuf>,
    /// A certificate (PEM) for this client, and the file with its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user of etcd, and the file with the password.
    pub user: Option<(String, PathBuf)>,
    /// How long a call may take. Members that lose their leader need 1 to 2 s to elect another one
    /// (with etcd's default settings), and requests wait for that.
    pub limit: Duration,
    /// How long after its end a process still counts as alive, in whole seconds. etcd raises it if
    /// it is too short for its own settings.
    pub lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let host = rustix::system::uname();
        Self {
            node: host.nodename().to_string_lossy().into_owned(),
            ca: None,
            certificate: None,
            user: None,
            limit: Duration::from_secs(3),
            lease: Duration::from_secs(5),
        }
    }
}

/// An address or its options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The scheme is not `etcd://` or `etcds://`.
    #[error("an address of etcd is etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS")]
    Scheme,
    /// A password in an address is visible to everybody who lists processes.
    #[error("an address of etcd has no user or password in it: give them as options")]
    Credentials,
    /// A host or port is invalid.
    #[error("{0:?} is no host with a port: give one such as 10.0.0.1:2379, or [::1]:2379")]
    Host(String),
    /// The part behind the slash.
    #[error(
        "the prefix {0:?} cannot be used: give letters, digits, '.', '_' and '-', with single \
         slashes between"
    )]
    Prefix(String),
    /// See [`Options::node`].
    #[error(
        "the node's name {0:?} cannot be used: give 1 to 253 letters, digits, '.', '_' and '-'"
    )]
    Node(String),
    /// There is no authority for etcd's certificate.
    #[error("etcds:// needs a file with the certificates of those who vouch for etcd's")]
    NoCa,
    /// TLS files, and an address without TLS.
    #[error("certificates were given, but etcd:// does not use them: give etcds://")]
    NoTls,
    /// Zero, or less than the shortest lease.
    #[error("the time limit must be at least 100 ms, and the lease at least 1 s")]
    Times,
}

impl Address {
    /// Combines an address and options.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn new(text: &str, options: Options) -> Result<Self, AddressError> {
        let (tls, rest) = match (text.strip_prefix("etcd://"), text.strip_prefix("etcds://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(AddressError::Scheme),
        };
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.contains('@') {
            return Err(AddressError::Credentials);
        }
        let members = hosts.split(',').map(member).collect::<Result<_, _>>()?;
        let prefix = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => PREFIX,
            prefix if prefix.split('/').all(is_name) => prefix,
            bad => return Err(AddressError::Prefix(bad.into())),
        };
        if !is_name(&options.node) || options.node.len() > NODE {
            return Err(AddressError::Node(options.node));
        }
        if tls && options.ca.is_none() {
            return Err(AddressError::NoCa);
        }
        if !tls && (options.ca.is_some() || options.certificate.is_some()) {
            return Err(AddressError::NoTls);
        }
        if options.limit < Duration::from_millis(100) || options.lease.as_secs() < 1 {
            return Err(AddressError::Times);
        }
        Ok(Self {
            members,
            tls,
            prefix: format!("{prefix}/"),
            options,
        })
    }

    /// The members, as hosts with ports.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.options.node
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text, Options::default())
    }
}

/// As it was given; it contains no secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        let prefix = self.prefix.trim_end_matches('/');
        write!(f, "{scheme}://{}/{prefix}", self.members.join(","))
    }
}

/// A host with a port.
fn member(text: &str) -> Result<String, AddressError> {
    let bad = || AddressError::Host(text.into());
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match in_brackets {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if !is_name(host) {
                return Err(bad());
            }
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => PORT,
        Some(digits) => digits.parse().map_err(|_| bad())?,
        None => return Err(bad()),
    };
    match port {
        0 => Err(bad()),
        port => Ok(format!("{host}:{port}")),
    }
}

fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(fits)
}

#[cfg(test)]
mod tests;
