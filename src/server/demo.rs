//! The button of `rekindle demo`: a page of this machine has the server killed.
//!
//! The process cannot kill itself, since the sandbox allows no such signal. It asks its supervisor,
//! which accepts messages of its own child only. The route exists only if the supervisor has asked
//! for it, and only while nobody but this machine can reach the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::service::Notifier;

use super::Config;
use super::app::App;
use super::problem::Problem;

/// The value of `Server-Timing` (W3C) by which the page knows that it has the button: the only
/// header of its own response that a page can read without another request.
pub(super) const MARK: HeaderValue = HeaderValue::from_static("rekindle-demo");

/// The response has been sent by then: a browser repeats a request whose connection ends without a
/// response, and would kill the next server too.
const ANSWERED: Duration = Duration::from_millis(30);

/// The supervisor that kills this process.
pub(super) struct Demo(Arc<Notifier>);

impl Demo {
    /// Exists if all of this holds: the supervisor has asked for it and listens, HTTP is on
    /// loopback, and only pages of this machine are answered.
    pub(super) fn of(config: &Config, http: SocketAddr, notifier: &Arc<Notifier>) -> Option<Self> {
        let near = http.ip().to_canonical().is_loopback() && !config.behind_proxy;
        let private = !config.rights.guard_publishing() && !config.open;
        (config.demo && near && private && notifier.is_connected()).then(|| Self(notifier.clone()))
    }
}

/// `POST /demo/kill`: this process ends as by `kill -9`. Only the server's own page may ask: pages
/// of other programs on this machine, which may use the other endpoints, are refused.
pub(super) async fn kill(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    if !is_own_page(&headers) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign",
            "The request comes from elsewhere",
            "Only the server's own page may do this.",
        ));
    }
    if let Some(Demo(manager)) = &app.demo {
        tracing::warn!("the page asks for this process to be killed");
        let manager = manager.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ANSWERED).await;
            manager.kill_me();
        });
    }
    Ok(StatusCode::ACCEPTED)
}

/// Every other method.
pub(super) async fn other_method() -> Problem {
    Problem::method("POST, OPTIONS", "The server is killed by POST.")
}

/// Whether the asking page was served under the name that it asks (RFC 6454 §7). Browsers name the
/// origin in every POST.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin
            .strip_prefix("http://")
            .is_some_and(|authority| authority.eq_ignore_ascii_case(host)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_the_same_origin_is_the_servers_own() {
        let own = |origin: Option<&'static str>, host: &'static str| {
            let mut headers =
                HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_own_page(&headers)
        };
        assert!(own(Some("http://127.0.0.1:8080"), "127.0.0.1:8080"));
        assert!(own(Some("http://localhost:8080"), "LOCALHOST:8080"));
        for (origin, host) in [
            (None, "127.0.0.1:8080"),
            (Some("null"), "127.0.0.1:8080"),
            (Some("http://127.0.0.1:3000"), "127.0.0.1:8080"),
            (Some("http://localhost:8080"), "127.0.0.1:8080"),
            (Some("https://127.0.0.1:8080"), "127.0.0.1:8080"),
        ] {
            assert!(!own(origin, host), "{origin:?}");
        }
    }
}
