//! The URLs that operators name for requests of the server's own.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;

/// An `http` or `https` URL. Its path and its query may be a secret, so they are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundUrl {
    uri: Uri,
    origin: String,
}

/// Why a text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no URL that the server can ask: give one such as https://example.org/rekindle or \
     http://127.0.0.1:9000/, without a user or password"
)]
pub struct OutboundUrlError;

impl OutboundUrl {
    /// The whole of it.
    pub(in crate::server) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// Scheme, host and port.
    pub(in crate::server) fn origin(&self) -> &str {
        &self.origin
    }

    /// The host, an IPv6 address without its brackets.
    pub(in crate::server) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub(in crate::server) fn port(&self) -> u16 {
        let default = if self.is_secure() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// Whether it is asked over TLS.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it is asked without TLS, and its host is not written as a loopback address or as
    /// `localhost`: others on the way can read and change what is said.
    pub fn is_exposed(&self) -> bool {
        let host = self.host();
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let near = address.is_some_and(|ip| ip.to_canonical().is_loopback()) || host == "localhost";
        !self.is_secure() && !near
    }
}

impl FromStr for OutboundUrl {
    type Err = OutboundUrlError;

    fn from_str(text: &str) -> Result<Self, OutboundUrlError> {
        let uri: Uri = text.parse().map_err(|_| OutboundUrlError)?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(OutboundUrlError);
        };
        // The parser reads no port, so one that is no number is left over here.
        let port = authority.as_str().len() == authority.host().len() || authority.port().is_some();
        if authority.as_str().contains('@') || authority.host().is_empty() || !port {
            return Err(OutboundUrlError);
        }
        let origin = format!("{scheme}://{authority}");
        Ok(Self { uri, origin })
    }
}

impl fmt::Debug for OutboundUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutboundUrl").field(&self.origin).finish()
    }
}
