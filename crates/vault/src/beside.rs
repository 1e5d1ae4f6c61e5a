//! Files of the server's that are kept beside the vault, under the same key file: age around a
//! text of their owner's and a MAC, which only who has the secret half of the recipient can make.

use rekindle_secrets::stack;
use zeroize::Zeroizing;

use std::path::Path;

use crate::error::{FileFault, VaultError};
use crate::files::{Folder, ReadError};
use crate::key::KeyFile;
use crate::opening::open_root;
use crate::record::MAC_LEN;
use crate::seal::{SealingKey, decrypt, encrypt};

/// Encrypts files beside the vault to the first identity of a key file, and cannot open them.
pub struct Sealer(SealingKey);

impl Sealer {
    /// The file's bytes. `name` is covered by the MAC: it is not that of a file in the vault.
    pub(crate) fn seal(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let mut plaintext = Zeroizing::new(Vec::with_capacity(content.len() + MAC_LEN));
        plaintext.extend_from_slice(content);
        plaintext.extend_from_slice(&self.0.file_tag(name, content));
        let file = encrypt(self.0.recipient(), &plaintext);
        stack::wipe();
        file
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl KeyFile {
    /// What encrypts files beside the vault.
    pub fn sealer(&self) -> Sealer {
        Sealer(self.keys[0].sealing())
    }

    /// The content of a file that [`Sealer::seal`] has made for this name, and whether it is under
    /// the first identity.
    ///
    /// # Errors
    /// [`FileFault`] where it is not one, or no identity opens it.
    pub(crate) fn open_beside(
        &self,
        name: &str,
        file: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, bool), FileFault> {
        let (mut plaintext, key) = decrypt(&self.keys, file)?;
        let length = plaintext.len().checked_sub(MAC_LEN);
        let length = length.ok_or(FileFault::Malformed)?;
        let (content, mac) = plaintext.split_at(length);
        if !self.keys[key].mac_is_right(name, content, mac) {
            return Err(FileFault::Forged);
        }
        plaintext.truncate(length);
        Ok((plaintext, key == 0))
    }
}

/// A folder beside the vault, held open. Its files are read and written as the vault's are.
pub struct Beside(Folder);

/// What was found under a name: its content, and whether it is under the first identity.
pub type Found = (Zeroizing<Vec<u8>>, bool);

impl Beside {
    /// Opens the folder, or makes one that only we can enter, and removes what a killed process has
    /// left of files that it was writing.
    ///
    /// # Errors
    /// [`VaultError`] where it cannot be used, or others could put files there.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let made = |cause| VaultError::Io {
            what: "create the folder",
            path: path.into(),
            cause,
        };
        let folder = match open_root(path)? {
            Some(folder) => folder,
            None => Folder::create(path).map_err(made)?,
        };
        folder
            .remove_temporary()
            .map_err(|e| folder.error("remove temporary files", e))?;
        Ok(Self(folder))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads and opens a file of at most `limit` bytes; `None` if there is none. The inner error is
    /// what is wrong with the file.
    ///
    /// # Errors
    /// [`VaultError::Io`] where trying again later may help.
    pub fn read(
        &self,
        name: &str,
        limit: usize,
        keys: &KeyFile,
    ) -> Result<Option<Result<Found, FileFault>>, VaultError> {
        match self.0.read(name, limit) {
            Ok(file) => Ok(Some(keys.open_beside(name, &file))),
            Err(ReadError::Missing) => Ok(None),
            Err(ReadError::Fault(fault)) => Ok(Some(Err(fault))),
            Err(ReadError::Io(cause)) => Err(self.0.error("read a file", cause)),
        }
    }

    /// Writes a file whole and durably: a kill leaves the old one or the new one.
    ///
    /// # Errors
    /// [`VaultError::Full`] or [`VaultError::Io`].
    pub fn write(
        &self,
        name: &'static str,
        sealer: &Sealer,
        content: &[u8],
    ) -> Result<(), VaultError> {
        self.0
            .replace(name, &sealer.seal(name, content))
            .map_err(|e| self.0.write_error(name, e))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use age::secrecy::ExposeSecret;
    use age::x25519;

    use super::*;

    fn keys(identities: &[&x25519::Identity]) -> KeyFile {
        let lines: Vec<String> = identities
            .iter()
            .map(|identity| identity.to_string().expose_secret().to_owned())
            .collect();
        KeyFile::parse(lines.join("\n").as_bytes(), Path::new("keys")).expect("identities")
    }

    #[test]
    fn a_file_beside_the_vault_is_opened_by_its_key_file_under_its_name_alone() {
        let (old, new) = (x25519::Identity::generate(), x25519::Identity::generate());
        let file = keys(&[&old]).sealer().seal("acme.age", b"content");
        let (content, is_current) = keys(&[&old])
            .open_beside("acme.age", &file)
            .expect("opened");
        assert_eq!((&content[..], is_current), (&b"content"[..], true));
        let (_, is_current) = keys(&[&new, &old])
            .open_beside("acme.age", &file)
            .expect("opened");
        assert!(!is_current);
        let fault = |keys: KeyFile, name: &str, file: &[u8]| {
            keys.open_beside(name, file).expect_err("refused")
        };
        assert_eq!(
            fault(keys(&[&new]), "acme.age", &file),
            FileFault::ForeignRecipient
        );
        assert_eq!(fault(keys(&[&old]), "other.age", &file), FileFault::Forged);
        // Who knows the recipient can make an age file, but no MAC.
        let forger = SealingKey::forger(&old.to_public().to_string());
        for content in [&b"content"[..], &[0; 40]] {
            let forged = forger.seal_bytes(content);
            assert!(keys(&[&old]).open_beside("acme.age", &forged).is_err());
        }
        for length in 0..file.len() {
            assert!(
                keys(&[&old])
                    .open_beside("acme.age", &file[..length])
                    .is_err()
            );
        }
    }
}
