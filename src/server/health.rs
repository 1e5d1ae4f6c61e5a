//! Whether the media loop answers.

use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::broadcast::Snapshot;
use crate::net::Handle;

use super::problem::Problem;
use super::sessions::Sessions;

/// A media loop that has not answered for this time is stuck.
const STUCK: Duration = Duration::from_secs(2);
/// Where no session has changed, the loop is asked for its counts at most this often, however many
/// clients ask for its health.
const FRESH: Duration = Duration::from_millis(200);

/// The media loop's counts, asked for when needed.
#[derive(Default)]
pub(super) struct Health {
    last: tokio::sync::Mutex<Option<Known>>,
}

struct Known {
    at: Instant,
    /// See [`Sessions::changes`].
    changes: u64,
    snapshot: Snapshot,
}

impl Health {
    pub(super) async fn snapshot(
        &self,
        net: &Handle,
        sessions: &Sessions,
    ) -> Result<Snapshot, Problem> {
        let mut last = self.last.lock().await;
        // The loop's answer includes every change up to now.
        let changes = sessions.changes();
        if let Some(known) = &*last
            && known.at.elapsed() < FRESH
            && known.changes == changes
        {
            return Ok(known.snapshot.clone());
        }
        let snapshot = match tokio::time::timeout(STUCK, net.snapshot()).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(_)) => return Err(Problem::stopping()),
            Err(_) => return Err(stuck()),
        };
        *last = Some(Known {
            at: Instant::now(),
            changes,
            snapshot: snapshot.clone(),
        });
        Ok(snapshot)
    }
}

fn stuck() -> Problem {
    let detail =
        "The media loop does not answer. Start the server anew; browsers come back by themselves.";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "stuck",
        "The server is stuck",
        detail,
    )
}
