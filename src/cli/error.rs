//! Errors that end a command, each in one line with a remedy.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::causes;
use crate::server::{
    ChannelTokensError, ExternalAccountError, JwtError, RunError, TlsError, TokenError, TrustError,
};

use super::address::LookupError;
use super::drain::DrainError;
use super::{EXIT_CONFIGURATION, EXIT_FAILURE};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CliError {
    #[error("cannot read the configuration file {path}: {source}; check the path given with \
             --config", path = path.display())]
    ConfigUnreadable { path: PathBuf, source: io::Error },
    #[error("the configuration file {path} is larger than 64 KiB; is it the right \
             file?", path = path.display())]
    ConfigTooLarge { path: PathBuf },
    #[error("{path}, line {line}: {what}", path = path.display())]
    ConfigInvalid {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error("{what} is given both as text and as a file; give one of them")]
    TokenTwice { what: &'static str },
    #[error("the {what} cannot be used: {source}")]
    Token {
        what: &'static str,
        source: TokenError,
    },
    #[error("the channel tokens cannot be used: {0}")]
    ChannelTokens(#[from] ChannelTokensError),
    #[error("the JWT keys cannot be used: {0}")]
    Jwt(#[from] JwtError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{given} is of no use without {missing}; give both, or neither")]
    Needless {
        given: &'static str,
        missing: &'static str,
    },
    #[error("--auth-timeout is 0, in which nothing can answer; give 1s or more")]
    NoTime,
    #[error("{channel} is no channel: {what}")]
    TokenChannel { channel: String, what: &'static str },
    #[error(
        "it is not said which kind of token to make; give --channel-tokens FILE for one of which \
         the server has a hash, or --jwt-keys FILE for a JWT"
    )]
    NoTokenFile,
    #[error("{path} cannot be written: {source}", path = path.display())]
    TokensUnwritable { path: PathBuf, source: io::Error },
    #[error(
        "HTTP would listen on {http}, where others can reach it, and nothing would keep them from \
         publishing; give --publish-token-file, --channel-tokens, --jwt-keys or --auth-url, or \
         --open if that is what you want, or listen on 127.0.0.1"
    )]
    NobodyGuards { http: SocketAddr },
    #[error(
        "the admin listener would be on {admin}, where others can reach it, and nothing would \
         keep those from ending sessions; give --admin-token-file, or listen on 127.0.0.1"
    )]
    NobodyGuardsAdmin { admin: SocketAddr },
    #[error("an admin token is given without an admin listener; give --admin too, or leave it out")]
    NoAdmin,
    #[error(
        "this build has no code for full-state mode, which keeps session keys on disk; leave \
         --mode out, or build with `--features full-state`"
    )]
    NoFullState,
    /// A session that goes on without a handshake goes on at its address, and no TCP connection
    /// outlives its process.
    #[error(
        "full-state mode has media over UDP only; leave --ice-tcp out, or take `--mode \
         rehandshake`"
    )]
    FullStateOverTcp,
    #[error(
        "this build has no post-quantum key exchange, since its DTLS library is {library}: use a \
         build with `--features boring`, or leave --require-post-quantum out",
        library = crate::peer::LIBRARY
    )]
    NoPostQuantum,
    #[error(
        "{missing} is missing: HTTPS needs --tls-cert and --tls-key; give both, or neither for \
         plain HTTP"
    )]
    HalfOfTls { missing: &'static str },
    #[error(
        "--acme obtains a certificate, and --tls-cert and --tls-key name one; give one of the two"
    )]
    TwoCertificates,
    #[error(transparent)]
    ExternalAccount(#[from] ExternalAccountError),
    #[error(
        "--acme-directory is a URL without TLS, by which no certificate is obtained (RFC 8555, \
         section 6.1); give its https URL"
    )]
    AcmeWithoutTls,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{given} is given without {missing}; give both, or neither")]
    Half {
        given: &'static str,
        missing: &'static str,
    },
    #[error("{given} are of use only where the vault is shared: give --vault, or leave them out")]
    WithoutVault { given: &'static str },
    #[error(transparent)]
    Vault(#[from] crate::vault::VaultError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(
        "browsers cannot send to {address}; give --advertise an address at which they reach this \
         machine"
    )]
    Unreachable { address: std::net::IpAddr },
    #[error(
        "browsers cannot be told {address}: a link-local address means something only together \
         with a network interface; give --advertise another address of this machine"
    )]
    NeedsZone { address: std::net::IpAddr },
    #[error(
        "--advertise has more than {most} addresses; every one of them goes into every answer, so \
         give fewer"
    )]
    TooManyAddresses { most: usize },
    #[error("the folder {path} given with --static-dir cannot be used: {source}", path = path.display())]
    StaticDir { path: PathBuf, source: io::Error },
    #[error(
        "--log cannot be read: {0}; give error, warn, info, debug, trace, or a filter such as \
         rekindle::net=debug"
    )]
    Log(String),
    #[error(transparent)]
    Sockets(#[from] crate::service::SocketsError),
    #[error(
        "`rekindle supervise` starts `serve` only; put the server's options behind --, such as \
         `rekindle supervise -- serve --http 8080`"
    )]
    NotServe,
    #[error(
        "`rekindle demo` is for this machine only, and {http} is for others too; leave --http out, \
         or give it a loopback address such as 127.0.0.1:8080"
    )]
    DemoForOthers { http: SocketAddr },
    #[error("the demonstration has no folder for its key and its state ({0}); set TMPDIR to one")]
    DemoFolder(io::Error),
    #[error("the completions cannot be written to standard output: {0}")]
    Completions(io::Error),
    #[error("the manual pages cannot be written to {path}: {source}; name a folder that may be \
             written", path = path.display())]
    ManualPages { path: PathBuf, source: io::Error },
    #[error("cannot tell which program to start ({0}); start `rekindle supervise` by its path")]
    Program(io::Error),
    #[error(transparent)]
    Supervise(#[from] crate::supervise::SuperviseError),
    #[error(transparent)]
    Key(#[from] crate::vault::KeyError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CliError {
    /// All in one line: what happened, and its cause where the message does not contain it.
    pub(super) fn story(&self) -> String {
        let text = causes::told(self);
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Drain(error) if error.has_begun() => EXIT_FAILURE,
            Self::Run(error) if !error.is_configuration() => EXIT_FAILURE,
            // The resolver may know it a moment later, as after a start of the machine: a
            // supervisor should try again.
            Self::Lookup(_) | Self::Program(_) | Self::Supervise(_) | Self::DemoFolder(_) => {
                EXIT_FAILURE
            }
            _ => EXIT_CONFIGURATION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_one_line_and_says_each_cause_once() {
        let source = io::Error::other("no\nluck");
        let story = CliError::StaticDir {
            path: "d".into(),
            source,
        }
        .story();
        assert_eq!(
            story,
            "the folder d given with --static-dir cannot be used: no luck"
        );
    }
}
