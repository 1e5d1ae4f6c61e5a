//! Handshakes by BoringSSL, the library of Chromium.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use dimpl::SrtpProfile;
use rekindle_boring::{Association, Context, Groups, Side, Srtp};

use super::{Certificate, Failed, Library, Options, Yield};

/// Settings for each certificate, which take longer to make than some handshakes.
#[derive(Default)]
pub(super) struct Contexts(Mutex<Vec<(Groups, Context)>>);

impl Contexts {
    fn of(&self, certificate: &Certificate, options: Options, groups: Groups) -> Context {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.iter().find(|(other, _)| *other == groups);
        let context = if let Some((_, context)) = known {
            context.clone()
        } else {
            let Certificate { der, key, .. } = certificate;
            let context = Context::new(der, key, options.rto, groups).expect("good settings");
            made.push((groups, context.clone()));
            context
        };
        context
            .with_mtu(u32::try_from(options.mtu).unwrap_or(u32::MAX))
            .with_first_timeout(options.rto)
    }
}

/// One handshake.
pub(super) struct BoringSsl(Association);

impl BoringSsl {
    /// The DTLS client.
    pub(super) fn active(
        certificate: &Certificate,
        options: Options,
        groups: Groups,
        now: Instant,
    ) -> Self {
        let context = certificate.contexts.of(certificate, options, groups);
        Self(Association::new(&context, Side::Client, now).expect("good settings"))
    }
}

impl Library for BoringSsl {
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        yielded: &mut Yield,
    ) -> Result<(), Failed> {
        // BoringSSL ignores the last 15 ms of a timeout.
        if datagram.is_none() && now < self.next() {
            return Ok(());
        }
        let completed = self.0.drive(now, datagram, &mut yielded.outgoing);
        let Some(completed) = completed.map_err(|_| Failed)? else {
            return Ok(());
        };
        let profile = match completed.srtp {
            Srtp::AeadAes256Gcm => SrtpProfile::AEAD_AES_256_GCM,
            Srtp::AeadAes128Gcm => SrtpProfile::AEAD_AES_128_GCM,
            Srtp::Aes128CmSha1_80 => SrtpProfile::AES128_CM_SHA1_80,
        };
        yielded.keys = Some((completed.material.to_vec(), profile));
        yielded.server_certificate = Some(completed.certificate);
        Ok(())
    }

    fn next(&self) -> Instant {
        self.0.next_timeout()
    }

    // The server takes the keys of the next handshake, whether these were closed or not.
    fn close(&mut self, _: Instant, _: &mut Yield) -> Result<(), Failed> {
        Ok(())
    }
}
