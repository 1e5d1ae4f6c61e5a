//! The body of SDP's fuzz target: an offer comes from a stranger, and again from a record.

use std::net::SocketAddr;

use rekindle_ids::{IceCredentials, IcePassword, Role, Ufrag};

use crate::{Answer, Codec, Local, MAX_SDP, Source, answer, from_bytes, negotiated, with_address};

/// The first byte: role and what the channel's publisher sends. The rest: the offer.
pub fn sdp(data: &[u8]) {
    let (choice, offer) = data.split_first().unwrap_or((&0, data));
    let role = if choice & 1 == 0 {
        Role::Publisher
    } else {
        Role::Viewer
    };
    let source = Source {
        codecs: vec![Codec::Vp8, Codec::Opus],
        streams: Vec::new(),
    };
    let source = (choice & 2 != 0).then_some(source);
    let Ok(offer) = from_bytes(offer) else {
        return;
    };
    let ice = IceCredentials {
        ufrag: Ufrag::new("Vabcdefgh0123456").expect("letters and digits"),
        pwd: IcePassword::new("0123456789abcdefghijklmnopqrstuv".into()),
    };
    let local = Local {
        ice: &ice,
        fingerprint_sha256: &[7; 32],
        addresses: &[SocketAddr::from(([192, 0, 2, 1], 8189))],
        tcp: false,
        session_id: 1,
    };
    let Ok(Answer {
        text,
        negotiated: made,
    }) = answer(role, offer, source.as_ref(), &local)
    else {
        return;
    };
    assert!(text.len() <= MAX_SDP, "an answer of {} bytes", text.len());
    let agreed = negotiated(role, offer, &text).expect("what was answered can be read");
    assert_eq!(agreed, made);
    assert!(!agreed.fingerprints.is_empty() && agreed.address.is_none());
    // As it is written to the record when the browser's address is known, and read after a restart.
    for address in ["192.0.2.7:5000", "[2001:db8::7]:5000"]
        .map(|a| a.parse::<SocketAddr>().expect("an address"))
    {
        let recorded = with_address(
            &with_address(offer, "198.51.100.1:1".parse().expect("an address")),
            address,
        );
        let again = negotiated(role, &recorded, &text).expect("what was recorded can be read");
        assert_eq!(again.address, Some(address));
        assert_eq!(
            (again.fingerprints, again.media),
            (agreed.fingerprints.clone(), agreed.media.clone())
        );
    }
}

#[cfg(test)]
mod tests;
