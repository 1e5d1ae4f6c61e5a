//! `rekindle token`: makes a token for a channel, of which the server has a hash, or a JWT, whose key
//! it has.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::args::duration;
use super::error::CliError;
use super::hooks::CheckArgs;
use crate::ids::hex;
use crate::server::{ChannelTokens, NewJwt, Uses, make_key_file};

/// Bytes of a new token: it cannot be guessed.
const RANDOM: usize = 16;
/// How long a JWT is good.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The start of a new file.
const HEAD: &str = "# Tokens for channels: SHA-256 of a token (or \"anybody\"), use, channel (or the start of names, \
                    and *).\n";

#[derive(clap::Args)]
pub(super) struct TokenArgs {
    /// What who shows it may do
    #[arg(value_name = "USE")]
    uses: Uses,

    /// The channel, such as live/one, or the start of channels' names with a * behind it, such as
    /// 'live/*'
    channel: String,

    /// The file that --channel-tokens of the server names; it is made where it is missing
    #[arg(long, value_name = "FILE", env = "REKINDLE_CHANNEL_TOKENS")]
    channel_tokens: Option<PathBuf>,

    /// Make a JWT instead, with a secret (HS256) or an Ed25519 key of this file of JWT keys; the file
    /// is made, with a new secret, where it is missing
    #[arg(long, value_name = "FILE")]
    jwt_keys: Option<PathBuf>,

    /// For how long the JWT is good: seconds, or like 90s, 15m, 12h [default: 1h]
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "jwt_keys")]
    lifetime: Option<Duration>,

    /// The name of the JWT's key in the file [default: the first that makes tokens]
    #[arg(long, value_name = "KID", requires = "jwt_keys")]
    kid: Option<String>,

    #[command(flatten)]
    checks: CheckArgs,
}

impl TokenArgs {
    pub(super) fn run(mut self) -> Result<(), CliError> {
        match (self.jwt_keys.take(), self.channel_tokens.take()) {
            (Some(path), _) => self.jwt(&path),
            (None, Some(path)) => self.token(&path),
            (None, None) => Err(CliError::NoTokenFile),
        }
    }

    /// A JWT, which only its key's file is needed for.
    fn jwt(self, path: &Path) -> Result<(), CliError> {
        let channels = self.channel.parse();
        let channels = channels.map_err(|what| CliError::TokenChannel {
            channel: self.channel.clone(),
            what,
        })?;
        let made = make_key_file(path).map_err(|source| CliError::TokensUnwritable {
            path: path.to_owned(),
            source,
        })?;
        let lifetime = self.lifetime.unwrap_or(LIFETIME);
        let token = NewJwt {
            uses: self.uses,
            channels: &channels,
            lifetime,
            kid: self.kid.as_deref(),
            checks: &self.checks.checks(),
        };
        println!("{}", *token.sign(path)?);
        let path = path.display();
        let made = match made {
            true => format!("{path} was made, with a secret. "),
            false => String::new(),
        };
        eprintln!(
            "{made}The token is good for {lifetime:?}, at a server that was started with --jwt-keys \
             {path}."
        );
        Ok(())
    }

    fn token(&self, path: &Path) -> Result<(), CliError> {
        let mut random = Zeroizing::new([0_u8; RANDOM]);
        rand::fill(&mut *random).expect("the system gives random bytes");
        let token = Zeroizing::new(hex::encode(&*random));
        let line = ChannelTokens::line(&token, self.uses, &self.channel);
        let line = line.map_err(|what| CliError::TokenChannel {
            channel: self.channel.clone(),
            what,
        })?;
        // A file that the server would refuse is named before anything is added to it.
        if path.exists() {
            ChannelTokens::read(path)?;
        }
        append(path, &line).map_err(|source| CliError::TokensUnwritable {
            path: path.to_owned(),
            source,
        })?;
        println!("{}", *token);
        eprintln!(
            "{} has the token's hash, and nothing has the token itself: keep it. A server that \
             runs takes it on SIGHUP.",
            path.display()
        );
        Ok(())
    }
}

/// Adds a line to a file, durably, and makes a missing one for its owner only.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let before = match fs::read(path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let start = match before.last() {
        None => HEAD,
        Some(b'\n') => "",
        Some(_) => "\n",
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(format!("{start}{line}\n").as_bytes())?;
    file.sync_all()
}
