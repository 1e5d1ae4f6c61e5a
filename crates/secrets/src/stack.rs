//! What functions leave behind on the stack when they return: copies of keys, in registers that
//! were spilled and in variables of libraries. No type can wipe those, and they stay until
//! something else happens to be written there.

use std::hint::black_box;

/// How much is overwritten, in bytes. DTLS, the deepest of all that handles secrets, takes some 20
/// KB in a release build and three times as much in a debug build.
const AREA: usize = 160 * 1024;

/// Overwrites the part of the stack that the caller's callees have used. To be called when a secret
/// has come to its end, by a function that is no deeper than where the secret was handled.
#[inline(never)]
pub fn wipe() {
    let mut area = [0_u8; AREA];
    // So that the compiler cannot leave it out.
    black_box(&mut area);
}
