//! Only in the build that one test asks for: reports every secret of a handshake to the listener of
//! [`rekindle_secrets::canary`].
//!
//! The DTLS library does all its cryptography through one table of functions. Here that table is
//! wrapped by another one, which reports each key, each shared secret, and all that is derived from
//! a secret. BoringSSL reports the secrets of its key log.

use std::sync::LazyLock;

use dimpl::CryptoError;
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::crypto::{
    ActiveKeyExchange, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite,
    HashAlgorithm, HmacProvider, NamedGroup, SupportedDtls12CipherSuite,
    SupportedDtls13CipherSuite, SupportedKxGroup,
};
use rekindle_secrets::canary::secret;

/// Reports secrets from now on, if there is a listener. To be called before the sandbox is set up.
/// Returns whether there is a listener.
pub fn start() -> bool {
    let heard = rekindle_secrets::canary::start();
    if heard {
        CryptoProvider::install_default(provider());
        #[cfg(feature = "boring")]
        rekindle_boring::canary::listen(|bytes| secret("BoringSSL's", bytes));
    }
    heard
}

fn provider() -> CryptoProvider {
    static INNER: LazyLock<CryptoProvider> = LazyLock::new(default_provider);
    static GROUPS: LazyLock<Vec<&'static dyn SupportedKxGroup>> = LazyLock::new(|| {
        let tapped =
            |inner: &&'static dyn SupportedKxGroup| &*Box::leak(Box::new(Group(*inner))) as _;
        INNER.kx_groups.iter().map(tapped).collect()
    });
    static SUITES_12: LazyLock<Vec<&'static dyn SupportedDtls12CipherSuite>> =
        LazyLock::new(|| {
            let tapped = |inner: &&'static dyn SupportedDtls12CipherSuite| {
                &*Box::leak(Box::new(Suite12(*inner))) as _
            };
            INNER.cipher_suites.iter().map(tapped).collect()
        });
    static SUITES_13: LazyLock<Vec<&'static dyn SupportedDtls13CipherSuite>> =
        LazyLock::new(|| {
            let tapped = |inner: &&'static dyn SupportedDtls13CipherSuite| {
                &*Box::leak(Box::new(Suite13(*inner))) as _
            };
            INNER.dtls13_cipher_suites.iter().map(tapped).collect()
        });
    static HMAC: LazyLock<Hmac> = LazyLock::new(|| Hmac(INNER.hmac_provider));
    CryptoProvider {
        kx_groups: &GROUPS,
        cipher_suites: &SUITES_12,
        dtls13_cipher_suites: &SUITES_13,
        hmac_provider: &*HMAC,
        ..INNER.clone()
    }
}

/// The master secret, traffic secrets, exporter secrets and what is derived from them: all are keys
/// or outputs of HMAC.
#[derive(Debug)]
struct Hmac(&'static dyn HmacProvider);

impl HmacProvider for Hmac {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let length = self.0.hmac(hash, key, data, out)?;
        // The label names the secret, such as "master secret" or "tls13 exp master".
        let text = data.split(|b| !(b.is_ascii_alphanumeric() || *b == b' '));
        let label = text
            .max_by_key(|word| word.len())
            .and_then(|word| std::str::from_utf8(word).ok());
        let label = label.unwrap_or_default();
        secret(&format!("hmac key for {label:?}"), key);
        secret(&format!("hmac output for {label:?}"), &out[..length]);
        Ok(length)
    }
}

#[derive(Debug)]
struct Group(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn start_exchange(&self, buf: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        Ok(Box::new(Exchange(self.0.start_exchange(buf)?)))
    }
}

#[derive(Debug)]
struct Exchange(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn complete(self: Box<Self>, peer_pub: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        self.0.complete(peer_pub, out)?;
        secret("shared secret", out);
        Ok(())
    }

    fn group(&self) -> NamedGroup {
        self.0.group()
    }
}

#[derive(Debug)]
struct Suite12(&'static dyn SupportedDtls12CipherSuite);

impl SupportedDtls12CipherSuite for Suite12 {
    fn suite(&self) -> Dtls12CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        self.0.key_lengths()
    }

    fn explicit_nonce_len(&self) -> usize {
        self.0.explicit_nonce_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        secret("DTLS 1.2 key", key);
        self.0.create_cipher(key)
    }
}

#[derive(Debug)]
struct Suite13(&'static dyn SupportedDtls13CipherSuite);

impl SupportedDtls13CipherSuite for Suite13 {
    fn suite(&self) -> Dtls13CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn iv_len(&self) -> usize {
        self.0.iv_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        secret("DTLS 1.3 key", key);
        self.0.create_cipher(key)
    }

    fn encrypt_sn(&self, sn_key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        self.0.encrypt_sn(sn_key, sample)
    }
}
