//! Reports to the service manager while the server runs: that it is alive, only when that is true,
//! and how many browsers it has.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::service::{self, Notifier};

use super::app::App;
use super::converse::{Ends, Http, converse};
use super::drain::Drain;

/// Interval between reports where the manager wants no sign of life.
const STATUS: Duration = Duration::from_secs(5);
/// The request for the check: it goes through all layers of HTTP, and is answered by 200 only if
/// the media loop has answered.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Tells the manager. Never ends.
pub(super) async fn keep(app: Arc<App>, router: Router, notifier: Arc<Notifier>) {
    if !notifier.is_connected() {
        return std::future::pending().await;
    }
    let watchdog = service::watchdog();
    // Half of the timeout, as sd_watchdog_enabled(3) advises.
    let every = watchdog.map_or(STATUS, |wait| wait / 2);
    let mut last = status(&app).await;
    loop {
        // The first sign of life is sent at once: the manager's timer runs since it was told that
        // the server is ready.
        if watchdog.is_some() {
            match tokio::time::timeout(every, is_alive(router.clone())).await {
                Ok(true) => notifier.alive(),
                _ => tracing::error!(
                    "the server does not answer itself, so the service manager is not told that it \
                     is alive"
                ),
            }
        }
        tokio::time::sleep(every).await;
        let now = status(&app).await;
        if now != last {
            notifier.status(&now);
            last = now;
        }
    }
}

/// One line: the number of this boot, and how many peers there are.
pub(super) async fn status(app: &App) -> String {
    match app.health.snapshot(&app.net, &app.sessions).await {
        Ok(counts) => format!(
            "boot {}: {} browsers connected, {} of the last boot awaited",
            app.boot, counts.connected, counts.awaited
        ),
        Err(_) => format!("boot {}: the media loop does not answer", app.boot),
    }
}

/// Whether the HTTP side answers a request, and the media loop a question.
pub(super) async fn is_alive(router: Router) -> bool {
    let (mut client, server) = tokio::io::duplex(4096);
    let (_running, mut stop) = watch::channel(false);
    let served = converse(
        server,
        Http::One,
        Ends::LOCAL,
        router,
        &mut stop,
        Drain::new().talk(),
    );
    let asked = async {
        client.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200 "))
    };
    let ((), answered) = tokio::join!(served, asked);
    answered.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::fuzzing::World;
    use super::*;

    #[test]
    fn a_server_whose_media_loop_does_not_answer_is_not_alive() {
        let world = World::new();
        world.runtime.block_on(async {
            assert!(is_alive(world.router.clone()).await);
            world.net.stop().await;
            // A recent answer is valid for a moment.
            tokio::time::sleep(Duration::from_millis(250)).await;
            assert!(!is_alive(world.router.clone()).await);
        });
    }
}
