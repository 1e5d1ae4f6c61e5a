//! The cookie of RFC 6347 §4.2.1, without state: a client that shows it receives what is sent to
//! the address that it was made for.
//!
//! It is made from the address alone, not from the ClientHello: where somebody sends ClientHellos
//! in a browser's name, the browser may get the answer to one of those first, and must be able to
//! continue with it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use bytes::Bytes;
use rekindle_ids::TransportAddress;

use super::handshake::Begin;
use super::records::client_hello;

/// A cookie is valid for at least this long, and at most twice as long.
const LIFE: Duration = Duration::from_secs(30);
/// Length in bytes, as the DTLS library expects it.
pub(super) const COOKIE_LEN: usize = 32;

/// Makes and checks this boot's cookies.
pub(crate) struct Cookies {
    key: hmac::Key,
    since: Instant,
    are_given: bool,
}

impl Cookies {
    /// `secret` must be unpredictable, and new in each boot.
    pub(crate) fn new(secret: &[u8; 32], now: Instant) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            since: now,
            are_given: true,
        }
    }

    /// Gives no cookies: a cookie belongs to DTLS 1.2, which has no post-quantum key exchange, and
    /// that is required. Where somebody sends ClientHellos in a browser's name, each is then
    /// answered, as often as those with a cookie would be.
    pub(crate) fn withheld(self) -> Self {
        Self {
            are_given: false,
            ..self
        }
    }

    /// Whether a client may be asked for one.
    pub(super) fn are_given(&self) -> bool {
        self.are_given
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs() / LIFE.as_secs()
    }

    fn tag(&self, address: TransportAddress, period: u64) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        match address.socket.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&address.socket.port().to_be_bytes());
        context.update(&[u8::from(address.is_tcp())]);
        context.update(&period.to_be_bytes());
        context.sign()
    }

    /// Whether this cookie was recently given to this address.
    pub(crate) fn is_good(&self, now: Instant, address: TransportAddress, cookie: &[u8]) -> bool {
        let period = self.period(now);
        cookie.len() == COOKIE_LEN
            && [Some(period), period.checked_sub(1)]
                .into_iter()
                .flatten()
                .any(|period| {
                    aws_lc_rs::constant_time::verify_slices_are_equal(
                        self.tag(address, period).as_ref(),
                        cookie,
                    )
                    .is_ok()
                })
    }

    /// What a datagram from this address has shown, if it is a ClientHello.
    pub(crate) fn shown(&self, now: Instant, address: TransportAddress, datagram: &[u8]) -> Begin {
        let cookie = client_hello(datagram).map(|hello| hello.cookie);
        match cookie.map(<[u8; COOKIE_LEN]>::try_from) {
            Some(Ok(cookie)) if self.is_good(now, address, &cookie) => Begin::Verified(cookie),
            _ => Begin::Direct,
        }
    }

    /// A HelloVerifyRequest (RFC 6347 §4.2.1) for this address: 60 bytes, and no ClientHello is
    /// shorter.
    pub(crate) fn request(&self, now: Instant, address: TransportAddress) -> Bytes {
        const HELLO_VERIFY_REQUEST: u8 = 3;
        let tag = self.tag(address, self.period(now));
        // server_version (DTLS 1.0, whatever version will be negotiated), cookie.
        let mut body = vec![0xfe, 0xff, COOKIE_LEN as u8];
        body.extend(tag.as_ref());
        let length = [0, 0, body.len() as u8];
        let mut datagram = vec![22, 0xfe, 0xfd];
        // Epoch and sequence number 0: the library's first record after a cookie has number 1, and
        // a client accepts a number once.
        datagram.extend([0; 8]);
        datagram.extend([0, 12 + body.len() as u8, HELLO_VERIFY_REQUEST]);
        datagram.extend(length);
        // message_seq and fragment_offset.
        datagram.extend([0; 5]);
        datagram.extend(length);
        datagram.extend(body);
        datagram.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(request: &[u8]) -> &[u8] {
        &request[request.len() - COOKIE_LEN..]
    }

    #[test]
    fn a_cookie_is_good_for_its_address_its_boot_and_a_minute() {
        let now = Instant::now();
        let cookies = Cookies::new(&[1; 32], now);
        let [here, there] = [1, 2].map(|port| TransportAddress::udp(([192, 0, 2, 1], port)));
        let request = cookies.request(now, here);
        assert_eq!(request.len(), 60);
        assert!(cookies.is_good(now, here, cookie(&request)));
        assert!(cookies.is_good(now + LIFE, here, cookie(&request)));
        assert!(!cookies.is_good(now + 2 * LIFE, here, cookie(&request)));
        assert!(!cookies.is_good(now, there, cookie(&request)));
        assert!(!cookies.is_good(now, here, &cookie(&request)[1..]));
        assert!(!cookies.is_good(now, here, &[]));
        assert!(!Cookies::new(&[2; 32], now).is_good(now, here, cookie(&request)));
    }
}
