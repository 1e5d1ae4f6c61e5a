//! What each node of a shared vault publishes about itself. Pages learn from it where else their
//! sessions can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vault::{Vault, VaultError};

use super::super::nodes::{Node, Nodes};

/// Most other nodes that are named to pages.
const MAX_NODES: usize = 32;
/// Longest wait for changes in one query.
const NEWS: Duration = Duration::from_secs(10);
/// Pause before the next attempt where the store does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The form in the store.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    url: String,
    media: Vec<SocketAddr>,
}

/// What this node publishes; nothing where it has no URL for browsers.
pub(in crate::server) fn told(node: Option<&Node>, media: &[SocketAddr]) -> Vec<u8> {
    let told = node.map(|node| Told {
        url: node.url().to_owned(),
        media: media.to_vec(),
    });
    // All keys are text, so this cannot fail.
    told.map_or_else(Vec::new, |told| {
        serde_json::to_vec(&told).unwrap_or_default()
    })
}

/// The other living nodes. A node whose entry cannot be read, such as one of another version, is
/// left out.
fn others(me: &str, alive: Vec<(String, Vec<u8>)>) -> Vec<(String, Node)> {
    let mut others: Vec<(String, Node)> = alive
        .into_iter()
        .filter(|(name, _)| name != me)
        .filter_map(|(name, value)| {
            let told: Told = serde_json::from_slice(&value).ok()?;
            Some((name, Node::new(&told.url, told.media).ok()?))
        })
        .take(MAX_NODES)
        .collect();
    // Sorted, so that all pages move to the same one.
    others.sort_by(|(_, a), (_, b)| a.url().cmp(b.url()));
    others
}

/// Publishes this node's entry, and appends the other living nodes to those that the operator named;
/// `know` gets them too. Never ends.
pub(super) async fn follow(
    vault: Arc<Vault>,
    nodes: Arc<Nodes>,
    me: &str,
    told: Vec<u8>,
    know: impl Fn(Vec<(String, Node)>),
) {
    let mut told = Some(told);
    let named = nodes.get();
    let mut revision = 0;
    loop {
        let (store, value, since) = (vault.clone(), told.clone(), revision);
        let asked = tokio::task::spawn_blocking(move || {
            if let Some(value) = value {
                store.presence(&value)?;
            }
            store.wait_nodes(since, NEWS)
        });
        match asked.await {
            Ok(Ok((now, alive))) => {
                (told, revision) = (None, now);
                let others = others(me, alive);
                let mut list = named.to_vec();
                let is_news = |node: &&Node| named.iter().all(|named| named.url() != node.url());
                list.extend(others.iter().map(|(_, node)| node).filter(is_news).cloned());
                know(others);
                nodes.set(list);
            }
            Ok(Err(error @ VaultError::NotOwner)) => {
                tracing::error!(%error, "another process has this node's name");
                tokio::time::sleep(NEWS).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "no news of the other nodes");
                tokio::time::sleep(AGAIN).await;
            }
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str) -> Node {
        url.parse().expect("a URL")
    }

    #[test]
    fn nodes_that_are_told_of_are_found_but_for_this_one() {
        let media = ["192.0.2.1:8189".parse().expect("an address")];
        let value = |url| told(Some(&node(url)), &media);
        let alive = vec![
            ("b".to_owned(), value("https://b.example")),
            ("me".to_owned(), value("https://me.example")),
            ("a".to_owned(), value("https://a.example")),
            ("silent".to_owned(), told(None, &media)),
            (
                "strange".to_owned(),
                b"{\"url\":\"javascript:1\",\"media\":[]}".to_vec(),
            ),
        ];
        let found = others("me", alive);
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            found[0].1,
            Node::new("https://a.example", media.to_vec()).expect("a URL")
        );
    }
}
