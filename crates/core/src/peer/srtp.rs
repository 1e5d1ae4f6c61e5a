//! SRTP (RFC 3711, RFC 7714) of one peer: both directions under the keys of one DTLS handshake.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use rekindle_sdp::Setup;
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use zeroize::Zeroizing;

use super::full_state::Kept;
use super::sending::Sending;

/// Replay window in packets (RFC 3711 §3.3.2 asks for at least 64): a retransmission may arrive
/// seconds late.
const REPLAY_WINDOW: usize = 2048;
/// Most SSRCs that one peer may use under one set of keys.
pub(super) const MAX_SSRCS: usize = 32;
/// After this many packets of unknown SSRCs that fail authentication, the scratch context is
/// replaced. This limits the memory that unauthenticated packets can allocate, since `rtc-srtp`
/// allocates state for an SSRC before it has authenticated the packet.
const MAX_FAILURES: u32 = 64;

/// The SRTP protection profiles of DTLS-SRTP (RFC 5764 §4.1.2, RFC 7714 §14.2) that rekindle
/// speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1_80,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes128CmSha1_80,
    ];

    /// Its cipher, for display.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AES-256-GCM",
            Self::AeadAes128Gcm => "AES-128-GCM",
            Self::Aes128CmSha1_80 => "AES-128-CM with HMAC-SHA1-80",
        }
    }

    /// Length of a master key in bytes.
    fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
        }
    }

    /// Length of a master salt in bytes.
    fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// What the exporter has to yield (RFC 5764 §4.2), in bytes.
    pub(super) fn material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    fn in_crate(self) -> ProtectionProfile {
        match self {
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        }
    }
}

/// SRTP keys of one DTLS handshake, in the order in which they are exported (RFC 5764 §4.2) where
/// the server is the DTLS server: the peer's key, the server's, the peer's salt, the server's. A
/// session key: no `Clone`, no `Serialize`, no `Debug`, wiped when dropped.
pub struct SessionKeys {
    profile: Profile,
    material: Zeroizing<Vec<u8>>,
}

/// The content of [`SessionKeys`].
#[cfg(feature = "full-state")]
pub(super) struct Exposed<'a> {
    pub profile: Profile,
    /// In the order of the exporter's output.
    pub material: &'a [u8],
    /// (key, salt) for sending, and for receiving.
    pub sending: (&'a [u8], &'a [u8]),
    pub receiving: (&'a [u8], &'a [u8]),
}

impl SessionKeys {
    /// Takes exported keying material; `None` where its length does not fit the profile.
    pub(super) fn new(profile: Profile, exported: &[u8]) -> Option<Self> {
        let material = exported.get(..profile.material_len())?;
        #[cfg(rekindle_canary)]
        rekindle_secrets::canary::secret("exported", material);
        Some(Self {
            profile,
            material: Zeroizing::new(material.to_vec()),
        })
    }

    /// Takes exported keying material of a handshake in which the server had this role; `None`
    /// where its length does not fit the profile.
    pub(super) fn exported(profile: Profile, exported: &[u8], setup: Setup) -> Option<Self> {
        let mut keys = Self::new(profile, exported)?;
        if setup == Setup::Active {
            // The first of each pair is the DTLS client's.
            let (keys_of_both, salts) = keys.material.split_at_mut(2 * profile.key_len());
            keys_of_both.rotate_left(profile.key_len());
            salts.rotate_left(profile.salt_len());
        }
        Some(keys)
    }

    /// The profile that they are for.
    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// (key, salt) for receiving.
    fn remote(&self) -> (&[u8], &[u8]) {
        let (k, s) = (self.profile.key_len(), self.profile.salt_len());
        (&self.material[..k], &self.material[2 * k..2 * k + s])
    }

    /// (key, salt) for sending.
    pub(super) fn local(&self) -> (&[u8], &[u8]) {
        let (k, s) = (self.profile.key_len(), self.profile.salt_len());
        (
            &self.material[k..2 * k],
            &self.material[2 * k + s..2 * k + 2 * s],
        )
    }

    /// The keys themselves: only full-state mode reads them.
    #[cfg(feature = "full-state")]
    pub(super) fn expose(&self) -> Exposed<'_> {
        Exposed {
            profile: self.profile,
            material: &self.material,
            sending: self.local(),
            receiving: self.remote(),
        }
    }

    pub(super) fn receiving(&self) -> Option<Context> {
        self.context(self.remote())
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn sending(&self) -> Option<Context> {
        self.context(self.local())
    }

    fn context(&self, (key, salt): (&[u8], &[u8])) -> Option<Context> {
        Context::new(
            key,
            salt,
            self.profile.in_crate(),
            Some(srtp_replay_protection(REPLAY_WINDOW)),
            Some(srtcp_replay_protection(REPLAY_WINDOW)),
            &AwsLcRsCrypto,
        )
        .ok()
    }
}

/// The state that both halves of a peer's keys share in full-state mode.
pub(super) fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both directions of one peer under one set of keys.
pub(super) struct Srtp {
    /// Kept for [`Incoming`]'s scratch context.
    pub(super) keys: SessionKeys,
    incoming: Incoming,
    /// `None` where a forwarder has it.
    pub(super) sending: Option<Box<Sending>>,
    /// In full-state mode, replaces everything except the keys.
    pub(super) kept: Option<Arc<Mutex<Kept>>>,
}

struct Incoming {
    context: Context,
    known: Vec<u32>,
    /// Exists while packets of unknown SSRCs are tried: a peer's SSRCs are known after its first
    /// packets.
    scratch: Option<Box<Context>>,
    failures: u32,
}

impl Srtp {
    /// Contexts for both directions, rollover counters at zero, as on the browser's side.
    pub(super) fn new(keys: SessionKeys) -> Option<Self> {
        let incoming = Incoming {
            context: keys.receiving()?,
            known: Vec::new(),
            scratch: None,
            failures: 0,
        };
        let sending = Box::new(Sending::new(&keys, None)?);
        Some(Self {
            keys,
            incoming,
            sending: Some(sending),
            kept: None,
        })
    }

    pub(super) fn profile(&self) -> Profile {
        self.keys.profile
    }

    /// Authenticates and decrypts an SRTP packet.
    pub(super) fn unprotect_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        if let Some(kept) = &self.kept {
            return lock(kept).unprotect_rtp(packet);
        }
        let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?);
        self.unprotect(ssrc, packet, Context::decrypt_rtp)
    }

    /// Authenticates and decrypts an SRTCP packet.
    pub(super) fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        if let Some(kept) = &self.kept {
            return lock(kept).unprotect_rtcp(packet);
        }
        let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
        self.unprotect(ssrc, packet, Context::decrypt_rtcp)
    }

    fn unprotect(
        &mut self,
        ssrc: u32,
        packet: &[u8],
        decrypt: impl Fn(&mut Context, &[u8]) -> rtc_shared::error::Result<BytesMut>,
    ) -> Option<BytesMut> {
        let incoming = &mut self.incoming;
        if incoming.known.contains(&ssrc) {
            return decrypt(&mut incoming.context, packet).ok();
        }
        if incoming.known.len() >= MAX_SSRCS {
            return None;
        }
        let scratch = match &mut incoming.scratch {
            Some(scratch) => scratch,
            none => none.insert(Box::new(self.keys.receiving()?)),
        };
        if decrypt(scratch, packet).is_err() {
            incoming.failures += 1;
            if incoming.failures >= MAX_FAILURES {
                incoming.failures = 0;
                incoming.scratch = None;
            }
            return None;
        }
        incoming.scratch = None;
        incoming.failures = 0;
        incoming.known.push(ssrc);
        decrypt(&mut incoming.context, packet).ok()
    }
}
