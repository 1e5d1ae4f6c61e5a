//! For the fuzz targets: the key file's text, and what lies under age's encryption.

use std::path::Path;
use std::time::SystemTime;

use age::x25519;

use super::identity::Identity;
use super::key::KeyFile;
use super::record::{IdentityRecord, Kind, PeerRecord};
use super::seal::{OpeningKey, decode, unseal};

/// A server's certificate and key.
pub(crate) fn identity() -> Identity {
    Identity::generate(SystemTime::now()).expect("a certificate")
}

/// The text of a key file.
pub fn key_file(data: &[u8]) {
    match KeyFile::parse(data, Path::new("key")) {
        Ok(keys) => assert!(keys.recipients().all(|r| r.starts_with("age1"))),
        // An error speaks of lines and never has one in it.
        Err(error) => assert!(!error.to_string().contains("AGE-SECRET-KEY-1Q")),
    }
}

/// The first byte says what the rest is: a plaintext without its MAC, as a peer's or as the
/// identity's, or a whole file.
pub fn record(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    match choice % 3 {
        0 => {
            if let Ok((_, record)) = decode::<PeerRecord>(Kind::Peer, content)
                && record.check().is_ok()
            {
                let _ = crate::sdp::negotiated(record.role, &record.offer, &record.answer);
            }
        }
        1 => {
            let _ = decode::<IdentityRecord<'_>>(Kind::Identity, content);
        }
        _ => {
            let key = OpeningKey::new(x25519::Identity::generate());
            assert!(
                unseal(&[key], "peers/a.age", content).is_err(),
                "nobody has the key"
            );
        }
    }
}
