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
