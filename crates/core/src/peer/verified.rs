//! Handshakes that begin with a client's second ClientHello, which has the cookie (RFC 6347
//! §4.2.1).
//!
//! The first one was answered without state, by [`super::cookie`]. The DTLS library needs both, and
//! makes a cookie of its own from the ClientHello. So it is given a substitute for the first one,
//! whose answer is discarded. Where it computes what the cookie should be, it gets the cookie that
//! the client has shown and that has been checked. In DTLS 1.2 the library computes no other HMAC
//! through this interface.

use std::cell::Cell;
use std::time::Instant;

use dimpl::crypto::{CryptoProvider, HashAlgorithm, HmacProvider};
use dimpl::{CryptoError, Dtls, Output};

use super::cookie::COOKIE_LEN;

thread_local! {
    /// The checked cookie of the ClientHello that the library is working on.
    static CHECKED: Cell<Option<[u8; COOKIE_LEN]>> = const { Cell::new(None) };
}

/// The library's HMAC, except for the computation of a cookie.
#[derive(Debug)]
struct Checked;

impl HmacProvider for Checked {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match CHECKED.get() {
            Some(cookie) => Ok(cookie),
            None => library().hmac_provider.hmac_sha256(key, data),
        }
    }

    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        library().hmac_provider.hmac(hash, key, data, out)
    }
}

fn library() -> CryptoProvider {
    dimpl::crypto::aws_lc_rs::default_provider()
}

/// The library's cryptography, for handshakes of this kind.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        hmac_provider: &Checked,
        ..library()
    }
}

/// Runs `work`, in which the library takes this cookie for the right one.
pub(super) fn with_cookie<T>(cookie: Option<[u8; COOKIE_LEN]>, work: impl FnOnce() -> T) -> T {
    CHECKED.set(cookie);
    let done = work();
    CHECKED.set(None);
    done
}

/// A first ClientHello: a record of epoch 0 with number 0, message 0, in one piece; DTLS 1.2, a
/// random, no session, no cookie, `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, no compression, no
/// extensions.
#[rustfmt::skip]
const FIRST_HELLO: [u8; 67] = [
    22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54,
    1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42,
    0xfe, 0xfd,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 2, 0xc0, 0x2b, 1, 0,
];

/// Brings a new server, whose settings ask for cookies, to the state in which it expects a
/// ClientHello with one.
pub(super) fn expect_second_hello(dtls: &mut Dtls, now: Instant) -> Result<(), dimpl::Error> {
    dtls.handle_timeout(now)?;
    dtls.handle_packet(&FIRST_HELLO)?;
    let mut buffer = [0; 256];
    while !matches!(dtls.poll_output(&mut buffer), Output::Timeout(_)) {}
    Ok(())
}
