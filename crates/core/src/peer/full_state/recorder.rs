//! Notes every packet that is protected, and finds two that share a key and an index.

use std::cell::RefCell;
use std::collections::HashMap;

use rekindle_full_state::record::SessionId;

/// Which packet: keys, SSRC (none for SRTCP, whose indices are counted for all SSRCs together),
/// index.
type Place = (SessionId, Option<u32>, u64);

thread_local! {
    static SEEN: RefCell<HashMap<Place, Vec<u8>>> = RefCell::default();
}

/// Notes a protected packet. Fails the test if another one had the same key and index.
pub(crate) fn note(id: SessionId, ssrc: Option<u32>, index: u64, packet: &[u8]) {
    SEEN.with_borrow_mut(|seen| {
        let before = seen
            .entry((id, ssrc, index))
            .or_insert_with(|| packet.to_vec());
        assert!(
            before == packet,
            "two packets under one key and index: SSRC {ssrc:?}, index {index:#x}"
        );
    });
}

/// How many packets this test has noted so far.
pub(crate) fn places() -> usize {
    SEEN.with_borrow(HashMap::len)
}
