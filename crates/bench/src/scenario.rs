//! The conditions of measurements.

use std::time::Duration;

use rekindle_client::page::Way;
use serde::Serialize;

use super::media::CameraSettings;
use super::path::Conditions;

/// A way of surviving a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Arm {
    /// The default mode: fresh keys by a fresh handshake on the same connection.
    Rehandshake,
    /// The reference mode, which keeps session keys on disk.
    FullState,
    /// The server forgets everything, and every client makes a new session.
    Reconnect,
}

impl Arm {
    /// All, in the order in which they take turns.
    pub(crate) const ALL: [Self; 3] = [Self::Rehandshake, Self::FullState, Self::Reconnect];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rehandshake => "rehandshake",
            Self::FullState => "full-state",
            Self::Reconnect => "reconnect",
        }
    }

    pub(super) fn way(self) -> Way {
        match self {
            Self::Rehandshake => Way::Renew,
            Self::FullState => Way::Wait,
            Self::Reconnect => Way::Rejoin,
        }
    }

    pub(super) fn server_options(self) -> Vec<String> {
        match self {
            Self::FullState => vec!["--mode=full-state".to_owned()],
            Self::Rehandshake | Self::Reconnect => Vec::new(),
        }
    }
}

/// Conditions of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Scenario {
    pub viewers: usize,
    /// From the end of the old process to the start of the new one.
    #[serde(rename = "down_ms", serialize_with = "super::stats::as_ms")]
    pub down: Duration,
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// The axes; missing ones are taken from the default set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Axes {
    /// Viewers.
    pub viewers: Option<Vec<usize>>,
    /// Down times in milliseconds.
    pub down: Option<Vec<u64>>,
    /// Round trips in milliseconds.
    pub rtt: Option<Vec<u64>>,
    /// Loss in percent.
    pub loss: Option<Vec<f64>>,
}

impl Axes {
    /// Whether none is given.
    pub(crate) fn is_default(&self) -> bool {
        self.viewers.is_none() && self.down.is_none() && self.rtt.is_none() && self.loss.is_none()
    }

    /// The default set where no axis is given; else every combination.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let make = |viewers, down, rtt, loss| Scenario {
            viewers,
            down: Duration::from_millis(down),
            conditions: Conditions {
                rtt: Duration::from_millis(rtt),
                loss,
            },
        };
        if self.is_default() {
            return vec![
                make(1, 0, 0, 0.0),
                make(1, 0, 50, 0.0),
                make(1, 0, 100, 1.0),
                make(10, 300, 0, 0.0),
                make(10, 2000, 50, 0.0),
                make(100, 0, 0, 0.0),
                make(1000, 0, 0, 0.0),
            ];
        }
        let or = |given: &Option<Vec<u64>>, default| given.clone().unwrap_or_else(|| vec![default]);
        let mut all = Vec::new();
        for &viewers in self.viewers.as_deref().unwrap_or(&[1]) {
            for &down in &or(&self.down, 0) {
                for &rtt in &or(&self.rtt, 0) {
                    for &loss in self.loss.as_deref().unwrap_or(&[0.0]) {
                        all.push(make(viewers, down, rtt, loss));
                    }
                }
            }
        }
        all
    }
}

impl Scenario {
    /// How often the arms take turns, and how many kills a turn has.
    pub(crate) fn plan(&self, turns: Option<u32>, kills: Option<u32>) -> (u32, u32) {
        let (usual_turns, usual_kills) = match self.viewers {
            0..=1 => (2, 4),
            2..=20 => (1, 3),
            21..=200 => (1, 3),
            _ => (1, 2),
        };
        (turns.unwrap_or(usual_turns), kills.unwrap_or(usual_kills))
    }

    /// What the publisher sends: the requested rate, otherwise no more than this machine can
    /// forward to all viewers with time to spare. Where that is little there are fewer frames, so
    /// that packets are as full as elsewhere.
    pub(crate) fn camera(&self, fps: Option<u32>, video_bitrate: Option<u32>) -> CameraSettings {
        const USUAL: u32 = 1_500_000;
        const USUAL_FPS: u32 = 30;
        const ALL: u32 = 100_000_000;
        const FULL_PACKET_BITS: u32 = 9600;
        let fair = ALL / u32::try_from(self.viewers.max(1)).unwrap_or(u32::MAX);
        let video_bitrate = video_bitrate.unwrap_or_else(|| fair.clamp(8000, USUAL));
        CameraSettings {
            fps: fps.unwrap_or_else(|| (video_bitrate / FULL_PACKET_BITS).clamp(1, USUAL_FPS)),
            video_bitrate,
        }
    }

    /// In words.
    pub(crate) fn title(&self) -> String {
        let viewers = if self.viewers == 1 {
            "1 viewer".to_owned()
        } else {
            format!("{} viewers", self.viewers)
        };
        let rtt = format!("round trip {} ms", self.conditions.rtt.as_millis());
        let down = if self.down.is_zero() {
            "instant restart".to_owned()
        } else {
            format!("down for {} ms", self.down.as_millis())
        };
        let mut text = format!("{viewers}, {rtt}, {down}");
        if self.conditions.loss > 0.0 {
            text += &format!(", loss {} %", self.conditions.loss);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_the_axes_that_are_given_is_measured() {
        let axes = Axes {
            viewers: Some(vec![1, 10]),
            rtt: Some(vec![0, 50, 100]),
            ..Axes::default()
        };
        let scenarios = axes.scenarios();
        assert_eq!(scenarios.len(), 6);
        assert!(
            scenarios
                .iter()
                .all(|s| s.down.is_zero() && s.conditions.loss == 0.0)
        );
        assert_eq!(
            scenarios[5].title(),
            "10 viewers, round trip 100 ms, instant restart"
        );
    }

    #[test]
    fn a_crowd_is_sent_less_in_full_packets() {
        let axes = Axes {
            viewers: Some(vec![1, 1000]),
            ..Axes::default()
        };
        let cameras = axes
            .scenarios()
            .into_iter()
            .map(|scenario| scenario.camera(None, None));
        let sent: Vec<_> = cameras
            .map(|camera| (camera.fps, camera.video_bitrate))
            .collect();
        assert_eq!(sent, [(30, 1_500_000), (10, 100_000)]);
    }
}
