//! Addresses as people write them: where to listen, and where browsers reach the server. Flags, the
//! environment and the configuration file all use this one parser. Names are looked up at each
//! start.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::server;

/// Longest name of a host, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error(
        "{0:?} is no address to listen on; give one such as 127.0.0.1:8080, [::1]:8080, \
         localhost:8080, or a port alone such as 8080"
    )]
    Listen(String),
    #[error("{0:?} has no port; give one behind it, such as {0}:8080")]
    NoPort(String),
    #[error("{0:?} is an IPv6 address without brackets; write it like [::1]:8080")]
    NoBrackets(String),
    #[error("{0:?} has no port from 0 to 65535; give one such as 127.0.0.1:8080")]
    BadPort(String),
    #[error(
        "{0:?} is no address of a host; give one such as 203.0.113.7, 2001:db8::7 or \
         media.example.org"
    )]
    Host(String),
    #[error(
        "{0:?} has a port, which is always that of --udp; give the host alone, such as 203.0.113.7 \
         or media.example.org"
    )]
    HostWithPort(String),
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot find an address of the host {name:?}: {source}; check the name, or give an IP address"
)]
pub(super) struct LookupError {
    /// The name.
    pub name: String,
    /// The resolver's error.
    pub source: io::Error,
}

/// A host by its address or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    /// An address and a port.
    At(SocketAddr),
    /// A port, at the address that is the option's default.
    Port(u16),
    /// A name of this machine, and a port.
    Named(String, u16),
}

/// Looks up a name, as [`system`] does.
pub(super) type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>>;

/// Asks the system for the addresses of a host. Waits for as long as the system's resolver does.
///
/// # Errors
/// The resolver's error, which may be temporary.
pub(super) fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0)
        .to_socket_addrs()?
        .map(|address| address.ip())
        .collect())
}

/// The addresses of a name, each once, in the resolver's order; never empty.
fn look_up(name: &str, lookup: &Lookup) -> Result<Vec<IpAddr>, LookupError> {
    let failed = |source| LookupError {
        name: name.to_owned(),
        source,
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in lookup(name).map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotFound,
            "it has none",
        )));
    }
    Ok(addresses)
}

/// Whether a text can be the name of a host: letters, digits, `-` and `_` in labels with dots
/// between them. One whose last label is a number is an address with a mistake (WHATWG URL §3.5),
/// which the system's resolver may take for another address.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(byte)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    text.len() <= MAX_NAME && labels.split('.').all(label) && !number
}

/// A whole number from 0 to 65535, in digits alone.
fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl Listen {
    /// The address to listen on; `default` is the host where only a port is given. Of a name's
    /// addresses the first in IPv4 is taken, otherwise the first: `localhost` has both kinds, and
    /// the media port is in IPv4 by default.
    pub(super) fn resolve(
        &self,
        default: IpAddr,
        lookup: &Lookup,
    ) -> Result<SocketAddr, LookupError> {
        match self {
            Self::At(address) => Ok(*address),
            Self::Port(port) => Ok(SocketAddr::new(default, *port)),
            Self::Named(name, port) => {
                let all = look_up(name, lookup)?;
                let first = all
                    .iter()
                    .find(|address| address.is_ipv4())
                    .unwrap_or(&all[0]);
                Ok(SocketAddr::new(*first, *port))
            }
        }
    }
}

impl Listen {
    /// Whether a socket at this address can be the intended one. Names are not looked up for this.
    pub(super) fn may_be(&self, socket: SocketAddr) -> bool {
        let same = |port: u16| port == 0 || port == socket.port();
        match self {
            Self::At(address) => same(address.port()) && address.ip() == socket.ip(),
            Self::Port(port) | Self::Named(_, port) => same(*port),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let told = || text.to_owned();
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        let alone = text.strip_prefix(':').unwrap_or(text);
        if let Some(port) = port(alone) {
            return Ok(Self::Port(port));
        }
        if !alone.is_empty() && alone.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AddressError::BadPort(told()));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::NoBrackets(told()));
        }
        if is_name(text)
            || text
                .parse::<Host>()
                .is_ok_and(|host| matches!(host, Host::Ip(_)))
        {
            return Err(AddressError::NoPort(told()));
        }
        let Some((host, number)) = text.rsplit_once(':') else {
            return Err(AddressError::Listen(told()));
        };
        if host.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::NoBrackets(told()));
        }
        match host.parse::<Host>() {
            Ok(Host::Name(name)) => match port(number) {
                Some(port) => Ok(Self::Named(name, port)),
                None => Err(AddressError::BadPort(told())),
            },
            Ok(Host::Ip(_)) => Err(AddressError::BadPort(told())),
            Err(_) => Err(AddressError::Listen(told())),
        }
    }
}

impl Host {
    /// The host's addresses; of a name only those that a socket of this family can send from, and
    /// that a browser can send to.
    pub(super) fn resolve(
        &self,
        ipv6_too: bool,
        lookup: &Lookup,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let name = match self {
            Self::Ip(address) => return Ok(vec![*address]),
            Self::Name(name) => name,
        };
        let mut all = look_up(name, lookup)?;
        all.retain(|&a| (ipv6_too || a.is_ipv4()) && !a.is_unspecified() && !a.is_multicast());
        all.retain(|&a| !server::needs_zone(a));
        if all.is_empty() {
            let what = "it has none that the media port is on; see --udp";
            let source = io::Error::new(io::ErrorKind::NotFound, what);
            let name = name.clone();
            return Err(LookupError { name, source });
        }
        Ok(all)
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let bracketed = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Some(address) = bracketed.and_then(|inside| inside.parse::<Ipv6Addr>().ok()) {
            return Ok(Self::Ip(address.into()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if is_name(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        let with_port = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.contains(':') && is_name(host) && port.bytes().all(|b| b.is_ascii_digit())
        });
        Err(if with_port || text.parse::<SocketAddr>().is_ok() {
            AddressError::HostWithPort(text.to_owned())
        } else {
            AddressError::Host(text.to_owned())
        })
    }
}

/// A number or a text, as written in a configuration file.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match NumberOrText::deserialize(from) {
            Ok(NumberOrText::Number(number)) => number.to_string(),
            Ok(NumberOrText::Text(text)) => text,
            Err(_) => {
                return Err(de::Error::custom(
                    "an address to listen on is text such as \"127.0.0.1:8080\", or a port",
                ));
            }
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
