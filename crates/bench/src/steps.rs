//! When a restarted server reached which step: read from its log, whose lines have the system's
//! time in microseconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The lines of the log that tell of steps.
pub(super) const TARGET: &str = "rekindle::resume";

/// When each step was reached, in microseconds since 1970.
pub(super) type Steps = BTreeMap<String, Vec<u64>>;

/// A moment on the clock that the log's times are of.
pub(super) fn unix_us(at: Instant) -> u64 {
    let at = SystemTime::now() - at.elapsed();
    micros(
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Adds the step that a line of the log reports. A line about keys reports two: the handshake's
/// end, and by its duration, its beginning.
pub(super) fn read(line: &Value, steps: &mut Steps) {
    let at = line["timestamp"]
        .as_str()
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        .and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1000).ok());
    let (Some(step), Some(at)) = (line["step"].as_str(), at) else {
        return;
    };
    let mut add = |step: String, at: u64| steps.entry(step).or_default().push(at);
    if step != "keys" {
        return add(step.to_owned(), at);
    }
    let role = line["role"].as_str().unwrap_or_default().to_lowercase();
    let took = line["took_us"].as_u64().unwrap_or_default();
    add(format!("hello.{role}"), at.saturating_sub(took));
    add(format!("handshake.{role}"), at);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_read_from_lines_of_the_log() {
        let mut steps = Steps::new();
        for (time, fields) in [
            ("2026-01-02T03:04:05.000006Z", json!({"step": "bound"})),
            (
                "2026-01-02T03:04:05.500000Z",
                json!({"step": "keys", "role": "Viewer", "took_us": 2000}),
            ),
            ("no time", json!({"step": "vault"})),
            ("2026-01-02T03:04:05.500000Z", json!({"message": "no step"})),
        ] {
            let mut line = fields;
            line["timestamp"] = time.into();
            read(&line, &mut steps);
        }
        let second = 1_767_323_045_000_000;
        let expected = [
            ("bound", second + 6),
            ("handshake.viewer", second + 500_000),
            ("hello.viewer", second + 498_000),
        ];
        let expected = expected.map(|(step, at)| (step.to_owned(), vec![at]));
        assert_eq!(steps, Steps::from(expected));
    }

    #[test]
    fn a_moment_keeps_its_distance_to_others() {
        let now = Instant::now();
        let (sooner, later) = (unix_us(now - Duration::from_secs(20)), unix_us(now));
        assert!((19_000_000..=21_000_000).contains(&(later - sooner)));
    }
}
