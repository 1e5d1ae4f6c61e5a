//! What the nodes of a shared vault tell each other of themselves, so that pages learn where else
//! their sessions may be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vault::{Vault, VaultError};

use super::nodes::{Node, Nodes};

/// Most other nodes that pages are told of.
const MAX_NODES: usize = 32;
/// A question for news of the nodes takes so long, at most.
const NEWS: Duration = Duration::from_secs(10);
/// When to try again where the store gives no answer.
const AGAIN: Duration = Duration::from_secs(1);

/// As it is in the store.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    url: String,
    media: Vec<SocketAddr>,
}

/// This node as the others are told of it; nothing where it has no URL that browsers reach it by.
pub(super) fn told(node: Option<&Node>, media: &[SocketAddr]) -> Vec<u8> {
    let told = node.map(|node| Told {
        url: node.url().to_owned(),
        media: media.to_vec(),
    });
    // All keys are text, so this cannot fail.
    told.map_or_else(Vec::new, |told| {
        serde_json::to_vec(&told).unwrap_or_default()
    })
}

/// The other nodes, of all that are alive. What one says of itself that cannot be read, as of
/// another version, is left out.
fn others(me: &str, alive: Vec<(String, Vec<u8>)>) -> Vec<Node> {
    let mut others: Vec<Node> = alive
        .into_iter()
        .filter(|(name, _)| name != me)
        .filter_map(|(_, value)| {
            let told: Told = serde_json::from_slice(&value).ok()?;
            Node::new(&told.url, told.media).ok()
        })
        .take(MAX_NODES)
        .collect();
    // In one order, whichever the store gives, so that pages move to the same one.
    others.sort_by(|a, b| a.url().cmp(b.url()));
    others
}

/// Tells the others of this node, and keeps the list of the others up to date, behind those that
/// were named. Never ends.
pub(super) async fn follow(
    vault: Arc<Vault>,
    nodes: Arc<Nodes>,
    me: String,
    mut told: Option<Vec<u8>>,
) {
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
                let mut list = named.to_vec();
                let news = others(&me, alive);
                list.extend(
                    news.into_iter()
                        .filter(|node| named.iter().all(|named| named.url() != node.url())),
                );
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
        let urls: Vec<&str> = found.iter().map(Node::url).collect();
        assert_eq!(urls, ["https://a.example", "https://b.example"]);
        assert_eq!(found[0].media(), media);
    }
}
