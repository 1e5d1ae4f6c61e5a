//! The fuzz targets over their seeds.

use rekindle_testing::seeds;

#[test]
fn record() {
    seeds::run("record", |data| {
        if let Some(record) = super::record(data) {
            // What a boot makes of it.
            let _ = rekindle_sdp::negotiated(record.role, &record.offer, &record.answer);
        }
    });
}

#[test]
fn key_file() {
    seeds::run("key_file", super::key_file);
}
