//! For the fuzz targets: the key file's text, and the plaintext inside age.

use std::path::Path;

use age::x25519;

use crate::key::KeyFile;
use crate::record::{IdentityRecord, Kind, PeerRecord};
use crate::seal::{OpeningKey, decode, unseal};

/// The text of a key file.
pub fn key_file(data: &[u8]) {
    match KeyFile::parse(data, Path::new("key")) {
        Ok(keys) => assert!(keys.recipients().all(|r| r.starts_with("age1"))),
        // An error names a line by its number and never contains it.
        Err(error) => assert!(!error.to_string().contains("AGE-SECRET-KEY-1Q")),
    }
}

/// The first byte selects what the rest is: a plaintext without its MAC, as a peer's or as the
/// identity's, or a whole file. Returns a peer's record that could be one.
pub fn record(data: &[u8]) -> Option<PeerRecord> {
    let (choice, content) = data.split_first()?;
    match choice % 3 {
        0 => {
            let (_, record) = decode::<PeerRecord>(Kind::PEER, content).ok()?;
            return record.check().is_ok().then_some(record);
        }
        1 => {
            let _ = decode::<IdentityRecord<'_>>(Kind::IDENTITY, content);
        }
        _ => {
            let key = OpeningKey::new(x25519::Identity::generate());
            assert!(
                unseal(&[key], "peers/a.age", content).is_err(),
                "nobody has the key"
            );
        }
    }
    None
}

#[cfg(test)]
mod tests;
