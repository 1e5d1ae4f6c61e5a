//! A WebRTC broadcast server without I/O.
//!
//! - [`broadcast`]: channels, forwarding, packet history, RTCP, and who is admitted after a start.
//! - [`peer`]: one browser: ICE-lite, DTLS, SRTP.
//!
//! Both are told the time and the randomness, and ask for neither.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// What tests and fuzz targets share is `pub` in modules that only they see.
#![cfg_attr(not(any(test, fuzzing)), warn(unreachable_pub))]
// The core asks for neither time nor randomness. Its tests do.
#![cfg_attr(not(any(test, fuzzing)), deny(clippy::disallowed_methods))]

pub mod broadcast;
#[cfg(rekindle_canary)]
pub mod canary;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod peer;
