//! Maintenance: a node gives all its peers away, and ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::app::App;
use crate::broadcast::Departure;
use crate::ids::{Role, Ufrag};

/// How often it is looked who has gone.
const LOOK: Duration = Duration::from_millis(200);
/// How long viewers wait for publishers that do not go.
const PUBLISHERS: Duration = Duration::from_secs(3);
/// Who has not gone so long after being told does not go: a client without a page, or one that
/// reaches no other node. It is let go as by any end of the server.
const LIMIT: Duration = Duration::from_secs(15);

/// Tells all pages, so many a second, to go on at another node, and waits until they do: first
/// those of publishers, since a viewer stays nowhere where its publisher is not. Returns how many
/// have not gone.
pub(in crate::server) async fn drain(app: &Arc<App>, a_second: NonZeroU32) -> usize {
    tracing::info!("the peers of this node are sent to other nodes");
    let pause = Duration::from_secs(1) / a_second.get();
    let publishers = give_away(app, Role::Publisher, pause, PUBLISHERS).await;
    let viewers = give_away(app, Role::Viewer, pause, LIMIT).await;
    let left = still_here(app, publishers).await.len() + viewers.len();
    tracing::info!(left, "the node has given its peers away, and ends");
    left
}

/// Gives those of one role away, and waits for it. Gives those that have not gone.
async fn give_away(app: &Arc<App>, role: Role, pause: Duration, limit: Duration) -> Vec<Ufrag> {
    let mut left = app.sessions.of_role(role);
    for ufrag in &left {
        app.sessions.send_away(ufrag);
        sleep(pause).await;
    }
    let end = Instant::now() + limit;
    loop {
        left = still_here(app, left).await;
        if left.is_empty() || Instant::now() >= end {
            return left;
        }
        sleep(LOOK).await;
    }
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
