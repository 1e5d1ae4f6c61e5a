//! `rekindle drain`: has a server that runs give its peers to the other nodes, and says how far it
//! is.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args};
use secrecy::SecretString;

use super::args::secret;
use super::error::CliError;
use super::file::ConfigFile;
use super::settings::tokens::{TokenSources, file_source, shown, source};

use place::{Place, Way};

#[cfg(feature = "etcd")]
mod asking;
mod place;

/// Without the library of etcd there is no cluster.
#[cfg(not(feature = "etcd"))]
mod asking {
    use super::{DrainError, NonZeroU32, SecretString, Way};

    pub(super) fn drain(
        _: &Way,
        _: Option<&SecretString>,
        _: Option<NonZeroU32>,
        _: &mut dyn FnMut(String),
    ) -> Result<(), DrainError> {
        Err(DrainError::NotBuilt)
    }
}

/// What follows the options in `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  All pages have gone to other nodes, and the server ends
  1  The server has ended before, or some pages did not go
  2  Nothing was begun: no server was reached there, it wants another token, or no other node is alive

The server's own exit code is then 3. Who interrupts this command does not interrupt the server.";

/// Options of `drain`, which are those of the server where they have the same names.
#[derive(Args, Debug)]
pub(super) struct DrainArgs {
    /// The server's configuration file (TOML), of which the admin listener's keys are used
    #[arg(long, value_name = "FILE", env = "REKINDLE_CONFIG")]
    config: Option<PathBuf>,

    /// Where the server listens for operators; a port alone is one of this machine. Where the server
    /// has a certificate and listens on another address than loopback: https://NAME:PORT, with a name
    /// that is in the certificate
    #[arg(long, value_name = "ADDR|URL", env = "REKINDLE_ADMIN")]
    admin: Option<Place>,

    /// Certificates (PEM) of the authorities that have signed the server's, for a URL with https
    /// [default: the system's]
    #[arg(long, value_name = "FILE", env = "REKINDLE_ADMIN_CA")]
    admin_ca: Option<PathBuf>,

    /// The server's admin token; other users of this machine can see it in the process list, so
    /// prefer the file or the environment
    #[arg(long, value_name = "TOKEN", env = "REKINDLE_ADMIN_TOKEN", hide_env_values = true,
          value_parser = secret)]
    admin_token: Option<SecretString>,

    /// File whose first line is the server's admin token
    #[arg(long, value_name = "FILE", env = "REKINDLE_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,

    /// Peers a second that are sent to other nodes, at most [default: 50]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
}

/// Why a server was not drained.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "etcd"), expect(dead_code))]
pub(super) enum DrainError {
    #[cfg(not(feature = "etcd"))]
    #[error(
        "only a node of a cluster can be drained, which needs a build with etcd: `cargo build \
         --release --features etcd`; `kill -TERM` stops another server, whose browsers are awaited"
    )]
    NotBuilt,
    #[error(
        "it is not said where the server listens for operators; give --admin ADDR, as to the server"
    )]
    NoAddress,
    #[error(
        "nobody listens for operators at {place} ({cause}); start the server with --admin, or give \
         the address that it was started with"
    )]
    Nobody {
        place: String,
        cause: std::io::Error,
    },
    #[error(
        "what listens at {place} does not speak as an admin listener does ({cause}); give --admin \
         as to the server, or https://NAME:PORT where it speaks HTTPS"
    )]
    Strange { place: String, cause: String },
    #[error(
        "the server speaks HTTPS to operators at {place}; give --admin https://NAME:PORT, with a \
         name that its certificate has, and --admin-ca FILE where the system does not know who \
         signed it"
    )]
    Secure { place: String },
    #[error(
        "there is no TLS connection to {place} ({cause}); give the name that is in the server's \
         certificate, and --admin-ca FILE where the system does not know who signed it. A listener \
         on loopback has no TLS: give its address without https://"
    )]
    Untrusted { place: String, cause: String },
    #[error(
        "the server wants another admin token; give --admin-token-file the file that the server \
         was given"
    )]
    Token,
    #[error(
        "there is no other node: start one on another host with the same --vault and key file, and \
         with --node-url"
    )]
    Alone,
    #[error("the server refuses ({status}): {title}. {detail}")]
    Refused {
        status: u16,
        title: String,
        detail: String,
    },
    #[error(
        "the server has ended too early; peers that were still its own: {left}. Its next start awaits \
         them, and their pages look for them at the other nodes too"
    )]
    Ended { left: usize },
    #[error(
        "the server has said nothing for {0:?}: see its log, and end it with `kill -TERM` where it \
         hangs; its next start awaits the peers that are left"
    )]
    Silent(std::time::Duration),
    #[error(
        "pages that did not go to another node: {left}. The server has ended; see whether browsers \
         reach the others by their --node-url. Its next start awaits them"
    )]
    Left { left: usize },
}

impl DrainError {
    /// Whether the server is not as it was.
    pub(super) fn has_begun(&self) -> bool {
        matches!(
            self,
            Self::Ended { .. } | Self::Silent(_) | Self::Left { .. }
        )
    }
}

impl DrainArgs {
    pub(super) fn run(self, matches: &ArgMatches) -> Result<ExitCode, CliError> {
        let file = self.config.as_deref().map(ConfigFile::load).transpose()?;
        let file = file.unwrap_or_default();
        let given = TokenSources {
            text: self.admin_token,
            path: self.admin_token_file,
            text_from: source(matches, "admin_token"),
            path_from: file_source(matches, "admin_token"),
        };
        let in_file = TokenSources::in_file(file.admin_token, file.admin_token_file);
        let token = shown(given, in_file, "admin token")?;
        let place = self.admin.or(file.admin.map(Place::from));
        let place = place.ok_or(DrainError::NoAddress)?;
        let way = place.way(self.admin_ca.as_deref())?;
        // Before a token goes there without TLS.
        let has_tls = file.tls_cert.is_some() || file.acme.is_some();
        if has_tls && place.is_beyond_loopback() {
            let place = way.to_string();
            return Err(DrainError::Secure { place }.into());
        }
        let result = asking::drain(&way, token.as_ref(), self.rate, &mut |line| {
            println!("{line}")
        });
        result?;
        Ok(ExitCode::SUCCESS)
    }
}
