//! Makes JWTs, so that people can try them: a service that lets people in makes its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Header, encode, get_current_timestamp};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::channel_tokens::Uses;
use super::super::pattern::ChannelPattern;
use super::keys::{self, HMAC_BYTES};
use super::{JwtChecks, JwtError, read};
use crate::ids::{Role, hex};

/// What a token is to say.
#[derive(Debug)]
pub struct NewJwt<'a> {
    /// What it is for.
    pub uses: Uses,
    /// For which channels it is.
    pub channels: &'a ChannelPattern,
    /// For how long it is good, from now on.
    pub lifetime: Duration,
    /// The key's name, where it is not the first one that can sign.
    pub kid: Option<&'a str>,
    /// `aud` and `iss`.
    pub checks: &'a JwtChecks,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<[String; 1]>,
}

impl NewJwt<'_> {
    /// Makes it, with a key of this file.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn sign(&self, file: &Path) -> Result<Zeroizing<String>, JwtError> {
        let text = read(file)?;
        let signing = keys::signing(text.as_bytes(), self.kid);
        let signing = signing.map_err(|cause| JwtError::Keys {
            place: file.display().to_string(),
            cause,
        })?;
        let signing = signing.ok_or_else(|| JwtError::NoSigner(file.to_owned()))?;
        let mut header = Header::new(signing.algorithm);
        header.kid = signing.kid;
        let now = get_current_timestamp();
        let given = |role| self.uses.allow(role).then(|| [self.channels.to_string()]);
        let claims = Claims {
            iat: now,
            exp: now + self.lifetime.as_secs(),
            aud: self.checks.audience.as_deref(),
            iss: self.checks.issuer.as_deref(),
            publish: given(Role::Publisher),
            watch: given(Role::Viewer),
        };
        let token = encode(&header, &claims, &signing.key);
        token
            .map(Zeroizing::new)
            .map_err(|_| JwtError::NoSigner(file.to_owned()))
    }
}

/// Makes a file with a new secret for HS256, for its owner only. Returns whether there was none.
///
/// # Errors
/// The system's.
pub fn make_key_file(path: &Path) -> io::Result<bool> {
    if fs::exists(path)? {
        return Ok(false);
    }
    let mut secret = Zeroizing::new([0_u8; HMAC_BYTES]);
    let mut name = [0_u8; 4];
    rand::fill(&mut *secret).expect("the system gives random bytes");
    rand::fill(&mut name).expect("the system gives random bytes");
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
    let key = json!({ "kty": "oct", "kid": hex::encode(&name), "alg": "HS256", "k": &*secret });
    let text = Zeroizing::new(format!("{:#}\n", json!({ "keys": [key] })));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(true)
}
