//! The options for those who decide elsewhere who may publish and watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::server::{
    Endpoint, EventHook, EventSecret, Hook, Jwt, JwtChecks, KeysPlace, Names, OutboundUrl, Token,
    Trust,
};

use super::args::duration;
use super::error::CliError;
use super::settings::tokens::{others_can_read, readable_by_others};

/// How long `--auth-url` may take for an answer.
const DEFAULT_AUTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of `serve`, as in [`super::args`].
#[derive(Args, Debug, Default)]
pub(super) struct HookArgs {
    /// Keys (a JWK Set) of those who make JWTs, which then are tokens too: a file, which is read
    /// again on SIGHUP, or an http or https URL, which is fetched every 10 minutes. The claims
    /// `publish` and `watch` list channels as --channel-tokens does [default: none]
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "REKINDLE_JWT_KEYS",
        hide_env_values = true
    )]
    pub jwt_keys: Option<KeysPlace>,

    #[command(flatten)]
    pub checks: CheckArgs,

    /// An http or https URL that is asked, where no token decides, whether somebody may publish or
    /// watch: 2xx is yes, 401 and 403 are no [default: none]
    #[arg(
        long,
        value_name = "URL",
        env = "REKINDLE_AUTH_URL",
        hide_env_values = true
    )]
    pub auth_url: Option<OutboundUrl>,

    /// How long --auth-url may take for an answer: seconds, or like 2s; without one in time the
    /// client gets a 503 [default: 2s]
    #[arg(long, value_name = "TIME", env = "REKINDLE_AUTH_TIMEOUT", value_parser = duration)]
    pub auth_timeout: Option<Duration>,

    /// An http or https URL that is told by POST who joins and leaves a channel, and when its source
    /// comes and goes [default: none]
    #[arg(
        long,
        value_name = "URL",
        env = "REKINDLE_EVENTS_URL",
        hide_env_values = true
    )]
    pub events_url: Option<OutboundUrl>,

    /// File whose first line is a secret, by which Rekindle-Signature has an HMAC-SHA256 of what
    /// --events-url is told; it is read again on SIGHUP [default: no signature]
    #[arg(long, value_name = "FILE", env = "REKINDLE_EVENTS_SECRET_FILE")]
    pub events_secret_file: Option<PathBuf>,

    /// Certificates (PEM) of the authorities that have signed those of the https URLs above
    /// [default: the system's]
    #[arg(long, value_name = "FILE", env = "REKINDLE_HOOK_CA")]
    pub hook_ca: Option<PathBuf>,
}

/// What JWTs must say besides, as options of `serve` and of `token`.
#[derive(Args, Debug, Default)]
pub(super) struct CheckArgs {
    /// What the claim `aud` of a JWT must be or contain; without this option a JWT must have none
    #[arg(long, value_name = "TEXT", env = "REKINDLE_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// What the claim `iss` of a JWT must be [default: not looked at]
    #[arg(long, value_name = "TEXT", env = "REKINDLE_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
}

impl CheckArgs {
    pub(super) fn checks(self) -> JwtChecks {
        JwtChecks {
            audience: self.jwt_audience,
            issuer: self.jwt_issuer,
        }
    }
}

/// What the options come to.
pub(super) struct Hooks {
    pub jwt: Option<Jwt>,
    pub auth: Option<Hook>,
    pub events: Option<EventHook>,
}

impl HookArgs {
    /// These options; missing ones are taken from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            jwt_keys: self.jwt_keys.or(other.jwt_keys),
            checks: CheckArgs {
                jwt_audience: self.checks.jwt_audience.or(other.checks.jwt_audience),
                jwt_issuer: self.checks.jwt_issuer.or(other.checks.jwt_issuer),
            },
            auth_url: self.auth_url.or(other.auth_url),
            auth_timeout: self.auth_timeout.or(other.auth_timeout),
            events_url: self.events_url.or(other.events_url),
            events_secret_file: self.events_secret_file.or(other.events_secret_file),
            hook_ca: self.hook_ca.or(other.hook_ca),
        }
    }

    pub(super) fn hooks(
        self,
        names: &Names,
        warnings: &mut Vec<String>,
    ) -> Result<Hooks, CliError> {
        let alone = |given, missing| Err(CliError::Needless { given, missing });
        let checks = self.checks.checks();
        if self.jwt_keys.is_none() && (checks.audience.is_some() || checks.issuer.is_some()) {
            return alone("--jwt-audience and --jwt-issuer", "--jwt-keys");
        }
        if self.auth_url.is_none() && self.auth_timeout.is_some() {
            return alone("--auth-timeout", "--auth-url");
        }
        if self.events_url.is_none() && self.events_secret_file.is_some() {
            return alone("--events-secret-file", "--events-url");
        }
        let keys_url = match &self.jwt_keys {
            Some(KeysPlace::Url(url)) => Some(url),
            _ => None,
        };
        let urls = [
            ("--jwt-keys", keys_url),
            ("--auth-url", self.auth_url.as_ref()),
            ("--events-url", self.events_url.as_ref()),
        ];
        let mut is_secure = false;
        for (option, url) in urls
            .iter()
            .filter_map(|(option, url)| Some((option, (*url)?)))
        {
            is_secure |= url.is_secure();
            if url.is_exposed() {
                warnings.push(format!(
                    "{option} is a URL without TLS: whoever is on the way can read and change what \
                     is said; use https, or a service on this machine"
                ));
            }
        }
        let trust = match (&self.hook_ca, is_secure) {
            (Some(file), true) => Trust::file(file)?,
            (None, true) => Trust::system("--hook-ca")?,
            (None, false) => Trust::nobody(),
            (Some(_), false) => return alone("--hook-ca", "an https URL"),
        };
        let jwt = match self.jwt_keys {
            None => None,
            Some(KeysPlace::Url(url)) => {
                Some(Jwt::from_url(Endpoint::new(url, &trust, names), checks))
            }
            Some(KeysPlace::File(path)) => {
                let jwt = Jwt::from_file(path.clone(), checks)?;
                if jwt.can_sign() && others_can_read(&path) {
                    warnings.push(readable_by_others("file of JWT keys", &path));
                }
                Some(jwt)
            }
        };
        let limit = self.auth_timeout.unwrap_or(DEFAULT_AUTH_TIMEOUT);
        if limit.is_zero() {
            return Err(CliError::NoTime);
        }
        let auth = self.auth_url;
        let auth = auth.map(|url| Hook::new(Endpoint::new(url, &trust, names), limit));
        let secret = self.events_secret_file.map(|path| secret(&path, warnings));
        let secret = secret.transpose()?;
        let events = self.events_url.map(|url| EventHook {
            endpoint: Endpoint::new(url, &trust, names),
            secret,
        });
        Ok(Hooks { jwt, auth, events })
    }
}

/// The secret that signs events.
fn secret(path: &Path, warnings: &mut Vec<String>) -> Result<Arc<EventSecret>, CliError> {
    let what = "secret for events";
    if others_can_read(path) {
        warnings.push(readable_by_others(&format!("file of the {what}"), path));
    }
    let secret = EventSecret::read(path).map_err(|source| CliError::Token { what, source })?;
    if secret.is_short() {
        warnings.push(format!(
            "the {what} is short and could be guessed; use {} characters or more, such as `openssl \
             rand -hex 16` prints",
            Token::ADVISED_LENGTH
        ));
    }
    Ok(Arc::new(secret))
}
