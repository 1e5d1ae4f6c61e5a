#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(record) = rekindle_vault::fuzzing::record(data) {
        // What a boot makes of it.
        let _ = rekindle_sdp::negotiated(record.role, &record.offer, &record.answer);
    }
});
