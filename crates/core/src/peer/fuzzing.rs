//! For the fuzz targets: keys without a handshake, and the browser's side of SRTP.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use rekindle_ids::{IceCredentials, TransportAddress};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_rtp::Header;
use rtc_shared::marshal::{MarshalSize, Unmarshal};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};

use super::srtp::Srtp;
use super::{Peer, PeerEvent, Profile, SessionKeys};
use crate::Protocol;

impl Peer {
    /// As if a check from this address had passed and a handshake had completed.
    pub(crate) fn connect(&mut self, now: Instant, from: TransportAddress, keys: SessionKeys) {
        self.srtp = Srtp::new(keys);
        self.last_heard = Some(now);
        self.last_check = Some(now);
        self.move_to(from);
        self.connected = Some(PeerEvent::Connected {
            renewed: false,
            took: Duration::ZERO,
            agreed: None,
        });
    }
}

/// Encrypts an RTP packet. `rtc-srtp` cuts a packet where the header ends as it would write it,
/// without a look at the packet's length, and would panic on one that is shorter.
fn encrypt_rtp(context: &mut Context, packet: &[u8]) -> Option<BytesMut> {
    let header = Header::unmarshal(&mut &packet[..]).ok()?;
    if header.marshal_size() > packet.len() {
        return None;
    }
    context.encrypt_rtp_with_header(packet, &header).ok()
}

/// The browser's half of a peer that [was connected so](Peer::connect).
pub(crate) struct Browser {
    sending: Context,
    receiving: Context,
}

impl Browser {
    /// A browser, and the keys that its peer takes.
    pub(crate) fn new(fill: u8) -> (Self, SessionKeys) {
        let profile = Profile::AeadAes128Gcm;
        let material = vec![fill; profile.material_len()];
        // All bytes are the same, so both directions have one key and one salt. No window against
        // replays: a packet that is sent again on a NACK is no fault.
        let context = || {
            Context::new(
                &[fill; 16],
                &[fill; 12],
                ProtectionProfile::AeadAes128Gcm,
                None,
                None,
                &AwsLcRsCrypto,
            )
            .expect("a context")
        };
        let keys = SessionKeys::new(profile, &material).expect("the length fits");
        let (sending, receiving) = (context(), context());
        (Self { sending, receiving }, keys)
    }

    /// Encrypts what may be no RTP at all; `None` where even that takes a header.
    pub(crate) fn protect_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        encrypt_rtp(&mut self.sending, packet)
    }

    /// The same for RTCP.
    pub(crate) fn protect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.sending.encrypt_rtcp(packet).ok()
    }

    /// Authenticates and decrypts what the server sent.
    pub(crate) fn unprotect(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let rtcp = Protocol::of(packet) == Some(Protocol::Rtcp);
        let plain = if rtcp {
            self.receiving.decrypt_rtcp(packet)
        } else {
            self.receiving.decrypt_rtp(packet)
        };
        plain.ok()
    }
}

/// A connectivity check with these attributes, as a browser with the right password makes it.
pub(crate) fn check(ice: &IceCredentials, nominate: bool, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut request = Message::new();
    request.set_type(BINDING_REQUEST);
    request.write_header();
    request.add(ATTR_USERNAME, format!("{}:browser", ice.ufrag).as_bytes());
    if nominate {
        request.add(ATTR_USE_CANDIDATE, &[]);
    }
    for (kind, value) in attributes {
        request.add(AttrType(*kind), value);
    }
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(
        ice.pwd.expose().to_owned(),
        &AwsLcRsCrypto,
    );
    // Fails where an attribute may not stand before it: then there is none.
    let _ = integrity.add_to(&mut request);
    request.raw
}
