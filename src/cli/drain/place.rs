//! Where a server listens for operators, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::Uri;
use rustls::ClientConfig;

use crate::cli::address::{self, Host, Listen};
use crate::cli::error::CliError;
use crate::server::Trust;

/// The port of `https` where none is written (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

/// The value of `--admin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// As the server is given it: HTTP.
    Listen(Listen),
    /// A URL with `https`.
    Secure { host: Host, port: u16 },
}

/// Why a text is no such URL.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no place of an admin listener; give the address as to the server, or over TLS \
     https://NAME:PORT, without a user and a path"
)]
pub(super) struct PlaceError(String);

/// How a server is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Plain(SocketAddr),
    Secure {
        host: Host,
        port: u16,
        #[cfg_attr(not(feature = "etcd"), expect(dead_code))]
        config: Arc<ClientConfig>,
    },
}

impl Place {
    /// The way there; over TLS, with a certificate of the authorities in the file `ca`, or else of
    /// the system's.
    pub(super) fn way(&self, ca: Option<&Path>) -> Result<Way, CliError> {
        match self {
            Self::Secure { host, port } => Ok(Way::Secure {
                host: host.clone(),
                port: *port,
                config: ca
                    .map_or_else(|| Trust::system("--admin-ca"), Trust::file)?
                    .client(),
            }),
            Self::Listen(_) if ca.is_some() => Err(CliError::Needless {
                given: "--admin-ca",
                missing: "--admin https://NAME:PORT",
            }),
            Self::Listen(listen) => {
                let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let mut at = listen.resolve(here, &address::system)?;
                if at.ip().is_unspecified() {
                    at.set_ip(here);
                }
                Ok(Way::Plain(at))
            }
        }
    }

    /// Whether a server with a certificate speaks HTTPS there, although no URL says so. Names are
    /// not looked up for this.
    pub(super) fn is_beyond_loopback(&self) -> bool {
        match self {
            Self::Listen(Listen::At(at)) => !at.ip().to_canonical().is_loopback(),
            Self::Listen(_) | Self::Secure { .. } => false,
        }
    }
}

impl From<Listen> for Place {
    fn from(listen: Listen) -> Self {
        Self::Listen(listen)
    }
}

impl FromStr for Place {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains("://") {
            return Ok(Self::Listen(text.parse()?));
        }
        let wrong = || PlaceError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        // The parser reads no port, so one that is no number is left over here.
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match has_port {
            true => authority.port_u16().ok_or_else(wrong)?,
            false => HTTPS,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if uri.scheme_str() != Some("https") || path != "/" || authority.as_str().contains('@') {
            return Err(wrong().into());
        }
        let host = authority.host().parse().map_err(|_| wrong())?;
        Ok(Self::Secure { host, port })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(at) => at.fmt(f),
            Self::Secure { host, port, .. } => match host {
                Host::Ip(ip) => write!(f, "https://{}", SocketAddr::new(*ip, *port)),
                Host::Name(name) => write!(f, "https://{name}:{port}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secure(host: &str, port: u16) -> Place {
        let host = host.parse().expect("a host");
        Place::Secure { host, port }
    }

    #[test]
    fn a_place_is_an_address_as_to_the_server_or_an_https_url_of_a_host() {
        for (text, place) in [
            ("9189", Place::Listen(Listen::Port(9189))),
            (
                "https://media.example.org:9189",
                secure("media.example.org", 9189),
            ),
            (
                "https://media.example.org",
                secure("media.example.org", 443),
            ),
            ("https://10.0.0.5:9189/", secure("10.0.0.5", 9189)),
            ("https://[2001:db8::7]:9189", secure("2001:db8::7", 9189)),
        ] {
            assert_eq!(text.parse::<Place>().ok(), Some(place), "{text}");
        }
        for bad in [
            "http://127.0.0.1:9189",
            "https://",
            "https://:9189",
            "https://media.example.org:port",
            "https://media.example.org:99999",
            "https://user@media.example.org:9189",
            "https://media.example.org:9189/api/drain",
            "https://media.example.org:9189/?x",
            "https://1.2.3:9189",
            "x",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
