//! `GET /metrics`: counts in Prometheus' text format (version 0.0.4), for operators. Names and
//! units follow <https://prometheus.io/docs/practices/naming/>.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::broadcast::Snapshot;

use super::app::{App, ClientAddress};
use super::events::reason;
use super::problem::Problem;
use super::sessions::{AgreedCounts, DEPARTURES, Tally, Times};
use super::status::no_store;
use super::{auth, middleware};

/// Channels are named in it, so it is for this machine, and for who may publish. Behind a
/// proxy everybody comes from this machine, and not every proxy says for whom it asks.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let near = !app.behind_proxy
        && client.to_canonical().is_loopback()
        && !middleware::is_forwarded(&headers);
    if !near {
        match &app.publish {
            Some(token) => auth::require(Some(token), &headers, "read metrics")?,
            None => return Err(Problem::not_found()),
        }
    }
    everything(State(app)).await
}

/// The same for who has been let in already.
pub(super) async fn everything(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let snapshot = app.health.snapshot(&app.net, &app.sessions).await?;
    let text = render(&app, &snapshot);
    let mut response = no_store(text);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}

/// A text in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    /// What a metric is, before its values.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP rekindle_{name} {help}\n# TYPE rekindle_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "rekindle_{name}{labels} {value}");
    }

    /// A metric with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, "", value);
    }

    /// A metric with a value for each value of a label. These need no escaping: they are words of
    /// this program's, or names of channels.
    fn each<V: Display, L: Display>(
        &mut self,
        (name, kind): (&str, &str),
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            self.value(name, &format!("{{{label}=\"{of}\"}}"), value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Times) {
        self.head(name, "histogram", help);
        for (bound_ms, count) in times.cumulative() {
            let bound = seconds(Duration::from_millis(bound_ms));
            self.value(
                &format!("{name}_bucket"),
                &format!("{{le=\"{bound}\"}}"),
                count,
            );
        }
        self.value(&format!("{name}_bucket"), "{le=\"+Inf\"}", times.count);
        self.value(&format!("{name}_sum"), "", seconds(times.sum));
        self.value(&format!("{name}_count"), "", times.count);
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn render(app: &App, snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    process(&mut text, app, snapshot);
    let tally = app.sessions.tally();
    comings_and_goings(&mut text, &tally);
    agreed(&mut text, &tally.agreed);
    media(&mut text, snapshot);
    text.0
}

fn process(text: &mut Text, app: &App, counts: &Snapshot) {
    text.one(
        "boot",
        "gauge",
        "Which life of the server this is.",
        app.boot,
    );
    let uptime = app.started.elapsed().as_secs();
    text.one(
        "uptime_seconds",
        "gauge",
        "Seconds since the process started.",
        uptime,
    );
    text.each(
        ("peers", "gauge"),
        "Browsers by state: connected; awaited since the last boot; joining.",
        "state",
        [
            ("connected", counts.connected),
            ("awaited", counts.awaited),
            ("joining", counts.joining),
        ],
    );
}

/// Who came back from the last boot, when, and who did not; how sessions ended.
fn comings_and_goings(text: &mut Text, tally: &Tally) {
    if let Some(ready) = tally.ready {
        let help = "Seconds from the start of the process until all records of the last boot were \
                    read and newcomers let in.";
        text.one("ready_seconds", "gauge", help, seconds(ready));
    }
    let help = "Browsers of the last boot that have keys again.";
    text.one("peers_resumed_total", "counter", help, tally.resumed.count);
    let help =
        "Seconds from the start of the process until a browser of the last boot had keys again.";
    text.histogram("resume_seconds", help, &tally.resumed);
    let help =
        "Of resume_seconds, the one that came back last: how long the last restart took so far.";
    text.one(
        "resume_last_seconds",
        "gauge",
        help,
        seconds(tally.resumed.last),
    );
    let left = |number: &usize| reason(DEPARTURES[*number]) == "left";
    let numbers = || 0..DEPARTURES.len();
    let lost = numbers().filter(|number| !left(number));
    let lost = lost.map(|number| (reason(DEPARTURES[number]), tally.lost[number]));
    text.each(
        ("peers_lost_total", "counter"),
        "Browsers of the last boot that did not come back, by reason.",
        "reason",
        lost.chain([("unreadable", tally.unreadable)]),
    );
    text.each(
        ("sessions_ended_total", "counter"),
        "Sessions that ended, by reason.",
        "reason",
        numbers().map(|number| (reason(DEPARTURES[number]), tally.ended[number])),
    );
    let help = "New browsers that no ICE check came from in time: no packet gets through, or they \
                were closed.";
    text.one("peers_unheard_total", "counter", help, tally.unheard);
}

/// How keys were agreed on.
fn agreed(text: &mut Text, agreed: &AgreedCounts) {
    text.each(
        ("handshakes_by_version_total", "counter"),
        "DTLS handshakes that gave a browser fresh keys, by version.",
        "version",
        agreed.versions(),
    );
    text.each(
        ("handshakes_by_group_total", "counter"),
        "The same, by the key exchange.",
        "group",
        agreed.groups(),
    );
    text.each(
        ("handshakes_by_srtp_total", "counter"),
        "The same, by what media is encrypted with.",
        "srtp",
        agreed.profiles(),
    );
}

fn media(text: &mut Text, snapshot: &Snapshot) {
    let help = "DTLS handshakes that gave a browser fresh keys.";
    text.one("handshakes_total", "counter", help, snapshot.handshakes);
    let failures = &snapshot.failures;
    text.each(
        ("handshakes_failed_total", "counter"),
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
    let channels = &snapshot.channels;
    text.each(
        ("channel_live", "gauge"),
        "Whether media of a publisher flows.",
        "channel",
        channels
            .iter()
            .map(|(name, live, _)| (name, u64::from(*live))),
    );
    text.each(
        ("channel_viewers", "gauge"),
        "Connected viewers.",
        "channel",
        channels.iter().map(|(name, _, viewers)| (name, viewers)),
    );
    let mut count = |name: &str, help: &str, value: u64| text.one(name, "counter", help, value);
    count(
        "rtp_received_total",
        "RTP packets taken from publishers.",
        snapshot.packets_in,
    );
    count(
        "rtp_sent_total",
        "RTP packets sent to viewers.",
        snapshot.packets_out,
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
