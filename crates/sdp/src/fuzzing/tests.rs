//! The fuzz targets over their seeds.

use rekindle_testing::seeds;

#[test]
fn sdp() {
    seeds::run("sdp", super::sdp);
}
