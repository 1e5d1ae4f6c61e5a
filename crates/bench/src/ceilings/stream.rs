//! The packets of a camera, in the ticks in which a server that gathers sends them.

use std::time::{Duration, Instant};

use rekindle_client::payload::HEAD;
use rekindle_client::publisher::{Camera as _, Filling, Made, Wish};
use rekindle_sdp::Kind;

use super::sender::{HEADER, LONGEST};
use crate::media::{Camera, CameraSettings, Packets};

/// Longest wait of a packet for others, as in the server (`src/net/gather.rs`).
pub(super) const TICK: Duration = Duration::from_millis(4);
/// Time between two packets of a frame, likewise.
const PACE: Duration = Duration::from_micros(500);

/// The lengths of the packets of each tick before encryption, in bytes; those of pictures first.
pub(super) fn ticks(camera: CameraSettings, over: Duration) -> Vec<Vec<usize>> {
    let packets = Packets {
        longest: LONGEST - HEADER,
        pace: PACE,
        ..Packets::default()
    };
    let start = Instant::now();
    let mut camera = Camera::with(camera, packets, start);
    let mut ticks = Vec::new();
    let mut since: Option<Instant> = None;
    let mut waiting: [Vec<usize>; 2] = Default::default();
    while let Some(due) = camera.next().filter(|due| *due < start + over) {
        if since.is_some_and(|since| due >= since + TICK) {
            ticks.push(waiting.concat());
            waiting = Default::default();
            since = None;
        }
        since.get_or_insert(due);
        for (kind, waiting) in [Kind::Video, Kind::Audio].into_iter().zip(&mut waiting) {
            let wish = Wish {
                key: &mut false,
                connected: true,
            };
            waiting.extend(camera.make(kind, due, wish).map(|made| length(&made)));
        }
    }
    ticks.push(waiting.concat());
    ticks
}

fn length(made: &Made) -> usize {
    HEADER
        + HEAD
        + match &made.filling {
            Filling::Same(bytes) => *bytes,
            Filling::These(bytes) => bytes.len(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_tick_and_sound_is_behind_it() {
        let camera = CameraSettings {
            fps: 25,
            video_bitrate: 800_000,
        };
        // 4,000 bytes every 40 ms are three full packets and a rest.
        let ticks = ticks(camera, Duration::from_millis(80));
        let lengths: Vec<usize> = ticks.iter().map(Vec::len).collect();
        assert_eq!(lengths, [5, 1, 5, 1]);
        let rest = HEADER + 4000 - 3 * (LONGEST - HEADER);
        let frame = [LONGEST, LONGEST, LONGEST, rest, HEADER + 100];
        assert_eq!(ticks[0], frame);
    }
}
