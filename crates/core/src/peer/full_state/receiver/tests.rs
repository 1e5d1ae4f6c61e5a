//! What a sender protects and a receiver opens, and what it refuses.

use crate::peer::transform::tests::{keys, protected, rtcp, rtp};

#[test]
fn what_rtc_srtp_protects_is_read_byte_for_byte() {
    for profile in 0..3 {
        let (transform, context) = keys(profile);
        let mut sending = context();
        for (n, payload) in [0, 1, 15, 16, 17, 1200].into_iter().enumerate() {
            let packet = rtp(100 + n as u16, payload, n % 2 == 0);
            let theirs = sending.encrypt_rtp(&packet).expect("encrypted");
            let plain = transform.unprotect_rtp(&theirs, 100 + n as u64);
            assert_eq!(plain.expect("authentic"), packet);

            let packet = rtcp(payload.next_multiple_of(4));
            let theirs = sending.encrypt_rtcp(&packet).expect("encrypted");
            let (index, plain) = transform.unprotect_rtcp(&theirs).expect("authentic");
            assert_eq!((index, &plain[..]), (n as u32 + 1, &packet[..]));
        }
    }
}

#[test]
fn another_index_and_every_flipped_byte_are_refused() {
    for profile in 0..3 {
        let (transform, _) = keys(profile);
        let protected = protected(&transform, &rtp(7, 40, false), 0x3_0007);
        assert!(transform.unprotect_rtp(&protected, 0x3_0007).is_some());
        for index in [0x7, 0x2_0007, 0x4_0007] {
            assert!(transform.unprotect_rtp(&protected, index).is_none());
        }
        let control = transform.protect_rtcp(&rtcp(24), 9).expect("protected");
        for at in 0..protected.len() {
            let mut bad = protected.to_vec();
            bad[at] ^= 0x40;
            assert!(
                transform.unprotect_rtp(&bad, 0x3_0007).is_none(),
                "byte {at}"
            );
            assert!(
                transform
                    .unprotect_rtp(&protected[..at], 0x3_0007)
                    .is_none(),
                "cut at {at}"
            );
        }
        for at in 0..control.len() {
            let mut bad = control.to_vec();
            bad[at] ^= 0x40;
            assert!(transform.unprotect_rtcp(&bad).is_none(), "byte {at}");
            assert!(
                transform.unprotect_rtcp(&control[..at]).is_none(),
                "cut at {at}"
            );
        }
    }
}
