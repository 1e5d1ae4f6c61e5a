//! The server's identity: the DTLS certificate that browsers expect, and its private key.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256,
    SerialNumber, date_time_ymd,
};
use rekindle_ids::hex;
use zeroize::Zeroizing;

use crate::clock::{civil_date, unix_seconds};
use crate::error::VaultError;
use crate::record::{CertificateRecord, IdentityRecord, limits};
use crate::seal::MacKey;

/// Object identifier of the attribute type serialNumber (X.520), which the certificate's subject is
/// made of.
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
/// The certificate must outlive the vault: browsers compare its fingerprint, and nobody renews it.
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

/// The server's long-lived DTLS certificate and private key. The key is wiped when dropped and
/// never printed.
pub struct Identity {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Makes an ECDSA P-256 key and a self-signed certificate that reveals nothing about the
    /// server: its dates are rounded to days, and its serial number and its subject are hashes of
    /// the public key, so that no byte in it could carry anything else.
    ///
    /// # Errors
    /// [`VaultError::Certificate`] where they cannot be made.
    pub fn generate(now: SystemTime) -> Result<Self, VaultError> {
        let failed = |e: &dyn fmt::Display| VaultError::Certificate(e.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| failed(&e))?;
        let (serial, subject) = names_of_key(key.public_key_raw());
        let subject = rcgen::string::PrintableString::try_from(subject).map_err(|e| failed(&e))?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CustomDnType(SERIAL_NUMBER.to_vec()),
            DnValue::PrintableString(subject),
        );
        // No certificate is valid beyond the year 9999 (RFC 5280 §4.1.2.5).
        let day = |unix_seconds: u64| {
            let (year, month, day) = civil_date(unix_seconds.min(253_402_300_799));
            date_time_ymd(year as i32, month, day)
        };
        let today = unix_seconds(now);
        // The day before yesterday: a browser's clock may be behind ours.
        params.not_before = day(today.saturating_sub(2 * 86_400));
        params.not_after = day(today.saturating_add(YEARS_VALID * 365 * 86_400));
        let certificate = params.self_signed(&key).map_err(|e| failed(&e))?;
        Ok(Self::from_der(certificate.der(), key.serialized_der()))
    }

    pub(crate) fn from_der(certificate: &[u8], private_key: &[u8]) -> Self {
        Self {
            certificate: certificate.to_vec(),
            private_key: Zeroizing::new(private_key.to_vec()),
        }
    }

    /// Its persisted form.
    pub(crate) fn record(&self) -> CertificateRecord<'_> {
        CertificateRecord {
            certificate: &self.certificate,
            private_key: &self.private_key,
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

    /// A key derived (HKDF, RFC 5869) from the private key for one purpose, which `info` names. It
    /// is the same in every boot, with any key file.
    pub fn mac_key(&self, info: &[u8]) -> MacKey {
        MacKey::derive(&self.private_key, info)
    }

    /// The certificate's fingerprint, as in `a=fingerprint` (RFC 8122 §5): 32, 48 or 64 bytes.
    pub fn fingerprint(&self, hash: FingerprintHash) -> Vec<u8> {
        let algorithm = match hash {
            FingerprintHash::Sha256 => &digest::SHA256,
            FingerprintHash::Sha384 => &digest::SHA384,
            FingerprintHash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, &self.certificate)
            .as_ref()
            .to_vec()
    }

    /// SHA-256 of the certificate, which identifies it.
    pub fn sha256(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, &self.certificate);
        *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

/// The identities of a vault: the one for new peers, and those that earlier peers use.
#[derive(Clone)]
pub(crate) struct Identities {
    pub current: Arc<Identity>,
    /// The latest first.
    pub earlier: Vec<Arc<Identity>>,
}

impl Identities {
    pub(crate) fn new(current: Identity) -> Self {
        Self {
            current: Arc::new(current),
            earlier: Vec::new(),
        }
    }

    /// `None` for more than the limit.
    pub(crate) fn from_record(record: &IdentityRecord<'_>) -> Option<Self> {
        let one = |record: &CertificateRecord<'_>| {
            Arc::new(Identity::from_der(record.certificate, record.private_key))
        };
        (record.earlier.len() <= limits::EARLIER).then(|| Self {
            current: one(&record.current),
            earlier: record.earlier.iter().map(one).collect(),
        })
    }

    /// Their persisted form.
    pub(crate) fn record(&self) -> IdentityRecord<'_> {
        IdentityRecord {
            current: self.current.record(),
            earlier: self
                .earlier
                .iter()
                .map(|identity| identity.record())
                .collect(),
        }
    }

    /// All, the current one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Identity>> {
        std::iter::once(&self.current).chain(&self.earlier)
    }

    /// The oldest one that is left.
    pub(crate) fn oldest(&self) -> &Arc<Identity> {
        self.earlier.last().unwrap_or(&self.current)
    }

    /// Whether there is room for one more.
    pub(crate) fn may_rotate(&self) -> bool {
        self.earlier.len() < limits::EARLIER
    }

    /// Puts a new one first.
    pub(crate) fn rotate(&mut self, new: Arc<Identity>) {
        let before = std::mem::replace(&mut self.current, new);
        self.earlier.insert(0, before);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The certificate's serial number and the text of its subject, from the hash of the public key (an
/// uncompressed point, 65 bytes). The serial number is positive and does not begin with a zero
/// byte, as DER requires.
pub(crate) fn names_of_key(public_key: &[u8]) -> ([u8; 16], String) {
    let hash = digest::digest(&digest::SHA256, public_key);
    let (serial, subject) = hash.as_ref().split_at(16);
    let mut serial: [u8; 16] = serial.try_into().expect("half of 32 bytes");
    serial[0] = serial[0] & 0x3f | 0x40;
    (serial, hex::encode(subject))
}
