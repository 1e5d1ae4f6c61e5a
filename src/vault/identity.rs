//! The server's identity: the DTLS certificate that browsers know it by, and its private key.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use zeroize::Zeroizing;

use super::clock::{civil_date, unix_seconds};
use super::error::VaultError;

/// Object identifier of the attribute type serialNumber (X.520), which the certificate's subject is made of.
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
/// The certificate must outlive the vault: browsers compare its fingerprint, nobody renews it.
const YEARS_VALID: u64 = 30;

/// A hash that `a=fingerprint` can name (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FingerprintHash {
    /// sha-256
    Sha256,
    /// sha-384
    Sha384,
    /// sha-512
    Sha512,
}

/// The server's long-lived DTLS certificate and private key. The key is wiped when dropped and never printed.
pub struct Identity {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Makes an ECDSA P-256 key and a self-signed certificate that says nothing about the server: its subject is a
    /// random number, and its dates are rounded to days.
    pub(super) fn generate(now: SystemTime) -> Result<Self, VaultError> {
        let failed = |e: &dyn fmt::Display| VaultError::Certificate(e.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?;
        let mut name = [0; 16];
        aws_lc_rs::rand::fill(&mut name).map_err(|e| failed(&e))?;
        let name = rcgen::string::PrintableString::try_from(hex(&name)).map_err(|e| failed(&e))?;

        // Beyond the year 9999 no certificate goes (RFC 5280 §4.1.2.5).
        let day = |unix_seconds: u64| {
            let (year, month, day) = civil_date(unix_seconds.min(253_402_300_799));
            date_time_ymd(year as i32, month, day)
        };
        let today = unix_seconds(now);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CustomDnType(SERIAL_NUMBER.to_vec()),
            rcgen::DnValue::PrintableString(name),
        );
        // The day before yesterday: a browser's clock may be behind ours.
        params.not_before = day(today.saturating_sub(2 * 86_400));
        params.not_after = day(today.saturating_add(YEARS_VALID * 365 * 86_400));
        let certificate = params.self_signed(&key).map_err(|e| failed(&e))?;
        Ok(Self::from_der(certificate.der(), key.serialized_der()))
    }

    pub(super) fn from_der(certificate: &[u8], private_key: &[u8]) -> Self {
        Self {
            certificate: certificate.to_vec(),
            private_key: Zeroizing::new(private_key.to_vec()),
        }
    }

    /// The X.509 certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key, PKCS#8 DER (RFC 5958).
    pub fn private_key_der(&self) -> &[u8] {
        &self.private_key
    }

    /// The certificate's fingerprint, as in `a=fingerprint` (RFC 8122 §5): 32, 48 or 64 bytes.
    pub fn fingerprint(&self, hash: FingerprintHash) -> Vec<u8> {
        let algorithm = match hash {
            FingerprintHash::Sha256 => &digest::SHA256,
            FingerprintHash::Sha384 => &digest::SHA384,
            FingerprintHash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, &self.certificate).as_ref().to_vec()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
