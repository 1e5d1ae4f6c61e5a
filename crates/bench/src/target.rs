//! The server at which sessions are made.

use std::net::{SocketAddr, ToSocketAddrs};

use axum::http::Uri;

use super::error::BenchError;
use rekindle_ids::Role;

/// A WHIP and WHEP server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub address: SocketAddr,
    /// For the `Host` header.
    pub host: String,
    whip: String,
    whep: String,
    pub token: Option<String>,
}

impl Target {
    /// A rekindle server of this benchmark.
    pub(super) fn own(address: SocketAddr) -> Self {
        Self::channel(address, "bench")
    }

    /// One channel of it, of several.
    pub(super) fn channel(address: SocketAddr, name: &str) -> Self {
        Self {
            address,
            host: address.to_string(),
            whip: format!("/whip/{name}"),
            whep: format!("/whep/{name}"),
            token: None,
        }
    }

    /// Another server. The URL is that of the WHEP endpoint or of the WHIP endpoint; the other one
    /// differs only in that word.
    ///
    /// # Errors
    /// [`BenchError::Against`] where the URL has neither word.
    pub(super) fn other(url: &str, token: Option<String>) -> Result<Self, BenchError> {
        let wrong = |why: &str| BenchError::Against {
            url: url.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong(
                "only http:// is spoken here; name the server itself, not the proxy in front of it",
            ));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let address = (authority.host(), authority.port_u16().unwrap_or(80))
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.next())
            .ok_or_else(|| wrong("the host has no address"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let (whip, whep) = if path.contains("whep") {
            (path.replace("whep", "whip"), path.to_owned())
        } else if path.contains("whip") {
            (path.to_owned(), path.replace("whip", "whep"))
        } else {
            return Err(wrong("its path has neither `whip` nor `whep` in it"));
        };
        Ok(Self {
            address,
            host: authority.to_string(),
            whip,
            whep,
            token,
        })
    }

    /// The path for a role.
    pub(super) fn endpoint(&self, role: Role) -> &str {
        match role {
            Role::Publisher => &self.whip,
            Role::Viewer => &self.whep,
        }
    }

    /// A reference in an answer as a path of this server (RFC 3986 §5.2, as far as servers use it).
    pub(super) fn resolve(&self, endpoint: &str, reference: &str) -> String {
        if let Some((_, rest)) = reference.split_once("://") {
            return rest
                .find('/')
                .map_or("/".to_owned(), |at| rest[at..].to_owned());
        }
        if reference.starts_with('/') {
            return reference.to_owned();
        }
        let folder = endpoint.rfind('/').map_or("/", |at| &endpoint[..=at]);
        format!("{folder}{reference}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_endpoint_is_found_from_the_one_given() {
        let target = Target::other("http://127.0.0.1:8889/mystream/whep", None).expect("a target");
        assert_eq!(target.endpoint(Role::Publisher), "/mystream/whip");
        assert_eq!(target.endpoint(Role::Viewer), "/mystream/whep");
        assert_eq!(target.address.port(), 8889);
    }

    #[test]
    fn a_url_of_no_use_is_refused_with_the_reason() {
        for (url, why) in [
            ("https://example.org/whep/x", "http://"),
            ("http://127.0.0.1/x", "whip"),
        ] {
            let error = Target::other(url, None).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let target = Target::own("127.0.0.1:1".parse().expect("an address"));
        assert_eq!(target.resolve("/whep/a", "/session/1"), "/session/1");
        assert_eq!(target.resolve("/whep/a", "b/1"), "/whep/b/1");
        assert_eq!(target.resolve("/whep/a", "http://x:1/s/1?a=b"), "/s/1?a=b");
    }
}
