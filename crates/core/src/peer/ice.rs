//! ICE-lite (RFC 8445 §2.5): answers connectivity checks, and trusts nothing before
//! MESSAGE-INTEGRITY has been checked.

use rekindle_ids::{IceCredentials, TransportAddress, Ufrag};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_UNKNOWN_ATTRIBUTES,
    ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use rtc_stun::error_code::{
    CODE_ROLE_CONFLICT, CODE_UNKNOWN_ATTRIBUTE, ErrorCode, ErrorCodeAttribute,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, MESSAGE_HEADER_SIZE, Message, MessageType,
    Setter,
};
use rtc_stun::xoraddr::XorMappedAddress;

/// A Binding request is at most this long; browsers send about 100 bytes. Keeps parsing cheap.
const MAX_REQUEST: usize = 600;

const FORBIDDEN: ErrorCode = ErrorCode(403);

/// A check that passed.
#[derive(Debug)]
pub(super) struct Checked {
    /// The transaction (RFC 8489 §5): new for every check.
    pub transaction: [u8; 12],
    /// The response to send back.
    pub response: Vec<u8>,
    /// The request named this pair (USE-CANDIDATE, RFC 8445 §7.3.1.5).
    pub nominated: bool,
    /// Whether the response is an error: then the check proves the address, but has no other
    /// effect.
    pub refused: bool,
}

/// The server's half of USERNAME in a Binding request (RFC 8445 §7.2.2: `server:browser`).
/// Authenticates nothing.
pub(super) fn request_ufrag(datagram: &[u8]) -> Option<&str> {
    if datagram.len() < MESSAGE_HEADER_SIZE
        || datagram.len() > MAX_REQUEST
        || datagram[..2] != [0, 1]
        || datagram[4..8] != [0x21, 0x12, 0xa4, 0x42]
    {
        return None;
    }
    let mut rest = &datagram[MESSAGE_HEADER_SIZE..];
    while let [t0, t1, l0, l1, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = tail.get(..length)?;
        match AttrType(u16::from_be_bytes([*t0, *t1])) {
            ATTR_USERNAME => {
                let username = std::str::from_utf8(value).ok()?;
                return username.split_once(':').map(|(server, _)| server);
            }
            // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489 §14.5).
            ATTR_MESSAGE_INTEGRITY => return None,
            _ => rest = tail.get(length.next_multiple_of(4)..)?,
        }
    }
    None
}

/// Checks a Binding request and makes its response. `None` for anything that is not a valid,
/// authentic request. Such a datagram gets no answer at all: an answer would tell a stranger
/// something, or make this server a reflector.
pub(super) fn check(
    datagram: &[u8],
    from: TransportAddress,
    ice: &IceCredentials,
) -> Option<Checked> {
    let request = authenticate(datagram, ice)?;
    let mut nominated = false;
    let mut conflict = false;
    let mut unknown = Vec::new();
    for attribute in request
        .attributes
        .0
        .iter()
        .take_while(|a| a.typ != ATTR_MESSAGE_INTEGRITY)
    {
        match attribute.typ {
            ATTR_USE_CANDIDATE => nominated = true,
            // A lite agent is always controlled (RFC 8445 §6.1.1), so the other side has to change
            // its role.
            ATTR_ICE_CONTROLLED => conflict = true,
            ATTR_USERNAME | ATTR_PRIORITY => {}
            other if other.required() => unknown.push(other.0),
            _ => {}
        }
    }
    let refusal = if !unknown.is_empty() {
        Some(CODE_UNKNOWN_ATTRIBUTE)
    } else if conflict {
        Some(CODE_ROLE_CONFLICT)
    } else {
        None
    };
    let response = match refusal {
        Some(code) => respond(
            &request,
            BINDING_ERROR,
            ice,
            &ErrorBody {
                code,
                unknown: &unknown,
            },
        ),
        None => respond(
            &request,
            BINDING_SUCCESS,
            ice,
            &XorMappedAddress {
                ip: from.socket.ip(),
                port: from.socket.port(),
            },
        ),
    }?;
    Some(Checked {
        transaction: request.transaction_id.0,
        response,
        nominated,
        refused: refusal.is_some(),
    })
}

/// The response to an authentic request of a peer that was removed: 403, Forbidden (RFC 8489
/// §14.8). RFC 7675 §5.2 ends consent where the other side says so.
pub(super) fn refuse(datagram: &[u8], ice: &IceCredentials) -> Option<Vec<u8>> {
    let request = authenticate(datagram, ice)?;
    let body = ErrorBody {
        code: FORBIDDEN,
        unknown: &[],
    };
    respond(&request, BINDING_ERROR, ice, &body)
}

/// A Binding request with the right user name and MESSAGE-INTEGRITY.
fn authenticate(datagram: &[u8], ice: &IceCredentials) -> Option<Message> {
    if request_ufrag(datagram)? != Ufrag::as_str(&ice.ufrag) {
        return None;
    }
    let mut request = Message::new();
    request.unmarshal_binary(datagram).ok()?;
    if request.typ != BINDING_REQUEST
        || datagram.len() != MESSAGE_HEADER_SIZE + request.length as usize
    {
        return None;
    }
    MessageIntegrity::check(&mut request, ice.pwd.expose().as_bytes(), &AwsLcRsCrypto).ok()?;
    Some(request)
}

struct ErrorBody<'a> {
    code: ErrorCode,
    unknown: &'a [u16],
}

impl Setter for ErrorBody<'_> {
    fn add_to(&self, message: &mut Message) -> rtc_shared::error::Result<()> {
        ErrorCodeAttribute {
            code: self.code,
            reason: Vec::new(),
        }
        .add_to(message)?;
        if !self.unknown.is_empty() {
            let list: Vec<u8> = self.unknown.iter().flat_map(|t| t.to_be_bytes()).collect();
            message.add(ATTR_UNKNOWN_ATTRIBUTES, &list);
        }
        Ok(())
    }
}

fn respond(
    request: &Message,
    typ: MessageType,
    ice: &IceCredentials,
    body: &dyn Setter,
) -> Option<Vec<u8>> {
    let mut response = Message::new();
    response.transaction_id = request.transaction_id;
    response.set_type(typ);
    response.write_header();
    body.add_to(&mut response).ok()?;
    MessageIntegrity::new_short_term_integrity_with_provider(
        ice.pwd.expose().to_owned(),
        &AwsLcRsCrypto,
    )
    .add_to(&mut response)
    .ok()?;
    FINGERPRINT.add_to(&mut response).ok()?;
    Some(response.raw)
}

#[cfg(test)]
mod tests {
    use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_XORMAPPED_ADDRESS};
    use rtc_stun::error_code::ErrorCode;
    use rtc_stun::message::Getter;

    use super::*;
    use rekindle_ids::IcePassword;

    const PWD: &str = "0123456789abcdefghijklmn";

    fn ice() -> IceCredentials {
        IceCredentials {
            ufrag: Ufrag::new("serverUF").unwrap(),
            pwd: IcePassword::new(PWD.into()),
        }
    }

    fn request(username: &str, pwd: &str, extra: &[(AttrType, &[u8])]) -> Vec<u8> {
        let mut m = Message::new();
        m.new_transaction_id().unwrap();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        m.add(ATTR_USERNAME, username.as_bytes());
        for (typ, value) in extra {
            m.add(*typ, value);
        }
        MessageIntegrity::new_short_term_integrity_with_provider(pwd.into(), &AwsLcRsCrypto)
            .add_to(&mut m)
            .unwrap();
        FINGERPRINT.add_to(&mut m).unwrap();
        m.raw
    }

    fn from() -> TransportAddress {
        TransportAddress::udp(([192, 0, 2, 7], 4242))
    }

    #[test]
    fn an_authentic_check_is_answered_with_the_mapped_address_and_integrity() {
        let data = request(
            "serverUF:browser",
            PWD,
            &[(ATTR_ICE_CONTROLLING, &[0; 8]), (ATTR_USE_CANDIDATE, &[])],
        );
        let checked = check(&data, from(), &ice()).unwrap();
        assert!(checked.nominated && !checked.refused);
        let mut m = Message::new();
        m.unmarshal_binary(&checked.response).unwrap();
        assert_eq!(m.typ, BINDING_SUCCESS);
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&m).unwrap();
        assert_eq!(
            (mapped.ip, mapped.port),
            (from().socket.ip(), from().socket.port())
        );
        MessageIntegrity::check(&mut m, PWD.as_bytes(), &AwsLcRsCrypto).unwrap();
        FINGERPRINT.check(&m).unwrap();
    }

    #[test]
    fn a_wrong_password_gets_no_answer_not_even_a_role_conflict() {
        let data = request(
            "serverUF:browser",
            "another password of 24 b",
            &[(ATTR_ICE_CONTROLLED, &[0; 8])],
        );
        assert!(check(&data, from(), &ice()).is_none());
    }

    #[test]
    fn a_role_conflict_is_answered_only_after_the_integrity_check() {
        let data = request("serverUF:browser", PWD, &[(ATTR_ICE_CONTROLLED, &[0; 8])]);
        let checked = check(&data, from(), &ice()).unwrap();
        assert!(checked.refused);
        let mut m = Message::new();
        m.unmarshal_binary(&checked.response).unwrap();
        let mut error = ErrorCodeAttribute::default();
        error.get_from(&m).unwrap();
        assert!(error.code == ErrorCode(487));
    }

    #[test]
    fn an_unknown_required_attribute_is_refused_by_name() {
        let checked = check(
            &request("serverUF:b", PWD, &[(AttrType(0x7abc), b"x")]),
            from(),
            &ice(),
        )
        .unwrap();
        let mut m = Message::new();
        m.unmarshal_binary(&checked.response).unwrap();
        assert_eq!(m.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0x7a, 0xbc]);
    }

    #[test]
    fn use_candidate_behind_the_integrity_attribute_does_not_count() {
        let mut m = Message::new();
        m.unmarshal_binary(&request("serverUF:b", PWD, &[]))
            .unwrap();
        m.add(ATTR_USE_CANDIDATE, &[]);
        m.write_header();
        let checked = check(&m.raw, from(), &ice()).unwrap();
        assert!(!checked.nominated);
    }

    #[test]
    fn a_user_name_behind_the_integrity_attribute_names_nobody() {
        let mut m = Message::new();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        m.add(ATTR_MESSAGE_INTEGRITY, &[0; 20]);
        m.add(ATTR_USERNAME, b"serverUF:b");
        m.write_header();
        assert_eq!(request_ufrag(&m.raw), None);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused_without_panic() {
        let data = request("serverUF:browser", PWD, &[(ATTR_PRIORITY, &[1, 2, 3, 4])]);
        // The last 8 bytes are FINGERPRINT, which integrity does not cover and ICE needs only for
        // demultiplexing.
        for i in 0..data.len() - 8 {
            assert!(check(&data[..i], from(), &ice()).is_none(), "cut at {i}");
            let mut bad = data.clone();
            bad[i] ^= 0x55;
            assert!(check(&bad, from(), &ice()).is_none(), "flipped at {i}");
        }
    }

    #[test]
    fn the_response_is_no_longer_than_the_request_of_a_browser() {
        // What Chromium sends: user name, network cost, controlling, use-candidate, priority,
        // integrity, fingerprint.
        let data = request(
            "serverUFserverUF:abcd",
            PWD,
            &[
                (AttrType(0xc057), &[0, 1, 0, 10]),
                (ATTR_ICE_CONTROLLING, &[0; 8]),
                (ATTR_USE_CANDIDATE, &[]),
                (ATTR_PRIORITY, &[0; 4]),
            ],
        );
        let ice = IceCredentials {
            ufrag: Ufrag::new("serverUFserverUF").unwrap(),
            ..ice()
        };
        let checked = check(&data, from(), &ice).unwrap();
        assert!(checked.response.len() <= data.len());
        let mut m = Message::new();
        m.unmarshal_binary(&checked.response).unwrap();
        assert!(m.contains(ATTR_XORMAPPED_ADDRESS));
    }
}
