//! Opens all that was stolen. Written from `threat-model/persisted-format.md`, without a line of
//! rekindle.

use std::fs;
use std::io::Read;
use std::path::Path;

use age::x25519;

/// Kinds of files (the byte after magic and schema version).
const SESSION: u8 = 0x83;
/// HMAC-SHA-256 at the end.
const MAC: usize = 32;

/// Keying material of a session.
pub struct SessionKeys {
    /// IANA's number of the DTLS-SRTP profile.
    pub profile: u16,
    pub material: Vec<u8>,
}

/// What was in the folder.
pub struct Stolen {
    /// Plaintexts, whole.
    pub files: Vec<(String, Vec<u8>)>,
    pub sessions: Vec<SessionKeys>,
    /// The key file, as it is.
    key_file: Vec<u8>,
}

impl Stolen {
    /// All that was stolen, one after the other.
    pub fn haystack(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self
            .files
            .iter()
            .flat_map(|(_, content)| content.clone())
            .collect();
        all.extend(&self.key_file);
        all
    }
}

/// Opens every age file below the folder with the key file.
pub fn open(folder: &Path, key_file: &Path) -> Stolen {
    let key_file = fs::read(key_file).expect("stolen too");
    let identities: Vec<x25519::Identity> = String::from_utf8_lossy(&key_file)
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.trim().parse().expect("an age identity"))
        .collect();
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "age") {
                let name = path
                    .strip_prefix(folder)
                    .expect("below")
                    .to_string_lossy()
                    .into_owned();
                files.push((
                    name,
                    decrypt(&identities, &fs::read(&path).expect("readable")),
                ));
            }
        }
    }
    let sessions = files
        .iter()
        .filter_map(|(_, content)| session(content))
        .collect();
    Stolen {
        files,
        sessions,
        key_file,
    }
}

fn decrypt(identities: &[x25519::Identity], file: &[u8]) -> Vec<u8> {
    let decryptor = age::Decryptor::new_buffered(file).expect("an age file");
    let mut plain = Vec::new();
    decryptor
        .decrypt(
            identities
                .iter()
                .map(|identity| identity as &dyn age::Identity),
        )
        .expect("the key file opens it")
        .read_to_end(&mut plain)
        .expect("whole");
    plain
}

/// The keys in a session's file; none in any other file.
fn session(plain: &[u8]) -> Option<SessionKeys> {
    let mut body = plain
        .get(..plain.len().checked_sub(MAC)?)?
        .strip_prefix(b"rekindle\x02")?;
    let kind = take(&mut body, 1)?[0];
    if kind != SESSION {
        return None;
    }
    let (_boot, _written_at) = (number(&mut body)?, number(&mut body)?);
    let _ufrag = blob(&mut body)?;
    let profile = u16::try_from(number(&mut body)?).ok()?;
    let material = blob(&mut body)?.to_vec();
    Some(SessionKeys { profile, material })
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

/// bincode's variable-length numbers.
fn number(from: &mut &[u8]) -> Option<u64> {
    let first = take(from, 1)?[0];
    let length = match first {
        0..=250 => return Some(first.into()),
        251 => 2,
        252 => 4,
        253 => 8,
        _ => return None,
    };
    let bytes = take(from, length)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

fn blob<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(from)?).ok()?;
    take(from, length)
}
