//! Maintenance: a node gives all its peers away, and ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::app::App;
use crate::broadcast::Departure;
use crate::ids::Ufrag;

/// How often it is looked who has gone.
const LOOK: Duration = Duration::from_millis(500);
/// Who has not gone so long after being told does not go: a client without a page, or one that
/// reaches no other node. It is let go as by any end of the server.
const LIMIT: Duration = Duration::from_secs(15);

/// Tells all pages, so many a second, to go on at another node, and waits until they do. Returns how
/// many have not.
pub(in crate::server) async fn drain(app: &Arc<App>, a_second: NonZeroU32) -> usize {
    let all = app.sessions.to_send_away();
    tracing::info!(
        peers = all.len(),
        "the peers of this node are sent to other nodes"
    );
    let pause = Duration::from_secs(1) / a_second.get();
    let mut left = Vec::new();
    for ufrag in all {
        app.sessions.send_away(&ufrag);
        left.push(ufrag);
        sleep(pause).await;
    }
    let end = Instant::now() + LIMIT;
    loop {
        left = still_here(app, left).await;
        if left.is_empty() || Instant::now() >= end {
            break;
        }
        sleep(LOOK).await;
    }
    tracing::info!(
        left = left.len(),
        "the node has given its peers away, and ends"
    );
    left.len()
}

/// Forgets those that another node has taken over by now. Gives the rest.
async fn still_here(app: &Arc<App>, all: Vec<Ufrag>) -> Vec<Ufrag> {
    let mut left = Vec::new();
    for ufrag in all {
        let (vault, wanted) = (app.vault.clone(), ufrag.clone());
        let owned = tokio::task::spawn_blocking(move || vault.owns(&wanted)).await;
        if let Ok(Ok(false)) = owned {
            // An error says that the server is stopping.
            let _ = app.net.leave(&ufrag).await;
            app.sessions.remove(&ufrag, Departure::Left);
        } else {
            left.push(ufrag);
        }
    }
    left
}
