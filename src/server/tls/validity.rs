//! From when until when a certificate is valid (RFC 5280 §4.1.2.5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::parse_x509_certificate;

/// Both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// Those of a certificate (DER); `None` where it cannot be read, or is older than 1970.
pub(in crate::server) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let time = |seconds: i64| Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?));
    let bounds = parsed.validity();
    Some(Validity {
        from: time(bounds.not_before.timestamp())?,
        until: time(bounds.not_after.timestamp())?,
    })
}
