//! `rekindle token`: makes a token for a channel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::error::CliError;
use crate::ids::hex;
use crate::server::{ChannelTokens, Uses};

/// Bytes of a new token: it cannot be guessed.
const RANDOM: usize = 16;
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
    channel_tokens: PathBuf,
}

impl TokenArgs {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let path = &self.channel_tokens;
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
            path: path.clone(),
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
