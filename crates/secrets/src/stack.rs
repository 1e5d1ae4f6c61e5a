//! What functions leave on the stack when they return: copies of keys, in spilled registers and in
//! variables of libraries. No type can wipe those, and they stay until something else happens to be
//! written there.

use std::hint::black_box;

/// How much is overwritten, in bytes. DTLS, which uses the most stack of all that handles secrets,
/// takes some 20 KB in a release build and three times as much in a debug build.
const AREA: usize = 160 * 1024;

/// Overwrites the part of the stack that the caller's callees have used. To be called when a secret
/// is no longer needed, by a function that is no deeper than those that handled it.
#[inline(never)]
pub fn wipe() {
    let mut area = [0_u8; AREA];
    // So that the compiler cannot leave it out.
    black_box(&mut area);
}
