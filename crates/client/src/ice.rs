//! The controlling ICE agent of a browser (RFC 8445), as far as a lite server needs it.

use std::net::SocketAddr;

use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

/// Credentials of both sides.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `a=ice-ufrag` of the offer.
    pub own_ufrag: String,
    /// `a=ice-pwd` of the offer.
    pub own_pwd: String,
    /// `a=ice-ufrag` of the answer.
    pub server_ufrag: String,
    /// `a=ice-pwd` of the answer.
    pub server_pwd: String,
}

/// A connectivity check with USE-CANDIDATE. `pwd` may be wrong.
pub fn check(credentials: &Credentials, pwd: &str, transaction: [u8; 12]) -> Vec<u8> {
    let mut message = Message::new();
    message.transaction_id = TransactionId(transaction);
    message.set_type(BINDING_REQUEST);
    message.write_header();
    let username = format!("{}:{}", credentials.server_ufrag, credentials.own_ufrag);
    message.add(ATTR_USERNAME, username.as_bytes());
    message.add(ATTR_ICE_CONTROLLING, &[7; 8]);
    message.add(ATTR_USE_CANDIDATE, &[]);
    message.add(ATTR_PRIORITY, &[0x6e, 0, 0x1e, 0xff]);
    sign(message, pwd)
}

fn sign(mut message: Message, pwd: &str) -> Vec<u8> {
    MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), &AwsLcRsCrypto)
        .add_to(&mut message)
        .and_then(|()| FINGERPRINT.add_to(&mut message))
        .expect("room in a message of our own");
    message.raw
}

/// The response to a check of the server: agents that are not lite send some (RFC 8445 §7.3).
pub fn respond(credentials: &Credentials, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    let mut request = Message::new();
    request.unmarshal_binary(datagram).ok()?;
    MessageIntegrity::check(&mut request, credentials.own_pwd.as_bytes(), &AwsLcRsCrypto).ok()?;
    if request.typ != BINDING_REQUEST {
        return None;
    }
    let mut response = Message::new();
    response.transaction_id = request.transaction_id;
    response.set_type(BINDING_SUCCESS);
    response.write_header();
    let mapped = XorMappedAddress {
        ip: from.ip(),
        port: from.port(),
    };
    mapped.add_to(&mut response).ok()?;
    Some(sign(response, &credentials.own_pwd))
}

/// The transaction of an authentic success response that names our address; any, where that is
/// unspecified.
pub fn success(credentials: &Credentials, own: SocketAddr, datagram: &[u8]) -> Option<[u8; 12]> {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&message).ok()?;
    let authentic = MessageIntegrity::check(
        &mut message,
        credentials.server_pwd.as_bytes(),
        &AwsLcRsCrypto,
    )
    .is_ok();
    let good = message.typ == BINDING_SUCCESS && authentic && FINGERPRINT.check(&message).is_ok();
    let is_own = own.ip().is_unspecified() || (mapped.ip, mapped.port) == (own.ip(), own.port());
    (good && is_own).then_some(message.transaction_id.0)
}
