//! A browser: one peer's other side, with STUN, DTLS and SRTP of its own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dimpl::{DtlsCertificate, Output, SrtpProfile};
use rekindle_ids::{IceCredentials, IcePassword, Role, TransportAddress, Ufrag};
use rekindle_sdp::{Extensions, Fingerprint, Negotiated, Setup, Ssrc};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};

use super::world::{CHANNEL, VIDEO, VIDEO_RTX};
use crate::broadcast::Join;
use crate::broadcast::mapping::tests::{audio, video};
use crate::broadcast::rtp::Packet;
use crate::peer::tests::certificate;

fn copy(certificate: &DtlsCertificate) -> DtlsCertificate {
    DtlsCertificate {
        certificate: certificate.certificate.clone(),
        private_key: certificate.private_key.clone(),
    }
}

/// A browser: one peer's other side.
pub struct Browser {
    pub join: Join,
    pub address: TransportAddress,
    certificate: DtlsCertificate,
    pub dtls: Option<dimpl::Dtls>,
    pub sending: Option<Context>,
    pub receiving: Option<Context>,
    /// What the keys come from.
    pub material: Vec<u8>,
    /// The server has other keys: what it sends cannot be read.
    pub estranged: bool,
    /// What came, decrypted.
    pub rtp: Vec<Packet>,
    pub rtcp: Vec<Bytes>,
}

impl Browser {
    pub fn new(role: Role, number: u16) -> Self {
        let certificate = certificate();
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.certificate);
        let fingerprint = Fingerprint {
            hash: "sha-256".into(),
            digest: digest.as_ref().to_vec(),
        };
        let media = match role {
            Role::Publisher => {
                let ids = Extensions {
                    mid: Some(4),
                    transport_cc: Some(3),
                    ..Default::default()
                };
                video(
                    "1",
                    96,
                    ids,
                    vec![Ssrc {
                        media: VIDEO,
                        rtx: Some(VIDEO_RTX),
                    }],
                )
            }
            Role::Viewer => video(
                "v",
                100,
                Extensions {
                    mid: Some(1),
                    ..Default::default()
                },
                vec![],
            ),
        };
        let audio = audio("0", media.extensions, vec![]);
        Self {
            join: Join {
                role,
                channel: CHANNEL.into(),
                ice: IceCredentials {
                    ufrag: Ufrag::new(format!("ufrag{number:05}")).unwrap(),
                    pwd: IcePassword::new(format!("0123456789abcdefghijk{number:05}")),
                },
                negotiated: Negotiated {
                    fingerprints: vec![fingerprint],
                    certificate: [0; 32],
                    setup: Default::default(),
                    media: vec![audio, media],
                    address: None,
                },
                resumed: false,
                renews: true,
            },
            address: TransportAddress::udp(([192, 0, 2, 1], number)),
            certificate,
            dtls: None,
            sending: None,
            receiving: None,
            material: Vec::new(),
            estranged: false,
            rtp: Vec::new(),
            rtcp: Vec::new(),
        }
    }

    pub fn ufrag(&self) -> Ufrag {
        self.join.ice.ufrag.clone()
    }

    pub fn stun(&self) -> Vec<u8> {
        let mut m = Message::new();
        m.new_transaction_id().unwrap();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        m.add(
            ATTR_USERNAME,
            format!("{}:browser", self.ufrag()).as_bytes(),
        );
        m.add(ATTR_USE_CANDIDATE, &[]);
        let password = self.join.ice.pwd.expose().to_owned();
        MessageIntegrity::new_short_term_integrity_with_provider(password, &AwsLcRsCrypto)
            .add_to(&mut m)
            .unwrap();
        m.raw
    }

    /// It is the DTLS server, as its offer says.
    pub fn serve_dtls(&mut self, now: Instant) {
        self.join.negotiated.setup = Setup::Active;
        let config = Arc::new(dimpl::Config::default());
        self.dtls = Some(dimpl::Dtls::new_12(config, copy(&self.certificate), now));
    }

    pub fn start_dtls(&mut self, now: Instant) {
        let mut dtls = dimpl::Dtls::new_auto(
            Arc::new(dimpl::Config::default()),
            copy(&self.certificate),
            now,
        );
        dtls.set_active(true);
        dtls.handle_timeout(now).unwrap();
        self.dtls = Some(dtls);
    }

    /// Takes a datagram of the server's.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) {
        match datagram[0] {
            20..=63 => {
                let Some(dtls) = &mut self.dtls else { return };
                dtls.handle_timeout(now).unwrap();
                dtls.handle_packet(datagram).unwrap();
            }
            128..=191 => {
                let Some(context) = self.receiving.as_mut().filter(|_| !self.estranged) else {
                    return;
                };
                if (192..=223).contains(&datagram[1]) {
                    self.rtcp
                        .extend(context.decrypt_rtcp(datagram).map(|p| p.freeze()));
                } else {
                    let plain = context
                        .decrypt_rtp(datagram)
                        .expect("the server's packets are authentic");
                    self.rtp.push(Packet::parse(plain.freeze()).unwrap());
                }
            }
            _ => {}
        }
    }

    /// What its DTLS wants to send; takes keys when they are there.
    pub fn poll(&mut self) -> Vec<Vec<u8>> {
        let (mut out, mut buffer) = (Vec::new(), vec![0; 2048]);
        let Some(dtls) = &mut self.dtls else {
            return out;
        };
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.push(packet.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    (self.material, self.estranged) = (material.to_vec(), false);
                    let (profile, k, s) = match profile {
                        SrtpProfile::AEAD_AES_256_GCM => (ProtectionProfile::AeadAes256Gcm, 32, 12),
                        SrtpProfile::AEAD_AES_128_GCM => (ProtectionProfile::AeadAes128Gcm, 16, 12),
                        _ => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
                    };
                    let context = |key: &[u8], salt: &[u8]| {
                        Some(Context::new(key, salt, profile, None, None, &AwsLcRsCrypto).unwrap())
                    };
                    let client = context(&material[..k], &material[2 * k..2 * k + s]);
                    let server = context(&material[k..2 * k], &material[2 * k + s..2 * k + 2 * s]);
                    (self.sending, self.receiving) = match self.join.negotiated.setup {
                        Setup::Passive => (client, server),
                        Setup::Active => (server, client),
                    };
                }
                Output::Timeout(_) => return out,
                _ => {}
            }
        }
    }

    /// Sequence numbers that came on an SSRC, in order of arrival.
    pub fn sequences(&self, ssrc: u32) -> Vec<u16> {
        self.rtp
            .iter()
            .filter(|packet| packet.header.ssrc == ssrc)
            .map(|packet| packet.header.sequence)
            .collect()
    }
}
