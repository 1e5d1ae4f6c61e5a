//! JWTs (RFC 7519) as bearer tokens: signed by somebody whose keys the server knows, they say which
//! channels who shows them may publish and watch, and until when.

mod keys;
mod make;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::pattern::ChannelPattern;
use crate::ids::Role;
use crate::server::outbound::{Endpoint, OutboundUrl, OutboundUrlError};
use keys::{From, KeySet};

pub use keys::KeySetError;
pub use make::{NewJwt, make_key_file};

/// Most bytes of a token, which is looked at by whoever shows it.
const MAX_TOKEN: usize = 8 * 1024;
/// Most bytes of a set of keys.
const MAX_KEYS: usize = 64 * 1024;
/// How far the clocks of servers may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long a URL may take for its answer.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// How often keys are fetched again: who takes a key out of use publishes the next one long before.
const INTERVAL: Duration = Duration::from_secs(600);
/// The same after a failure, while no key is known, and while some are.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_LATER: Duration = Duration::from_secs(60);
/// How long a token waits after a start until the keys have been fetched.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why JWTs cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is longer than any such file.
    #[error("{place} has more than 64 KiB; is it a JWK Set?")]
    TooLarge {
        /// The file, or the URL's origin.
        place: String,
    },
    /// It was a pipe at the start, which can be read only once.
    #[error("{path} is not a regular file, and cannot be read a second time; start the server \
             anew", path = .0.display())]
    NotAFile(PathBuf),
    /// Its content is no set of keys.
    #[error("{place}: {cause}")]
    Keys {
        /// The file, or the URL's origin.
        place: String,
        /// What is wrong.
        cause: KeySetError,
    },
    /// No token can be made with it.
    #[error("{path} has no key that makes tokens: it takes a secret for HS256 (kty oct), or an \
             Ed25519 key with d, and the kid that is named, if one is", path = .0.display())]
    NoSigner(PathBuf),
    /// The URL gave nothing.
    #[error("{0}")]
    Fetch(String),
}

/// Where the keys are.
#[derive(Debug, Clone)]
pub enum KeysPlace {
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Url(OutboundUrl),
}

impl FromStr for KeysPlace {
    type Err = OutboundUrlError;

    fn from_str(text: &str) -> Result<Self, OutboundUrlError> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return text.parse().map(Self::Url);
        }
        Ok(Self::File(text.into()))
    }
}

/// What a token must say besides.
#[derive(Debug, Clone, Default)]
pub struct JwtChecks {
    /// Its `aud`, or one of them.
    pub audience: Option<String>,
    /// Its `iss`.
    pub issuer: Option<String>,
}

/// The keys that are known, and what is asked of tokens.
#[derive(Debug)]
pub struct Jwt {
    source: Source,
    checks: JwtChecks,
    /// `None` until a URL has answered.
    keys: watch::Sender<Option<Arc<KeySet>>>,
    /// Notified when keys are to be fetched now.
    wanted: Notify,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Box<Endpoint>),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Moment {
    /// A right that begins now.
    Now,
    /// The end of what a token has begun, whose time may be over.
    After,
}

/// What a token is.
pub(super) enum Verified {
    /// It is signed by a known key and good: what it allows.
    Good(Claims),
    /// It is signed by a known key, and is not good: why.
    Bad(&'static str),
    /// It is none of ours.
    Foreign,
    /// No key is known yet.
    Unknown,
}

/// The claims that are rights. Those of RFC 7519 are checked by the library.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    publish: Vec<ChannelPattern>,
    #[serde(default)]
    watch: Vec<ChannelPattern>,
}

impl Claims {
    /// Whether they allow this.
    pub(super) fn allow(&self, role: Role, channel: &str) -> bool {
        let granted = match role {
            Role::Publisher => &self.publish,
            Role::Viewer => &self.watch,
        };
        granted.iter().any(|pattern| pattern.names(channel))
    }
}

impl Jwt {
    /// Reads the keys from a file.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn from_file(path: PathBuf, checks: JwtChecks) -> Result<Self, JwtError> {
        let keys = load(&path)?;
        Ok(Self::new(Source::File(path), checks, Some(keys)))
    }

    /// Takes the keys from a URL, once the server runs.
    pub fn from_url(endpoint: Endpoint, checks: JwtChecks) -> Self {
        Self::new(Source::Url(Box::new(endpoint)), checks, None)
    }

    fn new(source: Source, checks: JwtChecks, keys: Option<KeySet>) -> Self {
        Self {
            source,
            checks,
            keys: watch::Sender::new(keys.map(Arc::new)),
            wanted: Notify::new(),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::Url(_) => None,
        }
    }

    /// Where the keys are fetched, if not from a file.
    pub(in crate::server) fn endpoint(&self) -> Option<&Endpoint> {
        match &self.source {
            Source::File(_) => None,
            Source::Url(endpoint) => Some(endpoint),
        }
    }

    /// Whether tokens could be made with what is in the file too.
    pub fn can_sign(&self) -> bool {
        let keys = self.keys.borrow();
        keys.as_ref().is_some_and(|keys| keys.can_sign)
    }

    /// What this token is. After a start, waits for keys that are being fetched.
    pub(super) async fn verify(&self, token: &str, moment: Moment) -> Verified {
        // What cannot be one waits for no key.
        let Some(header) = header(token) else {
            return Verified::Foreign;
        };
        match self.known().await {
            Some(keys) => self.verify_by(&keys, &header, token, moment),
            None => Verified::Unknown,
        }
    }

    /// The same, and waits for nothing.
    pub(super) fn verify_now(&self, token: &str) -> Verified {
        let Some(header) = header(token) else {
            return Verified::Foreign;
        };
        let keys = self.keys.borrow().clone();
        keys.map_or(Verified::Unknown, |keys| {
            self.verify_by(&keys, &header, token, Moment::Now)
        })
    }

    fn verify_by(&self, keys: &KeySet, header: &Header, token: &str, moment: Moment) -> Verified {
        let Some(key) = keys.find(header.kid.as_deref()) else {
            return Verified::Foreign;
        };
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.validate_exp = moment == Moment::Now;
        let mut required = vec!["exp"];
        if let Some(audience) = &self.checks.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.checks.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        match decode::<Claims>(token, &key.key, &validation) {
            Ok(found) => Verified::Good(found.claims),
            Err(error) => not_good(error.kind()),
        }
    }

    /// The keys; after a start, once they have been fetched.
    async fn known(&self) -> Option<Arc<KeySet>> {
        let mut keys = self.keys.subscribe();
        let known = timeout(PATIENCE, keys.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }

    /// Reads the file again, if it is one. Returns whether the keys changed; after an error the old
    /// ones stay.
    ///
    /// # Errors
    /// [`JwtError`].
    pub(in crate::server) fn read_again(&self) -> Result<bool, JwtError> {
        let Some(path) = self.file() else {
            return Ok(false);
        };
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(JwtError::NotAFile(path.to_owned()));
        }
        Ok(self.take(load(path)?))
    }

    /// Has the keys fetched now, if they are at a URL.
    pub(in crate::server) fn fetch_again(&self) {
        self.wanted.notify_one();
    }

    /// Fetches the keys now and again, if they are at a URL. Never ends.
    pub(in crate::server) async fn follow(&self) {
        let Source::Url(endpoint) = &self.source else {
            return;
        };
        let (place, mut away) = (endpoint.origin(), false);
        loop {
            let is_first = self.keys.borrow().is_none();
            let pause = match self.fetch(endpoint).await {
                Ok(changed) => {
                    let keys = self.keys.borrow().as_ref().map_or(0, |keys| keys.len());
                    if is_first || changed || away {
                        tracing::info!(keys, "the JWT keys were fetched from {place}");
                    }
                    away = false;
                    INTERVAL
                }
                Err(error) => {
                    if !away {
                        let now = match is_first {
                            true => "no JWT is taken until they are",
                            false => "those known so far stay in force",
                        };
                        tracing::warn!(
                            "the JWT keys were not fetched from {place}, and {now}: {error}. It is \
                             tried again; see whether the URL given with --jwt-keys answers this \
                             machine"
                        );
                    }
                    away = true;
                    if is_first { AGAIN } else { AGAIN_LATER }
                }
            };
            tokio::select! {
                () = self.wanted.notified() => away = false,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn fetch(&self, endpoint: &Endpoint) -> Result<bool, JwtError> {
        let answer = endpoint.get(FETCH_TIME, MAX_KEYS).await;
        let answer = answer.map_err(|error| JwtError::Fetch(error.to_string()))?;
        if !answer.status.is_success() {
            return Err(JwtError::Fetch(format!("it answers {}", answer.status)));
        }
        let keys = KeySet::parse(&answer.body, From::Url);
        let keys = keys.map_err(|cause| JwtError::Keys {
            place: endpoint.origin().to_owned(),
            cause,
        })?;
        Ok(self.take(keys))
    }

    /// Puts these keys in force. Returns whether they are other ones.
    fn take(&self, keys: KeySet) -> bool {
        if keys.skipped > 0 {
            tracing::info!(
                skipped = keys.skipped,
                "keys for other purposes than JWTs by RS256, ES256, EdDSA or, in a file, HS256 are \
                 not used"
            );
        }
        let known = self.keys.borrow().clone();
        let is_same = known.is_some_and(|known| known.is_same(&keys));
        self.keys.send_replace(Some(Arc::new(keys)));
        !is_same
    }
}

/// The header of what may be a token.
fn header(token: &str) -> Option<Header> {
    let fits = token.len() <= MAX_TOKEN;
    fits.then(|| decode_header(token).ok()).flatten()
}

/// What an error says of a token. The signature is checked before the claims.
fn not_good(error: &ErrorKind) -> Verified {
    match error {
        ErrorKind::ExpiredSignature => Verified::Bad("the token has expired"),
        ErrorKind::ImmatureSignature => Verified::Bad("the token is not good yet"),
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => {
            Verified::Bad("the token is for another service, or of another one")
        }
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => {
            Verified::Bad("the token lacks a claim, or has one of a wrong form")
        }
        _ => Verified::Foreign,
    }
}

fn load(path: &Path) -> Result<KeySet, JwtError> {
    let text = read(path)?;
    KeySet::parse(text.as_bytes(), From::File).map_err(|cause| JwtError::Keys {
        place: path.display().to_string(),
        cause,
    })
}

fn read(path: &Path) -> Result<Zeroizing<String>, JwtError> {
    let unreadable = |source| JwtError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let most = MAX_KEYS as u64;
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEYS + 1));
    let file = File::open(path).map_err(unreadable)?;
    file.take(most + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() > MAX_KEYS {
        let place = path.display().to_string();
        return Err(JwtError::TooLarge { place });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
