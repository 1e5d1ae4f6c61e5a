//! `GET /metrics`: counts for operators, in the format that the client asks for. Names and units
//! follow <https://prometheus.io/docs/practices/naming/>. No label has more values when there are
//! more viewers.

mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;

use crate::broadcast::Snapshot;

use super::app::{App, ClientAddress};
use super::event_hook::EventCounts;
use super::events::reason;
use super::middleware;
use super::problem::Problem;
use super::sessions::{AgreedCounts, DEPARTURES, Tally};
use super::status::no_store;
use super::tls::Tls;
use text::{Format, Kind, Text};

/// It names channels, so it is only for this machine, and for those who may publish. Behind a proxy
/// every request comes from this machine, and not every proxy says for whom it asks.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let near = !app.behind_proxy
        && client.to_canonical().is_loopback()
        && !middleware::is_forwarded(&headers);
    if !near {
        match &app.rights.publish {
            Some(token) => app.require(token, client, &headers, "read metrics")?,
            None => return Err(Problem::not_found()),
        }
    }
    everything(State(app), headers).await
}

/// The same, for clients that have been authorised already.
pub(super) async fn everything(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = app.health.snapshot(&app.net, &app.sessions).await?;
    let format = Format::wanted(&headers);
    let mut response = no_store(render(&app, &snapshot, format));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.append(header::VARY, header::HeaderValue::from_static("accept"));
    Ok(response)
}

fn render(app: &App, snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text::new(format);
    process(&mut text, app, snapshot);
    if let Some(tls) = &app.tls {
        handshakes_of_https(&mut text, tls);
    }
    if let Some(acme) = &app.acme {
        text.each(
            ("acme_orders_total", Kind::Counter),
            "Certificates that an ACME authority was asked for, by result.",
            "result",
            acme.counts().by_result(),
        );
    }
    if let Some(events) = &app.events {
        told(&mut text, events.announcer.counts());
    }
    writes(&mut text, app);
    let tally = app.sessions.tally();
    comings_and_goings(&mut text, &tally);
    agreed(&mut text, &tally.agreed);
    handshakes(&mut text, snapshot);
    channels(&mut text, snapshot);
    media(&mut text, snapshot);
    loss(&mut text, snapshot);
    let help = "Datagrams that were not sent, since the kernel had no room for them or refused \
                them, or their TCP connection had none or was gone.";
    text.one(
        "datagrams_dropped_total",
        Kind::Counter,
        help,
        app.net.dropped(),
    );
    if let Some(connections) = app.net.tcp_connections() {
        let help = "Open connections that carry media over TCP, or may come to.";
        text.one("media_tcp_connections", Kind::Gauge, help, connections);
    }
    text.end()
}

fn process(text: &mut Text, app: &App, counts: &Snapshot) {
    text.info(
        "build_info",
        "What this process is.",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("dtls", crate::peer::LIBRARY),
            ("mode", app.mode.name()),
        ],
    );
    let help = "Whether the process has shut itself in (Landlock, seccomp): 0 with --no-sandbox.";
    text.one(
        "sandbox",
        Kind::Gauge,
        help,
        u64::from(app.sandbox.is_some()),
    );
    let help = "Parts of the sandbox that are not in force; the log says which, and why.";
    text.one(
        "sandbox_lacking",
        Kind::Gauge,
        help,
        app.sandbox.unwrap_or_default(),
    );
    text.one(
        "boot",
        Kind::Gauge,
        "Which life of the server this is.",
        app.boot,
    );
    let uptime = app.started.elapsed().as_secs();
    text.one(
        "uptime_seconds",
        Kind::Gauge,
        "Seconds since the process started.",
        uptime,
    );
    text.each(
        ("peers", Kind::Gauge),
        "Browsers by state: connected; awaited since the last boot; joining.",
        "state",
        [
            ("connected", counts.connected),
            ("awaited", counts.awaited),
            ("joining", counts.joining),
        ],
    );
    text.one(
        "channels_pulled",
        Kind::Gauge,
        "Channels that are taken from other nodes.",
        counts.pulled,
    );
}

/// Which peers came back from the last boot, when, and which did not; how sessions ended.
fn comings_and_goings(text: &mut Text, tally: &Tally) {
    if let Some(ready) = tally.ready {
        let help = "Seconds from the start of the process until all records of the last boot were \
                    read and newcomers let in.";
        text.one("ready_seconds", Kind::Gauge, help, ready.as_secs_f64());
    }
    let help = "Browsers of the last boot that have keys again.";
    text.one(
        "peers_resumed_total",
        Kind::Counter,
        help,
        tally.resumed.count,
    );
    let help =
        "Seconds from the start of the process until a browser of the last boot had keys again.";
    text.times("resume_seconds", help, &tally.resumed);
    let help =
        "Of resume_seconds, the one that came back last: how long the last restart took so far.";
    text.one(
        "resume_last_seconds",
        Kind::Gauge,
        help,
        tally.resumed.last.as_secs_f64(),
    );
    let left = |number: &usize| reason(DEPARTURES[*number]) == "left";
    let numbers = || 0..DEPARTURES.len();
    let lost = numbers().filter(|number| !left(number));
    let lost = lost.map(|number| (reason(DEPARTURES[number]), tally.lost[number]));
    text.each(
        ("peers_lost_total", Kind::Counter),
        "Browsers of the last boot that did not come back, by reason.",
        "reason",
        lost.chain([("unreadable", tally.unreadable)]),
    );
    text.each(
        ("sessions_ended_total", Kind::Counter),
        "Sessions that ended, by reason.",
        "reason",
        numbers().map(|number| (reason(DEPARTURES[number]), tally.ended[number])),
    );
    let help = "New browsers that no ICE check came from in time: no packet gets through, or they \
                were closed.";
    text.one("peers_unheard_total", Kind::Counter, help, tally.unheard);
}

/// How keys were agreed on.
fn agreed(text: &mut Text, agreed: &AgreedCounts) {
    text.each(
        ("handshakes_by_version_total", Kind::Counter),
        "DTLS handshakes that gave a browser fresh keys, by version.",
        "version",
        agreed.versions(),
    );
    text.each(
        ("handshakes_by_group_total", Kind::Counter),
        "The same, by the key exchange.",
        "group",
        agreed.groups(),
    );
    text.each(
        ("handshakes_by_srtp_total", Kind::Counter),
        "The same, by what media is encrypted with.",
        "srtp",
        agreed.profiles(),
    );
}

fn handshakes(text: &mut Text, snapshot: &Snapshot) {
    let help = "DTLS handshakes that gave a browser fresh keys.";
    text.one("handshakes_total", Kind::Counter, help, snapshot.handshakes);
    let failures = &snapshot.failures;
    text.each(
        ("handshakes_failed_total", Kind::Counter),
        "DTLS handshakes that gave nobody keys, by cause; those beside which another was completed \
         are not counted.",
        "cause",
        [
            ("certificate", failures.certificate),
            ("alert", failures.alert),
            ("error", failures.error),
            ("timeout", failures.timeout),
            ("post-quantum", failures.post_quantum),
            ("busy", failures.busy),
        ],
    );
}

fn channels(text: &mut Text, snapshot: &Snapshot) {
    let channels = &snapshot.channels;
    text.each(
        ("channel_live", Kind::Gauge),
        "Whether media of a publisher flows.",
        "channel",
        channels.iter().map(|one| (&one.name, u64::from(one.live))),
    );
    text.each(
        ("channel_viewers", Kind::Gauge),
        "Connected viewers.",
        "channel",
        channels.iter().map(|one| (&one.name, one.viewers)),
    );
}

fn media(text: &mut Text, snapshot: &Snapshot) {
    let mut count = |name: &str, help: &str, value: u64| text.one(name, Kind::Counter, help, value);
    count(
        "rtp_received_total",
        "RTP packets taken from publishers.",
        snapshot.packets_in,
    );
    count(
        "rtp_received_bytes_total",
        "Bytes of these, header and payload, without what SRTP adds.",
        snapshot.bytes_in,
    );
    count(
        "rtp_sent_total",
        "RTP packets sent to viewers.",
        snapshot.packets_out,
    );
    count(
        "rtp_sent_bytes_total",
        "Bytes of these, counted alike.",
        snapshot.bytes_out,
    );
    count(
        "rtp_duplicate_total",
        "RTP packets of publishers that had come before.",
        snapshot.duplicates,
    );
    count(
        "rtp_unknown_total",
        "RTP packets of publishers with an SSRC or a payload type that was not agreed on.",
        snapshot.unknown,
    );
    count(
        "nack_received_total",
        "RTP packets that viewers asked for again.",
        snapshot.nacked,
    );
    count(
        "nack_sent_total",
        "RTP packets that publishers were asked for again.",
        snapshot.nacks,
    );
    count(
        "keyframe_requests_received_total",
        "Keyframes that viewers asked for (PLI, FIR).",
        snapshot.keyframe_requests,
    );
    count(
        "rtp_overrun_total",
        "RTP packets left out for viewers, since sending fell behind.",
        snapshot.overrun,
    );
    count(
        "rtp_retransmitted_total",
        "RTP packets sent again on a NACK.",
        snapshot.retransmitted,
    );
    count(
        "pli_sent_total",
        "Picture loss indications sent to publishers.",
        snapshot.plis,
    );
}

fn loss(text: &mut Text, snapshot: &Snapshot) {
    let loss = &snapshot.loss;
    let help = "Fractions of RTP packets that viewers report as lost, one for each block of a \
                receiver report.";
    text.histogram(
        "viewer_loss_ratio",
        help,
        loss.cumulative(),
        (loss.ratios(), loss.count),
    );
}

/// Handshakes of the server's own HTTPS.
fn handshakes_of_https(text: &mut Text, tls: &Tls) {
    let counts = tls.counts();
    text.each(
        ("tls_handshakes_total", Kind::Counter),
        "TLS handshakes of HTTPS that were completed, by version.",
        "version",
        counts.completed(),
    );
    text.each(
        ("tls_handshakes_failed_total", Kind::Counter),
        "Connections to the HTTPS port that carried no TLS, by cause.",
        "cause",
        counts.failed(),
    );
    let until = tls.expires();
    let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
    if let Some(until) = until {
        let help = "When the certificate of HTTPS is valid no longer, in seconds since 1970.";
        let name = "tls_certificate_expiry_timestamp_seconds";
        text.one(name, Kind::Gauge, help, until.as_secs());
    }
}

/// Events for `--events-url`.
fn told(text: &mut Text, counts: &EventCounts) {
    let mut count = |name: &str, help: &str, value: &AtomicU64| {
        text.one(name, Kind::Counter, help, value.load(Ordering::Relaxed));
    };
    let help = "Events that were told to the service at --events-url.";
    count("events_delivered_total", help, &counts.delivered);
    let help = "Events that were lost, since it gave no good answer, or fell behind.";
    count("events_dropped_total", help, &counts.dropped);
}

fn writes(text: &mut Text, app: &App) {
    let counts = app.writes.counts();
    let help = "Seconds that a record took to be durable in the vault, or to be gone from it.";
    text.times("vault_write_seconds", help, &counts.times);
    let help = "Of these, those that failed.";
    text.one(
        "vault_write_failures_total",
        Kind::Counter,
        help,
        counts.failures,
    );
}
