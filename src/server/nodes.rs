//! The other places where a page may find its session when this server is gone.
//!
//! The list may change while the server runs: open event streams report it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::Uri;
use serde_json::json;
use tokio::sync::watch;

use super::BasePath;

/// Another server that may have the same sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    url: String,
    media: Vec<SocketAddr>,
}

/// Why a text is no address of another server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of another server; give one such as https://b.example.org or \
     http://192.0.2.7:8080/media"
)]
pub struct NodeError(String);

impl Node {
    /// The server whose endpoints are below `url`, such as `https://b.example.org/media`: the form
    /// of an origin (RFC 6454 §6.2), and a base path where it has one. `media` is where it receives
    /// media; empty where that is not known.
    ///
    /// # Errors
    /// A [`NodeError`] where `url` has another form.
    pub fn new(url: &str, media: Vec<SocketAddr>) -> Result<Self, NodeError> {
        let refused = || NodeError(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused());
        };
        let path: BasePath = uri.path().parse().map_err(|_| refused())?;
        let url = format!(
            "{}://{}{path}",
            uri.scheme_str().unwrap_or_default(),
            authority.as_str().to_ascii_lowercase()
        );
        // It is put into a header, in which a source of the policy ends at a space, `;` or `,`.
        // Ports are checked here because the parser does not read them.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._:[]".contains(&c);
        let port = authority.as_str().len() == authority.host().len() || authority.port().is_some();
        if uri.query().is_some() || !port || !authority.as_str().bytes().all(plain) {
            return Err(refused());
        }
        Ok(Self { url, media })
    }

    /// The URL of its endpoints, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it receives media, if that is known.
    pub fn media(&self) -> &[SocketAddr] {
        &self.media
    }

    /// Its origin, as a source in a content security policy.
    fn origin(&self) -> &str {
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[authority..].find('/');
        end.map_or(&self.url, |end| &self.url[..authority + end])
    }

    /// As it is sent to pages.
    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({ "url": self.url, "media": self.media })
    }
}

impl FromStr for Node {
    type Err = NodeError;

    /// A server of which only its URL is known.
    fn from_str(url: &str) -> Result<Self, NodeError> {
        Self::new(url, Vec::new())
    }
}

/// The current list, which its holder may change.
pub struct Nodes {
    list: watch::Sender<Arc<[Node]>>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.get().iter()).finish()
    }
}

impl Nodes {
    /// A list that starts with these.
    pub fn new(nodes: Vec<Node>) -> Self {
        let (list, _) = watch::channel(nodes.into());
        Self { list }
    }

    /// The list as it is now.
    pub fn get(&self) -> Arc<[Node]> {
        self.list.borrow().clone()
    }

    /// Replaces the list. Nothing is reported if it stays the same.
    pub fn set(&self, nodes: Vec<Node>) {
        self.list.send_if_modified(|list| {
            let changed = **list != *nodes;
            if changed {
                *list = nodes.into();
            }
            changed
        });
    }

    /// Calls `told` with each new list, for as long as there are any.
    pub(super) async fn follow(&self, told: impl Fn(&[Node])) {
        let mut changes = self.list.subscribe();
        while changes.changed().await.is_ok() {
            let list = changes.borrow_and_update().clone();
            told(&list);
        }
    }

    /// The origins of all, each after a space: where the server's own page may connect to besides
    /// its own server.
    pub(super) fn sources(&self) -> String {
        let mut sources = String::new();
        for node in self.get().iter() {
            sources.extend([" ", node.origin()]);
        }
        sources
    }
}

#[cfg(test)]
mod tests;
