//! Sets of keys for JWTs (RFC 7517). A key's kind decides its algorithm (RFC 8725 §3.1): what a token
//! says of itself only has to agree.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V2Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

/// Most keys of a set.
const MAX_KEYS: usize = 64;
/// Fewest and most bytes of an RSA modulus: 2048 bits (RFC 7518 §3.3), and what a verification costs.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Fewest bytes of a secret for HS256 (RFC 7518 §3.2).
pub(super) const HMAC_BYTES: usize = 32;
/// Bytes of an Ed25519 key, and of a coordinate on P-256.
const COORDINATE: usize = 32;

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is not JSON of that form. The parser's own words could have a secret in them.
    #[error(
        "line {line}, column {column}: this is no JWK Set (RFC 7517), which looks like \
         {{\"keys\": [{{\"kty\": ...}}]}}"
    )]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It has too many keys.
    #[error("more than 64 keys are in it")]
    TooMany,
    /// A key of a kind that is used is wrong.
    #[error("key {number}: {what}")]
    Key {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nobody could say which of two keys a token means.
    #[error("key {0} has the kid of an earlier one; each key needs one of its own")]
    Twice(usize),
    /// As above.
    #[error("key {0} has no kid; where there are several keys, each needs one")]
    Nameless(usize),
    /// It has no key for these algorithms.
    #[error(
        "no key in it can be used: it takes one for HS256 (in a file alone), RS256, ES256 or EdDSA \
         with Ed25519, for signatures"
    )]
    Nothing,
}

/// The keys that verify tokens.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// How many keys are for something else.
    pub skipped: usize,
    /// Whether there are secrets by which tokens could be made as well.
    pub can_sign: bool,
    sha256: [u8; 32],
}

pub(super) struct Key {
    kid: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// Where a set is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    File,
    /// What can be had there is public, so there are no secrets.
    Url,
}

impl KeySet {
    pub(super) fn parse(text: &[u8], from: From) -> Result<Self, KeySetError> {
        let mut set = Self {
            keys: Vec::new(),
            skipped: 0,
            can_sign: false,
            sha256: [0; 32],
        };
        set.sha256.copy_from_slice(digest(&SHA256, text).as_ref());
        for (at, jwk) in parse(text)?.into_iter().enumerate() {
            let wrong = |what| KeySetError::Key {
                number: at + 1,
                what,
            };
            let kind = jwk.kind();
            let Some(kind) = kind.filter(|kind| from == From::File || *kind != Kind::Hmac) else {
                set.skipped += 1;
                continue;
            };
            let key = jwk.verifying(kind).map_err(wrong)?;
            set.can_sign |= jwk.d.is_some() || kind == Kind::Hmac;
            if jwk.kid.is_some() && set.keys.iter().any(|other| other.kid == jwk.kid) {
                return Err(KeySetError::Twice(at + 1));
            }
            set.keys.push(Key {
                kid: jwk.kid,
                algorithm: kind.algorithm(),
                key,
            });
        }
        if set.keys.is_empty() {
            return Err(KeySetError::Nothing);
        }
        match set.keys.iter().position(|key| key.kid.is_none()) {
            Some(at) if set.keys.len() > 1 => Err(KeySetError::Nameless(at + 1)),
            _ => Ok(set),
        }
    }

    /// The key that a token names; of a set of one key, a token need not name it.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, &self.keys[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether both are from the same text.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

/// A key that makes tokens.
pub(super) struct SigningKey {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

/// The key of this name that makes tokens, or the first one that can.
pub(super) fn signing(text: &[u8], kid: Option<&str>) -> Result<Option<SigningKey>, KeySetError> {
    for (at, jwk) in parse(text)?.into_iter().enumerate() {
        if kid.is_some() && jwk.kid.as_deref() != kid {
            continue;
        }
        let wrong = |what| KeySetError::Key {
            number: at + 1,
            what,
        };
        let Some(kind @ (Kind::Hmac | Kind::Ed25519)) = jwk.kind() else {
            continue;
        };
        if let Some(key) = jwk.signing(kind).map_err(wrong)? {
            return Ok(Some(SigningKey {
                kid: jwk.kid,
                algorithm: kind.algorithm(),
                key,
            }));
        }
    }
    Ok(None)
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hmac,
    Rsa,
    P256,
    Ed25519,
}

impl Kind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Hmac => Algorithm::HS256,
            Self::Rsa => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }

    /// Its name in JOSE headers. RFC 9864 has another one for Ed25519.
    fn is_named(self, name: &str) -> bool {
        match self {
            Self::Hmac => name == "HS256",
            Self::Rsa => name == "RS256",
            Self::P256 => name == "ES256",
            Self::Ed25519 => ["EdDSA", "Ed25519"].contains(&name),
        }
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// The members of RFC 7517 §4 and RFC 7518 §6 that are used; all others are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    k: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    d: Option<SecretString>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(from).map_err(|_| de::Error::custom("not a text"))?;
    Ok(Some(SecretString::from(text)))
}

fn parse(text: &[u8]) -> Result<Vec<Jwk>, KeySetError> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|error| KeySetError::Form {
        line: error.line(),
        column: error.column(),
    })?;
    if set.keys.len() > MAX_KEYS {
        return Err(KeySetError::TooMany);
    }
    Ok(set.keys)
}

impl Jwk {
    /// `None` where it is of another kind, or for something else.
    fn kind(&self) -> Option<Kind> {
        let kind = match (&*self.kty, self.crv.as_deref()) {
            ("oct", _) => Kind::Hmac,
            ("RSA", _) => Kind::Rsa,
            ("EC", Some("P-256")) => Kind::P256,
            ("OKP", Some("Ed25519")) => Kind::Ed25519,
            _ => return None,
        };
        let signs = self.r#use.as_deref().is_none_or(|name| name == "sig");
        let may = self.key_ops.as_ref().is_none_or(|all| {
            all.iter()
                .any(|name| ["verify", "sign"].contains(&name.as_str()))
        });
        let named = self.alg.as_deref().is_none_or(|name| kind.is_named(name));
        (signs && may && named).then_some(kind)
    }

    fn verifying(&self, kind: Kind) -> Result<DecodingKey, &'static str> {
        match kind {
            Kind::Hmac => {
                DecodingKey::from_secret(&self.hmac()?).map_err(|_| "its secret cannot be used")
            }
            Kind::Rsa => {
                const WRONG: &str = "an RSA key has n of 2048 to 8192 bits, and e, in base64url";
                let n = decode(self.n.as_deref()).ok_or(WRONG)?;
                let e = decode(self.e.as_deref()).ok_or(WRONG)?;
                // A leading zero would hide a shorter modulus.
                if !RSA_BYTES.contains(&n.len()) || n[0] == 0 || e.is_empty() || e.len() > 8 {
                    return Err(WRONG);
                }
                Ok(DecodingKey::from_rsa_raw_components(&n, &e))
            }
            Kind::P256 => {
                const WRONG: &str = "a key on P-256 has x and y of 32 bytes, in base64url";
                let (x, y) = (self.x.as_deref(), self.y.as_deref());
                let has = |text| decode(text).is_some_and(|bytes| bytes.len() == COORDINATE);
                match (x, y) {
                    (Some(x_text), Some(y_text)) if has(x) && has(y) => {
                        DecodingKey::from_ec_components(x_text, y_text).map_err(|_| WRONG)
                    }
                    _ => Err(WRONG),
                }
            }
            Kind::Ed25519 => Ok(DecodingKey::from_ed_der(&self.ed25519()?)),
        }
    }

    fn signing(&self, kind: Kind) -> Result<Option<EncodingKey>, &'static str> {
        if kind == Kind::Hmac {
            let key = EncodingKey::from_secret(&self.hmac()?);
            return key.map(Some).map_err(|_| "its secret cannot be used");
        }
        const WRONG: &str = "d and x are no pair of an Ed25519 key, in base64url";
        let Some(d) = &self.d else {
            return Ok(None);
        };
        let seed = decode(Some(d.expose_secret())).ok_or(WRONG)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &self.ed25519()?);
        let der = pair.map_err(|_| WRONG)?.as_der();
        let der: Pkcs8V2Der<'_> = der.map_err(|_| WRONG)?;
        Ok(Some(EncodingKey::from_ed_der(der.as_ref())))
    }

    fn hmac(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let secret = self.k.as_ref().map(ExposeSecret::expose_secret);
        decode(secret)
            .filter(|secret| secret.len() >= HMAC_BYTES)
            .ok_or("a secret for HS256 has 32 bytes or more, as k in base64url")
    }

    fn ed25519(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        decode(self.x.as_deref())
            .filter(|x| x.len() == COORDINATE)
            .ok_or("an Ed25519 key has x of 32 bytes, in base64url")
    }
}

fn decode(text: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(text?).ok().map(Zeroizing::new)
}
