//! One file: age around a header, a body and a MAC.
//!
//! age authenticates the content but not its sender: anybody who knows the recipient can make a
//! valid age file. So the plaintext ends with an HMAC-SHA-256 (RFC 2104) over the file's name and
//! all preceding bytes, with a key derived (HKDF, RFC 5869) from the secret half of the recipient.
//! Nothing of the body is decoded before it is verified.

use std::io::{Read, Write};

use age::secrecy::ExposeSecret;
use age::x25519;
use aws_lc_rs::{constant_time, hkdf, hmac};
use bincode::config;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::FileFault;
use crate::record::{
    FULL_STATE_BIT, Header, IdentityRecord, Kind, MAC_LEN, MAGIC, PeerRecord, SCHEMA, limits,
};

/// HKDF salt of all keys that are derived for the vault.
const SALT: &[u8] = b"rekindle vault v1";
/// HKDF info of the MAC key. The input is the identity as written in the key file
/// (`AGE-SECRET-KEY-1...`, upper case).
const MAC_INFO: &[u8] = b"record mac";
/// HKDF info of the key of the auditor's short hashes, with the same input.
const REDACTION_INFO: &[u8] = b"audit redaction";
/// Prefix of what the MAC covers.
const MAC_PREFIX: &[u8] = b"rekindle file v1\0";
/// Room for the header, the lengths in the body and the MAC: more than they can take.
const OVERHEAD: usize = 128;
/// Most bytes of a number (bincode).
const MAX_LENGTH: usize = 9;

/// A key of 32 bytes, wiped when dropped, never printed. On the heap, so that moves leave no
/// copies.
pub struct MacKey(Box<Zeroizing<[u8; 32]>>);

impl MacKey {
    /// A key for one run.
    pub(crate) fn random() -> Self {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        aws_lc_rs::rand::fill(key.as_mut_slice()).expect("the system gives random bytes");
        Self(key)
    }

    /// Derives a key from a secret; `info` names its purpose.
    pub(crate) fn derive(secret: &[u8], info: &[u8]) -> Self {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(secret)
            .expand(&[info], hmac::HMAC_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .expect("32 bytes are what HMAC-SHA-256 takes and HKDF-SHA-256 gives");
        Self(key)
    }

    /// HMAC-SHA-256 (RFC 2104) over the parts, one after the other.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice()));
        for part in parts {
            context.update(part);
        }
        *context
            .sign()
            .as_ref()
            .first_chunk()
            .expect("HMAC-SHA-256 has 32 bytes")
    }

    /// The MAC of a file: over its name and the plaintext up to the MAC.
    fn file_tag(&self, name: &str, plaintext: &[u8]) -> [u8; 32] {
        let length = u8::try_from(name.len()).expect("names in the vault are short");
        self.tag(&[MAC_PREFIX, &[length], name.as_bytes(), plaintext])
    }
}

/// Encrypts, and cannot open a file.
pub(crate) struct SealingKey {
    recipient: x25519::Recipient,
    mac: MacKey,
}

#[cfg(test)]
impl SealingKey {
    /// The keys of an attacker who knows the recipient and guesses the MAC key.
    pub fn forger(recipient: &str) -> Self {
        let recipient = recipient.parse().expect("a recipient");
        Self {
            recipient,
            mac: MacKey::derive(b"a guess", MAC_INFO),
        }
    }

    /// Encrypts anything.
    pub fn seal_bytes(&self, plaintext: &[u8]) -> Vec<u8> {
        encrypt(&self.recipient, plaintext)
    }

    /// Encrypts any header and body with a valid MAC.
    pub fn seal_with_mac(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let tag = self.mac.file_tag(name, content);
        encrypt(&self.recipient, &[content, &tag].concat())
    }
}

impl SealingKey {
    pub(crate) fn recipient(&self) -> &x25519::Recipient {
        &self.recipient
    }

    /// The MAC of the file of this name.
    pub(crate) fn file_tag(&self, name: &str, content: &[u8]) -> [u8; 32] {
        self.mac.file_tag(name, content)
    }
}

/// Opens files: an age identity and the MAC key derived from it.
pub(crate) struct OpeningKey {
    identity: x25519::Identity,
    mac: MacKey,
}

impl OpeningKey {
    /// Takes an identity and derives its MAC key.
    pub(crate) fn new(identity: x25519::Identity) -> Self {
        let mac = MacKey::derive(identity.to_string().expose_secret().as_bytes(), MAC_INFO);
        Self { identity, mac }
    }

    /// The half that encrypts.
    pub(crate) fn sealing(&self) -> SealingKey {
        SealingKey {
            recipient: self.identity.to_public(),
            mac: MacKey(self.mac.0.clone()),
        }
    }

    /// Whether this is the MAC of the file of this name, compared in constant time.
    pub(crate) fn mac_is_right(&self, name: &str, content: &[u8], mac: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.mac.file_tag(name, content), mac).is_ok()
    }

    /// The key of the short hashes that the auditor shows instead of values.
    pub(crate) fn redaction_key(&self) -> MacKey {
        MacKey::derive(
            self.identity.to_string().expose_secret().as_bytes(),
            REDACTION_INFO,
        )
    }

    /// The recipient as text (`age1...`).
    pub(crate) fn recipient(&self) -> String {
        self.identity.to_public().to_string()
    }
}

/// A decrypted file with a valid MAC.
pub(crate) struct Unsealed {
    plaintext: Zeroizing<Vec<u8>>,
    /// The index of the key that opened it.
    pub key: usize,
}

/// Encrypts a peer's record.
pub(crate) fn seal_peer(
    key: &SealingKey,
    name: &str,
    header: &Header,
    record: &PeerRecord,
) -> Vec<u8> {
    let PeerRecord {
        role: _,
        channel,
        ice,
        offer,
        answer,
        joined_at: _,
    } = record;
    let fields = [
        channel.len(),
        ice.ufrag.as_str().len(),
        ice.pwd.expose().len(),
        offer.len(),
        answer.len(),
    ];
    seal(key, name, header, record, fields.iter().sum())
}

/// Encrypts the server's identity.
pub(crate) fn seal_identity(
    key: &SealingKey,
    name: &str,
    header: &Header,
    record: &IdentityRecord<'_>,
) -> Vec<u8> {
    let sizes = std::iter::once(&record.current)
        .chain(&record.earlier)
        .map(|one| one.certificate.len() + one.private_key.len() + 2 * MAX_LENGTH);
    seal(key, name, header, record, sizes.sum())
}

pub(crate) fn seal(
    key: &SealingKey,
    name: &str,
    header: &Header,
    body: &impl Serialize,
    body_size: usize,
) -> Vec<u8> {
    let plaintext = encode(header, body, body_size + OVERHEAD, |so_far| {
        key.mac.file_tag(name, so_far)
    });
    #[cfg(rekindle_canary)]
    rekindle_secrets::canary::file("plaintext", &plaintext);
    encrypt(&key.recipient, &plaintext)
}

/// Header, body, MAC, in a buffer that never grows, so that no copy of it is left behind.
fn encode(
    header: &Header,
    body: &impl Serialize,
    room: usize,
    mac: impl FnOnce(&[u8]) -> [u8; 32],
) -> Zeroizing<Vec<u8>> {
    let mut plaintext = Zeroizing::new(vec![0; room]);
    let length =
        bincode::serde::encode_into_slice((header, body), &mut plaintext, config::standard())
            .expect("the room is larger than header and body can be");
    plaintext.truncate(length);
    let tag = mac(&plaintext);
    plaintext.extend_from_slice(&tag);
    plaintext
}

/// age, binary, one X25519 recipient.
pub(crate) fn encrypt(recipient: &x25519::Recipient, plaintext: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(plaintext.len() + 1024);
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(recipient as &dyn age::Recipient))
            .expect("one X25519 recipient is a valid set");
    encryptor
        .wrap_output(&mut file)
        .and_then(|mut writer| writer.write_all(plaintext).and_then(|()| writer.finish()))
        .expect("writing to memory does not fail");
    file
}

/// Decrypts a file and verifies its MAC. `name` is its path inside the vault.
pub(crate) fn unseal(keys: &[OpeningKey], name: &str, file: &[u8]) -> Result<Unsealed, FileFault> {
    let (plaintext, key) = decrypt(keys, file)?;
    let unsealed = Unsealed { plaintext, key };
    unsealed.verify(&keys[key], name)?;
    Ok(unsealed)
}

/// Tries the identities one by one: during a rotation, files of the vault are encrypted for
/// different ones.
pub(crate) fn decrypt(
    keys: &[OpeningKey],
    file: &[u8],
) -> Result<(Zeroizing<Vec<u8>>, usize), FileFault> {
    for (index, key) in keys.iter().enumerate() {
        let decryptor = age::Decryptor::new_buffered(file).map_err(|_| FileFault::NotAge)?;
        match decryptor.decrypt(std::iter::once(&key.identity as &dyn age::Identity)) {
            Ok(mut reader) => {
                // The plaintext is shorter than the file, so the buffer never grows.
                let mut plaintext = Zeroizing::new(Vec::with_capacity(file.len()));
                reader
                    .read_to_end(&mut plaintext)
                    .map_err(|_| FileFault::Torn)?;
                return Ok((plaintext, index));
            }
            Err(age::DecryptError::NoMatchingKeys) => {}
            Err(_) => return Err(FileFault::NotAge),
        }
    }
    Err(FileFault::ForeignRecipient)
}

impl Unsealed {
    /// Magic, version, mode, MAC, in this order, so that each fault is reported as what it is.
    fn verify(&self, key: &OpeningKey, name: &str) -> Result<(), FileFault> {
        let content = self.content();
        match content.split_first_chunk() {
            Some((&MAGIC, [SCHEMA, kind, ..]))
                if kind & FULL_STATE_BIT != 0 && !crate::full_state::has_code_for(*kind) =>
            {
                return Err(FileFault::FullState);
            }
            Some((&MAGIC, [SCHEMA, ..])) => {}
            Some((&MAGIC, [other, ..])) => return Err(FileFault::Schema(*other)),
            _ => return Err(FileFault::NotOurs),
        }
        if key.mac_is_right(name, content, self.mac()) {
            Ok(())
        } else {
            Err(FileFault::Forged)
        }
    }

    /// Header and body.
    pub(crate) fn content(&self) -> &[u8] {
        &self.plaintext[..self.plaintext.len().saturating_sub(MAC_LEN)]
    }

    fn mac(&self) -> &[u8] {
        &self.plaintext[self.plaintext.len().saturating_sub(MAC_LEN)..]
    }

    /// The header and the peer's record.
    pub(crate) fn peer(&self) -> Result<(Header, PeerRecord), FileFault> {
        decode(Kind::PEER, self.content())
    }

    /// The header and the server's identity.
    pub(crate) fn identity(&self) -> Result<(Header, IdentityRecord<'_>), FileFault> {
        decode(Kind::IDENTITY, self.content())
    }
}

/// Decodes strictly: within limits, all bytes used, and only the encoding that this program would
/// write (bincode also reads integers that are longer than necessary, which would leave room for
/// meaningless bytes).
pub(crate) fn decode<'a, T>(kind: Kind, content: &'a [u8]) -> Result<(Header, T), FileFault>
where
    T: Serialize + Deserialize<'a>,
{
    decode_within::<T, { limits::PEER_FILE }>(kind, content)
}

/// The same with another limit, in bytes.
pub(crate) fn decode_within<'a, T, const LIMIT: usize>(
    kind: Kind,
    content: &'a [u8],
) -> Result<(Header, T), FileFault>
where
    T: Serialize + Deserialize<'a>,
{
    let decoded = decode_of_any_kind::<T, LIMIT>(content)?;
    if kind.is(decoded.0.kind) {
        Ok(decoded)
    } else {
        Err(FileFault::WrongKind)
    }
}

/// The same for the auditor, which has checked the kind itself.
pub(crate) fn decode_of_any_kind<'a, T, const LIMIT: usize>(
    content: &'a [u8],
) -> Result<(Header, T), FileFault>
where
    T: Serialize + Deserialize<'a>,
{
    let bounded = config::standard().with_limit::<LIMIT>();
    let (decoded, used): ((Header, T), usize) =
        bincode::serde::borrow_decode_from_slice(content, bounded)
            .map_err(|_| FileFault::Malformed)?;
    let mut again = Zeroizing::new(vec![0; content.len()]);
    let length = bincode::serde::encode_into_slice(&decoded, &mut again, config::standard())
        .map_err(|_| FileFault::Malformed)?;
    if used != content.len() || again[..length] != *content {
        return Err(FileFault::Malformed);
    }
    Ok(decoded)
}
