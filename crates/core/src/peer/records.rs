//! What a DTLS datagram shows before anything in it is authenticated: its records (RFC 6347 §4.1,
//! RFC 9147 §4), and the ClientHello.
//!
//! Anybody who can send with a browser's address can write such datagrams too, so they decide only
//! what is worth a handshake's time.

use std::ops::Range;

/// Content types (RFC 9147 §4).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const ACK: u8 = 26;
/// Alert level (RFC 5246 §7.2).
const FATAL: u8 = 2;
/// Handshake types (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
#[cfg(feature = "boring")]
const SERVER_HELLO: u8 = 2;
/// RFC 6347 §4.3.2.
#[cfg(feature = "boring")]
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
/// Type, version (2), epoch (2), sequence number (6), length (2).
const RECORD_HEADER: usize = 13;
/// Type, length (3), message_seq (2), fragment_offset (3), fragment_length (3).
const HANDSHAKE_HEADER: usize = 12;

/// The first fragment of a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    /// Distinguishes attempts: a repetition has the same random.
    pub random: [u8; 32],
    /// What a HelloVerifyRequest gave to the client (RFC 6347 §4.2.1); empty in its first
    /// ClientHello.
    pub cookie: &'a [u8],
}

/// The ClientHello whose first fragment this datagram begins with.
pub(super) fn client_hello(datagram: &[u8]) -> Option<Hello<'_>> {
    if client_hello_offset(datagram)? != 0 {
        return None;
    }
    let body = datagram.get(RECORD_HEADER + HANDSHAKE_HEADER..)?;
    // legacy_version (2), random (32), session id, cookie.
    let random = body.get(2..34)?.try_into().ok()?;
    let session_id = usize::from(*body.get(34)?);
    let cookie = body.get(35 + session_id..).and_then(|rest| {
        let (length, rest) = rest.split_first()?;
        rest.get(..usize::from(*length))
    });
    Some(Hello {
        random,
        cookie: cookie.unwrap_or_default(),
    })
}

/// The random of a ClientHello, in an epoch 0 handshake record with its first fragment. A new one
/// means a new handshake.
pub(crate) fn client_random(datagram: &[u8]) -> Option<[u8; 32]> {
    client_hello(datagram).map(|hello| hello.random)
}

/// The message number of a ClientHello whose first fragment this datagram begins with: 0, or 1 where
/// the server has asked for another one (RFC 9147 §5.2).
#[cfg(feature = "boring")]
pub(super) fn hello_sequence(datagram: &[u8]) -> Option<u16> {
    (client_hello_offset(datagram)? == 0).then(|| hello_number(datagram))?
}

/// The message number of the ClientHello that this datagram has a fragment of, first or later.
pub(super) fn hello_number(datagram: &[u8]) -> Option<u16> {
    client_hello_offset(datagram)?;
    let number = datagram.get(RECORD_HEADER + 4..RECORD_HEADER + 6)?;
    Some(u16::from_be_bytes(number.try_into().ok()?))
}

/// Whether this is a ClientHello, or a fragment of one.
pub(crate) fn is_client_hello(datagram: &[u8]) -> bool {
    client_hello_offset(datagram).is_some()
}

/// Whether this is an answer to a ClientHello: a ServerHello, a HelloRetryRequest, which has the
/// same type, or a HelloVerifyRequest; or a fragment of one.
#[cfg(feature = "boring")]
pub(super) fn is_server_hello(datagram: &[u8]) -> bool {
    let message = datagram.get(RECORD_HEADER).copied();
    let fits = datagram.first() == Some(&HANDSHAKE) && datagram.get(3..5) == Some(&[0, 0]);
    fits && matches!(message, Some(SERVER_HELLO | HELLO_VERIFY_REQUEST))
}

/// Whether this is a later fragment of a ClientHello.
pub(super) fn is_client_hello_rest(datagram: &[u8]) -> bool {
    client_hello_offset(datagram).is_some_and(|offset| offset > 0)
}

/// Whether `later` was sent directly after `earlier`: its first record follows that of the other
/// one, where both are plaintext (RFC 6347 §4.1). Attempts number their records from 0, and a
/// repetition continues the numbers before it.
pub(super) fn follows(later: &[u8], earlier: &[u8]) -> bool {
    let sequence = |datagram: &[u8]| {
        let bytes = datagram.get(5..11)?;
        let number = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(bytes.iter().fold(0, number))
    };
    match (sequence(earlier), sequence(later)) {
        (Some(earlier), Some(later)) => later == earlier + 1,
        _ => false,
    }
}

/// The fragment offset of a ClientHello record of epoch 0.
fn client_hello_offset(datagram: &[u8]) -> Option<u32> {
    let headers = datagram.get(..RECORD_HEADER + HANDSHAKE_HEADER)?;
    let fits = headers[0] == HANDSHAKE
        && headers[3..5] == [0, 0]
        && headers[RECORD_HEADER] == CLIENT_HELLO;
    fits.then(|| number(&headers[19..22]))
}

/// Whether a datagram begins with an encrypted record, or one that claims to be.
pub(super) fn is_protected(datagram: &[u8]) -> bool {
    matches!(records(datagram).next(), Some((_, Record::Protected)))
}

/// What a record can be used for, before it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// Encrypted, or claims to be.
    Protected,
    /// Plaintext that nobody could rely on: acknowledgements, and alerts that are only warnings.
    Worthless,
    /// A fatal alert in plaintext. It ends nothing (RFC 6347 §4.1.2.7, RFC 9147 §4.5.2).
    FatalAlert,
    /// A plaintext fragment of the client's Certificate (DTLS 1.2).
    Certificate(Fragment<'a>),
    /// Any other plaintext of a handshake.
    Plain,
}

/// A fragment of a handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// Length of the whole message's body, in bytes.
    pub total: usize,
    /// Where this part begins.
    pub offset: usize,
    /// The part.
    pub data: &'a [u8],
}

/// The records of a datagram, with their ranges. Ends at the first one that is malformed.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = (Range<usize>, Record<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = datagram.get(at..)?;
        let first = *rest.first()?;
        // The unified header of DTLS 1.3: its records may omit their length, and all of them are
        // protected.
        if first & 0b1110_0000 == 0b0010_0000 {
            let range = at..datagram.len();
            at = datagram.len();
            return Some((range, Record::Protected));
        }
        let header = rest.get(..RECORD_HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let body = rest.get(RECORD_HEADER..RECORD_HEADER + length)?;
        let range = at..at + RECORD_HEADER + length;
        at = range.end;
        Some((range, classify(first, header[3..5] == [0, 0], body)))
    })
}

fn classify(content: u8, plain: bool, body: &[u8]) -> Record<'_> {
    match content {
        _ if !plain => Record::Protected,
        ALERT if body.first() == Some(&FATAL) => Record::FatalAlert,
        ALERT | ACK => Record::Worthless,
        HANDSHAKE => certificate(body).map_or(Record::Plain, Record::Certificate),
        CHANGE_CIPHER_SPEC => Record::Plain,
        _ => Record::Worthless,
    }
}

fn certificate(body: &[u8]) -> Option<Fragment<'_>> {
    let header = body.get(..HANDSHAKE_HEADER)?;
    let length = number(&header[9..12]) as usize;
    (header[0] == CERTIFICATE).then_some(Fragment {
        total: number(&header[1..4]) as usize,
        offset: number(&header[6..9]) as usize,
        data: body.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + length)?,
    })
}

/// The first certificate, DER, of a Certificate message of DTLS 1.2 (RFC 5246 §7.4.2).
pub(super) fn leaf(message: &[u8]) -> Option<&[u8]> {
    let length = number(message.get(3..6)?) as usize;
    message
        .get(6..6 + length)
        .filter(|certificate| !certificate.is_empty())
}

/// A big-endian number of three bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of epoch 0.
    fn record(content: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![content, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn a_cookie_is_found_behind_a_session_id() {
        let mut body = vec![CLIENT_HELLO, 0, 0, 60, 0, 1, 0, 0, 0, 0, 0, 60, 0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([3, 9, 9, 9]);
        body.extend([4, 1, 2, 3, 4]);
        let datagram = record(HANDSHAKE, &body);
        let hello = client_hello(&datagram).unwrap();
        assert_eq!((hello.random, hello.cookie), ([7; 32], &[1, 2, 3, 4][..]));
        for end in 0..datagram.len() {
            // Cut short, it has no cookie or is no ClientHello; nothing panics.
            assert!(client_hello(&datagram[..end]).is_none_or(|hello| hello.cookie.is_empty()));
        }
    }

    #[test]
    fn the_records_of_a_datagram_are_told_apart() {
        let message = [CERTIFICATE, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 5, 6];
        let mut datagram = record(ALERT, &[2, 40]);
        datagram.extend(record(HANDSHAKE, &message));
        datagram.extend(record(CHANGE_CIPHER_SPEC, &[1]));
        let mut protected = record(HANDSHAKE, &[0; 40]);
        protected[4] = 1;
        datagram.extend(&protected);
        let kinds: Vec<_> = records(&datagram).map(|(_, kind)| kind).collect();
        let fragment = Fragment {
            total: 2,
            offset: 0,
            data: &[5, 6],
        };
        assert_eq!(
            kinds,
            [
                Record::FatalAlert,
                Record::Certificate(fragment),
                Record::Plain,
                Record::Protected
            ]
        );
        datagram.truncate(datagram.len() - 1);
        assert_eq!(records(&datagram).count(), 3, "a torn record is none");
        assert_eq!(
            records(&[0x2f, 1, 2]).next(),
            Some((0..3, Record::Protected))
        );
    }
}
