//! The `rekindle` program: a thin shell around [`rekindle::cli`].
#![forbid(unsafe_code)]

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory when it is freed. Types that wipe themselves cover our own copies of keys;
/// this covers those that libraries make: buffers that grew, DTLS messages, decrypted records. Its
/// cost on the media path: `benches/wiping_allocator.rs` (5 % of the forwarding core's CPU time,
/// without sockets). For a whole server with 100 viewers that is about 1 %, of which overwriting
/// itself is 0.2 %: threat-model/process.md.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    rekindle::cli::main()
}
