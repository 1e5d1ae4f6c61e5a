//! The options of `serve`: each is a flag, an environment variable and a key of the configuration
//! file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use secrecy::SecretString;
use serde::Deserialize;

use crate::server::{BasePath, Mode, Node};

use super::address::{Host, Listen};
use super::cluster::ClusterArgs;
use super::hooks::HookArgs;
use super::https::HttpsArgs;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is printed on standard output once the server is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Announce {
    /// A block for people.
    #[default]
    Text,
    /// One line of JSON with the addresses and ports really bound.
    Json,
    /// Nothing.
    None,
}

/// What happens to a new publisher on a channel whose publisher is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Publisher {
    /// It gets 409.
    #[default]
    Refuse,
    /// It takes the channel over, and the other one's session ends.
    Replace,
}

/// Options of `serve`. `None` means: not given here, so the next source decides.
#[derive(Args, Default)]
pub(super) struct ServeArgs {
    /// Configuration file (TOML); its keys are these options' names without the dashes
    #[arg(long, value_name = "FILE", env = "REKINDLE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Key file (age identities) that opens the state folder [default: rekindle-key.txt, made on
    /// first run]
    #[arg(long, value_name = "FILE", env = "REKINDLE_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// Folder of what survives a restart [default: rekindle-state]
    #[arg(long, value_name = "DIR", env = "REKINDLE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// A file outside the state folder that tells at each start whether an old copy of the folder
    /// was put back; an empty one for a folder that has none yet
    #[arg(long, value_name = "FILE", env = "REKINDLE_ANCHOR")]
    pub anchor: Option<PathBuf>,

    /// What a restart takes: rehandshake (a fresh DTLS handshake), or full-state (session keys are
    /// kept on disk: no forward secrecy, for comparison only) [default: rehandshake]
    #[arg(long, value_name = "MODE", env = "REKINDLE_MODE")]
    pub mode: Option<Mode>,

    /// Where HTTP listens: an address or a name of this machine, with a port; or a port alone, for
    /// this machine only [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "REKINDLE_HTTP")]
    pub http: Option<Listen>,

    #[command(flatten)]
    pub https: HttpsArgs,

    /// Where media is received, over UDP, or the port alone, for all addresses in IPv4; the port
    /// must stay the same across restarts [default: 0.0.0.0:8189]
    #[arg(long, value_name = "ADDR", env = "REKINDLE_UDP")]
    pub udp: Option<Listen>,

    /// Receive media over TCP too, at the number of --udp, for browsers in networks without UDP
    #[arg(long, value_name = "BOOL", env = "REKINDLE_ICE_TCP", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub ice_tcp: Option<bool>,

    /// Where operators ask: /metrics, which is then not on the other port, health, and the interface
    /// that /api/openapi.json describes, which ends sessions; a port alone is for this machine only
    /// [default: none]
    #[arg(long, value_name = "ADDR", env = "REKINDLE_ADMIN")]
    pub admin: Option<Listen>,

    /// Addresses at which browsers reach the media port, the first preferred; names are looked up
    /// at each start, which waits for it [default: found from --udp and --http, and first the address
    /// that a request has reached]
    #[arg(
        long,
        value_name = "HOST",
        env = "REKINDLE_ADVERTISE",
        value_delimiter = ','
    )]
    pub advertise: Option<Vec<Host>>,

    /// Bearer token that a publisher must show; other users of this machine can see it in the
    /// process list, so prefer the file or the environment
    #[arg(long, value_name = "TOKEN", env = "REKINDLE_PUBLISH_TOKEN", hide_env_values = true,
          value_parser = secret)]
    pub publish_token: Option<SecretString>,

    /// File whose first line is the publish token
    #[arg(long, value_name = "FILE", env = "REKINDLE_PUBLISH_TOKEN_FILE")]
    pub publish_token_file: Option<PathBuf>,

    /// Bearer token that a viewer must show; see --publish-token
    #[arg(long, value_name = "TOKEN", env = "REKINDLE_WATCH_TOKEN", hide_env_values = true,
          value_parser = secret)]
    pub watch_token: Option<SecretString>,

    /// File whose first line is the watch token
    #[arg(long, value_name = "FILE", env = "REKINDLE_WATCH_TOKEN_FILE")]
    pub watch_token_file: Option<PathBuf>,

    /// File with tokens for single channels, of which `rekindle token` writes lines. With it, nobody
    /// publishes or watches without a token of its or of the options above, but where a line allows
    /// it to anybody. It is read again on SIGHUP [default: none]
    #[arg(long, value_name = "FILE", env = "REKINDLE_CHANNEL_TOKENS")]
    pub channel_tokens: Option<PathBuf>,

    #[command(flatten)]
    pub hooks: HookArgs,

    /// Bearer token that an operator must show to --admin; needed where others can reach that. See
    /// --publish-token
    #[arg(long, value_name = "TOKEN", env = "REKINDLE_ADMIN_TOKEN", hide_env_values = true,
          value_parser = secret)]
    pub admin_token: Option<SecretString>,

    /// File whose first line is the admin token
    #[arg(long, value_name = "FILE", env = "REKINDLE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// What becomes of a newcomer on a channel whose publisher is live: refuse it, or let it
    /// replace that one [default: refuse]
    #[arg(long, value_name = "POLICY", env = "REKINDLE_PUBLISHER")]
    pub publisher: Option<Publisher>,

    /// Let anybody who reaches the server publish, on any address and from any web page
    #[arg(long, value_name = "BOOL", env = "REKINDLE_OPEN", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub open: Option<bool>,

    /// Show the live channels and how many watch them on the page, and at GET /channels: to each
    /// those that it may watch [default: none are shown]
    #[arg(long, value_name = "BOOL", env = "REKINDLE_LIST_CHANNELS", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub list_channels: Option<bool>,

    /// Take a client's address from the last entry of X-Forwarded-For: set it behind one reverse
    /// proxy, and only there
    #[arg(long, value_name = "BOOL", env = "REKINDLE_BEHIND_PROXY", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub behind_proxy: Option<bool>,

    /// The path, such as /media, that a reverse proxy takes off before it passes requests on
    /// [default: /]
    #[arg(long, value_name = "PATH", env = "REKINDLE_BASE_PATH")]
    pub base_path: Option<BasePath>,

    /// Other servers, by the URLs at which browsers reach their HTTP, that open the same state folder
    /// or a copy of it when this server is gone: pages then look for their sessions there
    #[arg(
        long = "other-node",
        value_name = "URL",
        env = "REKINDLE_OTHER_NODE",
        value_delimiter = ','
    )]
    pub other_node: Option<Vec<Node>>,

    /// How long after a start a browser that stays silent is waited for: seconds, or like 90s, 2m,
    /// 1h [default: 2m]
    #[arg(long, value_name = "TIME", env = "REKINDLE_RESUME_WINDOW", value_parser = duration)]
    pub resume_window: Option<Duration>,

    /// Most browsers at once [default: 10000]
    #[arg(long, value_name = "N", env = "REKINDLE_MAX_PEERS")]
    pub max_peers: Option<usize>,

    /// Threads that encrypt and send media, do handshakes and read records [default: one for each
    /// processor]
    #[arg(long, value_name = "N", env = "REKINDLE_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// Sessions that one client address may start per second, in bursts of ten times as many; 0 for
    /// no limit [default: 20]
    #[arg(long, value_name = "N", env = "REKINDLE_JOIN_RATE")]
    pub join_rate: Option<u32>,

    /// Most sessions of one client address at once (of one /64 in IPv6); 0 for no limit [default:
    /// 1000]
    #[arg(long, value_name = "N", env = "REKINDLE_MAX_SESSIONS_PER_ADDRESS")]
    pub max_sessions_per_address: Option<usize>,

    /// Make a new DTLS certificate for new browsers; those that are awaited keep the one they know
    #[arg(long, value_name = "BOOL", env = "REKINDLE_ROTATE_IDENTITY", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub rotate_identity: Option<bool>,

    /// Refuse browsers whose key exchange a quantum computer of the future could undo: all without
    /// DTLS 1.3 and X25519MLKEM768. Needs a build with BoringSSL
    #[arg(long, value_name = "BOOL", env = "REKINDLE_REQUIRE_POST_QUANTUM", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub require_post_quantum: Option<bool>,

    /// Serve the page from this folder instead of the one built in
    #[arg(long, value_name = "DIR", env = "REKINDLE_STATIC_DIR")]
    pub static_dir: Option<PathBuf>,

    /// Start without the sandbox (Landlock and seccomp). Not for production
    #[arg(long, value_name = "BOOL", env = "REKINDLE_NO_SANDBOX", num_args = 0..=1,
          require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub no_sandbox: Option<bool>,

    /// What to log: error, warn, info, debug, trace, or a filter such as rekindle::net=debug. Below
    /// info, a log holds personal data [default: info]
    #[arg(long, value_name = "LEVEL", env = "REKINDLE_LOG")]
    pub log: Option<String>,

    /// Form of the log, which goes to standard error [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORM", env = "REKINDLE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What to print on standard output once the server is up [default: text]
    #[arg(long, value_name = "FORM", env = "REKINDLE_ANNOUNCE")]
    pub announce: Option<Announce>,
}

pub(super) fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Reads a length of time: whole seconds, or a whole number followed by `s`, `m` or `h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let scale = match unit {
        b'm' => 60,
        b'h' => 3600,
        _ => 1,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain
        .then(|| digits.parse::<u32>().ok()?.checked_mul(scale))
        .flatten()
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or_else(|| {
            "give whole seconds, or a whole number with s, m or h behind it, such as 90s or 2m"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_seconds_unless_it_says_otherwise() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "s", "-1", "+1", "1.5", "2 m", "1d", "4294967295h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
