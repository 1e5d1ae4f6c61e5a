//! The fuzz targets over their seeds.

use rekindle_testing::seeds;

#[test]
fn http() {
    seeds::run("http", super::http);
}
