use rekindle_client::publisher::Camera as _;
use rekindle_sdp::Codec;

use super::*;

fn make(camera: &mut Camera, kind: Kind, now: Instant) -> Option<Made> {
    let wish = Wish {
        key: &mut false,
        connected: true,
    };
    camera.make(kind, now, wish)
}

#[test]
fn the_camera_keeps_its_rate_whenever_it_is_looked_at() {
    let t = Instant::now();
    let settings = CameraSettings {
        fps: 30,
        video_bitrate: 1_500_000,
    };
    let mut camera = Camera::new(settings, t);
    let (mut bytes, mut frames, mut sounds) = (0, 0, 0);
    for ms in (0..10_000).step_by(7) {
        let now = t + Duration::from_millis(ms);
        while let Some(made) = make(&mut camera, Kind::Video, now) {
            bytes += made.payload(&Codec::Vp8).len();
            frames += u32::from(made.marker);
        }
        while make(&mut camera, Kind::Audio, now).is_some() {
            sounds += 1;
        }
    }
    assert!((299..=301).contains(&frames), "{frames} frames");
    assert!((499..=501).contains(&sounds), "{sounds} audio packets");
    assert!((1_850_000..=1_900_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn frames_are_cut_as_asked_and_every_packet_has_its_stamp() {
    let t = Instant::now();
    let settings = CameraSettings {
        fps: 30,
        video_bitrate: 30 * 8 * 2501,
    };
    let lengths = |even| {
        let packets = Packets {
            longest: 1000,
            even,
            pace: Duration::ZERO,
            stamp: Some(|| 7),
            ..Packets::default()
        };
        let mut camera = Camera::with(settings, packets, t);
        let mut payloads = Vec::new();
        while let Some(made) = make(&mut camera, Kind::Video, t) {
            payloads.push(made.payload(&Codec::Vp8));
        }
        for payload in &payloads {
            assert_eq!(payload[HEAD..HEAD + 8], [0, 0, 0, 0, 0, 0, 0, 7]);
        }
        payloads.iter().map(|p| p.len()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(false), [1000, 1000, 501]);
    assert_eq!(lengths(true), [833, 834, 834]);
}

#[test]
fn a_microphone_alone_makes_no_pictures() {
    let t = Instant::now();
    let settings = CameraSettings {
        fps: 30,
        video_bitrate: 1_000_000,
    };
    let packets = Packets {
        video: false,
        ..Packets::default()
    };
    let mut camera = Camera::with(settings, packets, t);
    let later = t + Duration::from_secs(1);
    assert!(make(&mut camera, Kind::Video, later).is_none());
    let sounds = std::iter::from_fn(|| make(&mut camera, Kind::Audio, later)).count();
    assert_eq!(sounds, 51);
    assert_eq!(camera.next(), Some(t + 51 * AUDIO_PACKET));
}
