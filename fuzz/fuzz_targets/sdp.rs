#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rekindle_sdp::fuzzing::sdp(data));
