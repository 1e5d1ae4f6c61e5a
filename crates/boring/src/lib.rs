//! DTLS-SRTP (RFC 5764) handshakes by BoringSSL, which does no I/O here and reads no clock:
//! datagrams and the time come in, datagrams and keying material go out.
//!
//! All calls of C that the `boring` crate does not wrap are in `clock`, the one module here with
//! `unsafe`.
#![deny(unsafe_code)]

#[cfg(feature = "boringssl")]
mod association;
#[cfg(all(feature = "boringssl", rekindle_canary))]
pub mod canary;
#[cfg(feature = "boringssl")]
mod clock;
#[cfg(feature = "boringssl")]
mod context;
#[cfg(feature = "boringssl")]
mod pipe;
#[cfg(all(test, feature = "boringssl"))]
mod tests;

#[cfg(feature = "boringssl")]
pub use association::{Association, Completed, Group, Side, Srtp, Version};
#[cfg(feature = "boringssl")]
pub use context::{Context, Groups};

/// Why BoringSSL does not carry out a request.
#[cfg(feature = "boringssl")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It refuses the certificate, its key or the settings.
    #[error("BoringSSL refuses its settings: {0}")]
    Settings(#[from] boring::error::ErrorStack),
    /// The other side does not have any of the required groups, or not the required version.
    #[error("the other side has no key exchange that is accepted here: {0}")]
    NoSharedGroup(boring::ssl::Error),
    /// The handshake is over for good.
    #[error("{0}")]
    Handshake(boring::ssl::Error),
    /// It completed without a certificate or an SRTP profile.
    #[error("the handshake ended without a certificate or an SRTP profile")]
    Incomplete,
}
