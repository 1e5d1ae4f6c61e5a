//! Whether the media loop answers.

use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::broadcast::Snapshot;
use crate::net::Handle;

use super::problem::Problem;

/// A media loop that has not answered for so long is stuck.
const STUCK: Duration = Duration::from_secs(2);
/// The loop is asked for its counts at most this often, however many ask for its health.
const FRESH: Duration = Duration::from_millis(200);

/// The media loop's counts, asked for now and then.
#[derive(Default)]
pub(super) struct Health {
    last: tokio::sync::Mutex<Option<(Instant, Snapshot)>>,
}

impl Health {
    pub(super) async fn snapshot(&self, net: &Handle) -> Result<Snapshot, Problem> {
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(snapshot.clone());
        }
        let snapshot = match tokio::time::timeout(STUCK, net.snapshot()).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(_)) => return Err(Problem::stopping()),
            Err(_) => return Err(stuck()),
        };
        *last = Some((Instant::now(), snapshot.clone()));
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
