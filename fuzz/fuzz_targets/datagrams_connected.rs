#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rekindle_core::fuzzing::datagrams_connected(data));
