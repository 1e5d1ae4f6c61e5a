//! What operators and pages ask: is it alive, how many are there.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::json;

use crate::broadcast::Snapshot;
use crate::net::Handle;

use super::app::{App, ClientAddress};
use super::problem::Problem;
use super::{auth, guard, names};

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
    async fn snapshot(&self, net: &Handle) -> Result<Snapshot, Problem> {
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
    let detail = "The media loop does not answer. Start the server anew; browsers come back by themselves.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", "The server is stuck", detail)
}

/// The body of `/healthz`.
#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    boot: u64,
    mode: &'static str,
    /// What the mode gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    uptime_s: u64,
    /// Records of the last boot are still being read.
    resuming: bool,
    peers: Peers,
    channels: Channels,
}

#[derive(Serialize)]
struct Peers {
    connected: usize,
    awaited: usize,
    joining: usize,
}

#[derive(Serialize)]
struct Channels {
    total: usize,
    live: usize,
}

/// `GET /healthz`: 200 while the media loop answers.
pub(super) async fn healthz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    app.health.snapshot(&app.net).await?;
    let counts = app.sessions.counts();
    let body = HealthBody {
        status: "ok",
        boot: app.boot,
        mode: app.mode.name(),
        warning: app.mode.warning(),
        uptime_s: app.started.elapsed().as_secs(),
        resuming: !app.sessions.is_loaded(),
        peers: Peers {
            connected: counts.connected,
            awaited: counts.awaited,
            joining: counts.joining,
        },
        channels: Channels {
            total: counts.channels,
            live: counts.live,
        },
    };
    Ok(no_store(Json(body)))
}

/// `GET /readyz`: 200 while newcomers are let in. After a start that is once all records of the last boot have been read; browsers that come
/// back do not wait for it.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if !app.sessions.is_ready() {
        return Err(Problem::stopping());
    }
    app.health.snapshot(&app.net).await?;
    Ok(no_store(Json(json!({ "status": "ready", "boot": app.boot }))))
}

/// `GET /channel/{*channel}`: whether there is something to watch.
pub(super) async fn channel(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = names::channel(&path)?;
    auth::require(app.watch.as_ref(), &headers, "watch")?;
    let (live, viewers) = app.sessions.channel(name);
    Ok(no_store(Json(
        json!({ "live": live, "viewers": viewers, "boot": app.boot }),
    )))
}

/// `GET /metrics`, in Prometheus' text format. Channels are named in it, so it is for this machine, and for who may publish. Behind a
/// proxy everybody comes from this machine, and not every proxy says for whom it asks.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let near = !app.behind_proxy && client.to_canonical().is_loopback() && !guard::is_forwarded(&headers);
    if !near {
        match &app.publish {
            Some(token) => auth::require(Some(token), &headers, "read metrics")?,
            None => return Err(Problem::not_found()),
        }
    }
    let snapshot = app.health.snapshot(&app.net).await?;
    let text = render(&app, &snapshot);
    let mut response = no_store(text);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}

/// Every other method on what can only be read.
pub(super) async fn other_method() -> Problem {
    Problem::method("GET, HEAD, OPTIONS", "This can be read by GET.")
}

fn no_store(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn render(app: &App, snapshot: &Snapshot) -> String {
    let counts = app.sessions.counts();
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP rekindle_{name} {help}\n# TYPE rekindle_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "rekindle_{name}{labels} {value}");
        }
    };
    let one = |value: u64| [(String::new(), value)];
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let state = |state: &str, value: usize| (format!("{{state=\"{state}\"}}"), count(value));

    metric("boot", "gauge", "Which life of the server this is.", &one(app.boot));
    metric(
        "uptime_seconds",
        "gauge",
        "Seconds since the process started.",
        &one(app.started.elapsed().as_secs()),
    );
    metric(
        "peers",
        "gauge",
        "Browsers by state: connected; awaited since the last boot; joining.",
        &[
            state("connected", counts.connected),
            state("awaited", counts.awaited),
            state("joining", counts.joining),
        ],
    );
    // A channel's name holds letters, digits and . _ - / only, and needs no escaping.
    let label = |name: &str| format!("{{channel=\"{name}\"}}");
    let live: Vec<_> = snapshot
        .channels
        .iter()
        .map(|(name, live, _)| (label(name), u64::from(*live)))
        .collect();
    let viewers: Vec<_> = snapshot
        .channels
        .iter()
        .map(|(name, _, viewers)| (label(name), count(*viewers)))
        .collect();
    metric("channel_live", "gauge", "Whether media of a publisher flows.", &live);
    metric("channel_viewers", "gauge", "Connected viewers.", &viewers);
    metric(
        "rtp_received_total",
        "counter",
        "RTP packets taken from publishers.",
        &one(snapshot.packets_in),
    );
    metric(
        "rtp_sent_total",
        "counter",
        "RTP packets sent to viewers.",
        &one(snapshot.packets_out),
    );
    metric(
        "rtp_retransmitted_total",
        "counter",
        "RTP packets sent again on a NACK.",
        &one(snapshot.retransmitted),
    );
    metric(
        "pli_sent_total",
        "counter",
        "Picture loss indications sent to publishers.",
        &one(snapshot.plis),
    );
    text
}
