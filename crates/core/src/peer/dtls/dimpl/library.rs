//! `dimpl` as the library of a build, for all handshakes.

use std::sync::Arc;
use std::time::Instant;

use dimpl::DtlsCertificate;
use rekindle_ids::Role;
use rekindle_sdp::Setup;

use super::{Dimpl, DtlsError, Handshake, build, settings};

/// What handshakes share.
pub(in super::super) struct Library(Arc<dimpl::Config>);

impl Library {
    pub(in super::super) fn new(_: &[u8], _: &[u8]) -> Result<Self, DtlsError> {
        // ICE with MESSAGE-INTEGRITY has proved the address already; a cookie would cost another
        // round trip.
        build(settings().use_server_cookie(false)).map(Self)
    }

    /// It has no post-quantum key exchange.
    pub(in super::super) fn post_quantum(_: &[u8], _: &[u8]) -> Result<Self, DtlsError> {
        Err(DtlsError::NoPostQuantum)
    }

    /// The certificate is chosen only when a handshake begins.
    pub(in super::super) fn beside(&self, _: &[u8], _: &[u8]) -> Result<Self, DtlsError> {
        Ok(Self(self.0.clone()))
    }

    pub(in super::super) const fn requires_post_quantum(&self) -> bool {
        false
    }

    /// A handshake that a peer of this role begins.
    ///
    /// Viewers get DTLS 1.2, where the server's order of preference decides the SRTP profile:
    /// AES-256-GCM, which matters for what is encrypted once per viewer. It costs them nothing at a
    /// restart, since the server may send one round trip after the ClientHello in both versions.
    /// Publishers get DTLS 1.3 (1.2 where they cannot): they may send a round trip earlier.
    pub(in super::super) fn direct(
        &self,
        certificate: impl FnOnce() -> DtlsCertificate,
        role: Role,
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        let config = self.0.clone();
        let dtls = match role {
            Role::Viewer => dimpl::Dtls::new_12(config, certificate(), now),
            Role::Publisher => dimpl::Dtls::new_auto(config, certificate(), now),
        };
        Some(Box::new(Dimpl::new(dtls, Setup::Passive, None, now)))
    }

    /// A handshake that the server begins.
    pub(in super::super) fn active(
        &self,
        certificate: impl FnOnce() -> DtlsCertificate,
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        let mut dtls = dimpl::Dtls::new_12(self.0.clone(), certificate(), now);
        dtls.set_active(true);
        Some(Box::new(Dimpl::new(dtls, Setup::Active, None, now)))
    }
}
