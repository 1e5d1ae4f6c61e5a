//! The two formats: Prometheus' text (version 0.0.4), and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).

use std::fmt::{Display, Write as _};

use axum::http::{HeaderMap, HeaderValue, header};

use super::super::times::Times;

/// The type of a metric.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Facts about the process, as labels of a value that is always 1.
    Info,
}

/// The formats that clients can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// The one that the client prefers (RFC 9110 §12.5.1); Prometheus' where it has no preference.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        let values = headers.get_all(header::ACCEPT).iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut weight, mut known) = (1.0, true);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", number)) => weight = number.parse().unwrap_or(0.0),
                    Some(("version", version)) => known = version.trim_matches('"') == "1.0.0",
                    _ => {}
                }
            }
            if kind.eq_ignore_ascii_case("application/openmetrics-text") && known {
                open = f32::max(open, weight);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = f32::max(plain, weight);
            }
        }
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// A text under construction.
pub(super) struct Text {
    format: Format,
    text: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Writes the metadata of a metric, before its values. OpenMetrics names the whole family,
    /// without the suffixes of its values.
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let is_open = self.format == Format::OpenMetrics;
        let (family, kind) = match kind {
            Kind::Counter if is_open => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            Kind::Counter => (name, "counter"),
            Kind::Gauge => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
            Kind::Info if is_open => (name.strip_suffix("_info").unwrap_or(name), "info"),
            Kind::Info => (name, "gauge"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.text,
            "# HELP rekindle_{family} {help}\n# TYPE rekindle_{family} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "rekindle_{name}{labels} {value}");
    }

    /// A metric with one value.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, "", value);
    }

    /// A metric with one value for each value of a label. The values need no escaping: they are
    /// words of this program, or names of channels.
    pub(super) fn each<V: Display, L: Display>(
        &mut self,
        (name, kind): (&str, Kind),
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            self.value(name, &format!("{{{label}=\"{of}\"}}"), value);
        }
    }

    /// Facts about the process; these need no escaping either.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, Kind::Info, help);
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, word)| format!("{label}=\"{word}\""))
            .collect();
        self.value(name, &format!("{{{}}}", labels.join(",")), 1);
    }

    /// A histogram of durations, in seconds.
    pub(super) fn times(&mut self, name: &str, help: &str, times: &Times) {
        let buckets = times
            .cumulative()
            .map(|(bound, count)| (bound.as_secs_f64(), count));
        self.histogram(name, help, buckets, (times.sum.as_secs_f64(), times.count));
    }

    /// A histogram with these buckets, cumulative, and the sum and number of all values.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: impl Iterator<Item = (f64, u64)>,
        (sum, all): (f64, u64),
    ) {
        self.head(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in buckets {
            // OpenMetrics requires a decimal point in each bound.
            let label = match self.format {
                Format::Prometheus => format!("{{le=\"{bound}\"}}"),
                Format::OpenMetrics => format!("{{le=\"{bound:?}\"}}"),
            };
            self.value(&bucket, &label, count);
        }
        self.value(&bucket, "{le=\"+Inf\"}", all);
        self.value(&format!("{name}_sum"), "", sum);
        self.value(&format!("{name}_count"), "", all);
    }

    /// Returns the whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Format {
        let value = HeaderValue::from_static(accept);
        Format::wanted(&HeaderMap::from_iter([(header::ACCEPT, value)]))
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Prometheus);
        for plain in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.1,text/plain;q=0.5",
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(wanted(plain), Format::Prometheus, "{plain}");
        }
        for open in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            // As Prometheus 2 and 3 ask.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;\
             version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1",
        ] {
            assert_eq!(wanted(open), Format::OpenMetrics, "{open}");
        }
    }
}
