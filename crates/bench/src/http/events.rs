//! A session's event stream.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use axum::http::header::ACCEPT;
use futures_util::StreamExt;
use rekindle_client::page::Hello;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::request::Failure;
use super::{ATTEMPT, RETRY, Visitor, What};

/// A retry waits for this part of the time for which attempts have been failing.
const FAILING_PART: u32 = 16;

impl Visitor {
    /// Follows the event stream, across lives of the server.
    pub(super) async fn listen(&mut self, events: &str) {
        let mut failing_since = Instant::now();
        let mut tries = 0;
        let mut spread = Duration::ZERO;
        loop {
            let attempt = (ATTEMPT[0] + tries * Duration::from_millis(500)).min(ATTEMPT[1]);
            let began = Instant::now();
            let (ended, refused) = match self.read_events(events, attempt, &mut spread).await {
                Ok(None) => {
                    self.tell(What::Gone);
                    return;
                }
                Ok(Some(())) => (true, false),
                Err(failure) => (
                    false,
                    matches!(failure, Failure::Refused) && began.elapsed() < ATTEMPT[0] / 2,
                ),
            };
            if ended {
                failing_since = Instant::now();
                tries = 0;
            }
            if ended || tries == 0 {
                self.tell(What::Lost);
            }
            self.tell(What::Unreachable { refused });
            tries += 1;
            // What is known here is known to the client one way later.
            sleep(self.settings.one_way).await;
            let wait = if tries == 1 {
                self.first_retry(spread)
            } else {
                self.retry_delay(failing_since.elapsed().max(spread * FAILING_PART))
            };
            sleep(wait).await;
        }
    }

    /// Where many lose their streams at once, the first retry comes at any time of the spread, and
    /// later ones that far apart.
    fn first_retry(&mut self, spread: Duration) -> Duration {
        let part = self.random.below(1000) as f64 / 1000.0;
        self.retry_delay(Duration::ZERO).max(spread.mul_f64(part))
    }

    pub(super) fn retry_delay(&mut self, failing: Duration) -> Duration {
        let jitter = 0.8 + 0.4 * (self.random.below(1000) as f64 / 1000.0);
        (failing / FAILING_PART)
            .clamp(RETRY[0], RETRY[1])
            .mul_f64(jitter)
    }

    /// Reads events until the stream ends; `Ok(None)` where there is no such session.
    async fn read_events(
        &self,
        events: &str,
        attempt: Duration,
        spread: &mut Duration,
    ) -> Result<Option<()>, Failure> {
        let headers = [(ACCEPT.as_str(), "text/event-stream")];
        let request = self.request(Method::GET, events, Body::empty(), &headers);
        let response = timeout(attempt, request)
            .await
            .map_err(|_| Failure::Other)??;
        match response.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            _ => return Err(Failure::Other),
        }
        let mut data = response.into_body().into_data_stream();
        let mut text = Vec::new();
        let mut heard = false;
        while let Some(Ok(part)) = data.next().await {
            text.extend_from_slice(&part);
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = text.drain(..end + 2).collect();
                heard |= self.event(&block, spread);
            }
        }
        if heard {
            Ok(Some(()))
        } else {
            Err(Failure::Other)
        }
    }

    /// One event, which may tell of another spread; whether it was the first of a stream.
    fn event(&self, block: &[u8], spread: &mut Duration) -> bool {
        let text = String::from_utf8_lossy(block);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let data: Value = field("data:")
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        if let Some(told) = data["spread_ms"].as_u64() {
            *spread = Duration::from_millis(told);
        }
        match field("event:") {
            Some("hello") => {
                self.tell(What::Hello(Hello {
                    // A server that names no process has its boots to tell them by.
                    process: data.get("process").unwrap_or(&data["boot"]).to_string(),
                    connected: data["connected"] == true,
                    handshaking: data["handshaking"] == true,
                    patience: Duration::from_millis(
                        data["patience_ms"].as_u64().unwrap_or_default(),
                    ),
                }));
                true
            }
            Some("connected") => {
                self.tell(What::Keyed);
                false
            }
            Some("handshake") => {
                self.tell(What::Seen);
                false
            }
            Some("gone") => {
                self.tell(What::Gone);
                false
            }
            _ => false,
        }
    }
}
