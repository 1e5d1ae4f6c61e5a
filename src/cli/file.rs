//! The configuration file.

use std::fmt::Display;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

use crate::server::{AcmeName, BasePath, KeysPlace, Mode, Node, OutboundUrl};

use super::address::{Host, Listen};
use super::args::{self, Announce, LogFormat, Publisher};
use super::cluster::ClusterArgs;
use super::error::CliError;
use super::etcd::EtcdArgs;
use super::hooks::{CheckArgs, HookArgs};
use super::https::HttpsArgs;

/// Longest configuration file, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The configuration file: its keys have the names of the flags. Paths in it are relative to the
/// working directory, as those of flags are.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConfigFile {
    pub key_file: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    pub vault: Option<String>,
    pub node: Option<String>,
    #[serde(default, deserialize_with = "parsed")]
    pub node_url: Option<Node>,
    pub pull: Option<u16>,
    pub etcd_ca: Option<PathBuf>,
    pub etcd_cert: Option<PathBuf>,
    pub etcd_key: Option<PathBuf>,
    pub etcd_user: Option<String>,
    pub etcd_password_file: Option<PathBuf>,
    pub anchor: Option<PathBuf>,
    pub mode: Option<Mode>,
    pub http: Option<Listen>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    #[serde(default, deserialize_with = "acme_names")]
    pub acme: Option<Vec<AcmeName>>,
    pub acme_dir: Option<PathBuf>,
    #[serde(default, deserialize_with = "parsed")]
    pub acme_directory: Option<OutboundUrl>,
    pub acme_mail: Option<String>,
    pub acme_eab_file: Option<PathBuf>,
    pub acme_ca: Option<PathBuf>,
    pub udp: Option<Listen>,
    pub ice_tcp: Option<bool>,
    pub admin: Option<Listen>,
    #[serde(default, deserialize_with = "hosts")]
    pub advertise: Option<Vec<Host>>,
    #[serde(default, deserialize_with = "secret")]
    pub publish_token: Option<SecretString>,
    pub publish_token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret")]
    pub watch_token: Option<SecretString>,
    pub watch_token_file: Option<PathBuf>,
    pub channel_tokens: Option<PathBuf>,
    #[serde(default, deserialize_with = "parsed")]
    pub jwt_keys: Option<KeysPlace>,
    pub jwt_audience: Option<String>,
    pub jwt_issuer: Option<String>,
    #[serde(default, deserialize_with = "parsed")]
    pub auth_url: Option<OutboundUrl>,
    #[serde(default, deserialize_with = "duration")]
    pub auth_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "parsed")]
    pub events_url: Option<OutboundUrl>,
    pub events_secret_file: Option<PathBuf>,
    pub hook_ca: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret")]
    pub admin_token: Option<SecretString>,
    pub admin_token_file: Option<PathBuf>,
    pub publisher: Option<Publisher>,
    pub open: Option<bool>,
    pub list_channels: Option<bool>,
    pub behind_proxy: Option<bool>,
    pub base_path: Option<BasePath>,
    #[serde(default, deserialize_with = "other_nodes")]
    pub other_node: Option<Vec<Node>>,
    #[serde(default, deserialize_with = "duration")]
    pub resume_window: Option<Duration>,
    pub max_peers: Option<usize>,
    pub threads: Option<NonZeroUsize>,
    pub join_rate: Option<u32>,
    pub max_sessions_per_address: Option<usize>,
    pub rotate_identity: Option<bool>,
    pub require_post_quantum: Option<bool>,
    pub static_dir: Option<PathBuf>,
    pub no_sandbox: Option<bool>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
    pub announce: Option<Announce>,
}

impl ConfigFile {
    pub(super) fn load(path: &Path) -> Result<Self, CliError> {
        let unreadable = |source| CliError::ConfigUnreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE {
            return Err(CliError::ConfigTooLarge {
                path: path.to_owned(),
            });
        }
        Self::parse(&text).map_err(|(line, what)| CliError::ConfigInvalid {
            path: path.to_owned(),
            line,
            what,
        })
    }

    /// Parses the text; an error is the line (from 1) and what is wrong there.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at]
                .iter()
                .filter(|&&b| b == b'\n')
                .count()
                + 1;
            (line, error.message().lines().collect::<Vec<_>>().join(" "))
        })
    }

    /// The options of a node.
    pub(super) fn cluster(&mut self) -> ClusterArgs {
        ClusterArgs {
            vault: self.vault.take(),
            node: self.node.take(),
            node_url: self.node_url.take(),
            pull: self.pull.take(),
            etcd: EtcdArgs {
                etcd_ca: self.etcd_ca.take(),
                etcd_cert: self.etcd_cert.take(),
                etcd_key: self.etcd_key.take(),
                etcd_user: self.etcd_user.take(),
                etcd_password_file: self.etcd_password_file.take(),
            },
        }
    }

    /// The options for those who decide elsewhere.
    pub(super) fn hooks(&mut self) -> HookArgs {
        HookArgs {
            jwt_keys: self.jwt_keys.take(),
            checks: CheckArgs {
                jwt_audience: self.jwt_audience.take(),
                jwt_issuer: self.jwt_issuer.take(),
            },
            auth_url: self.auth_url.take(),
            auth_timeout: self.auth_timeout.take(),
            events_url: self.events_url.take(),
            events_secret_file: self.events_secret_file.take(),
            hook_ca: self.hook_ca.take(),
        }
    }

    /// The options for HTTPS.
    pub(super) fn https(&mut self) -> HttpsArgs {
        HttpsArgs {
            tls_cert: self.tls_cert.take(),
            tls_key: self.tls_key.take(),
            acme: self.acme.take(),
            acme_dir: self.acme_dir.take(),
            acme_directory: self.acme_directory.take(),
            acme_mail: self.acme_mail.take(),
            acme_eab_file: self.acme_eab_file.take(),
            acme_ca: self.acme_ca.take(),
        }
    }

    /// Whether a token is written in the file itself.
    pub(super) fn holds_token(&self) -> bool {
        self.publish_token.is_some() || self.watch_token.is_some() || self.admin_token.is_some()
    }
}

/// One value or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Parses each of the texts; `otherwise` says what is expected where there is something else.
fn each<'de, D, T>(from: D, otherwise: &str) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let texts = match OneOrMany::deserialize(from) {
        Ok(OneOrMany::One(text)) => vec![text],
        Ok(OneOrMany::Many(texts)) => texts,
        Err(_) => return Err(de::Error::custom(otherwise)),
    };
    let parsed: Result<Vec<T>, _> = texts.iter().map(|text| text.parse()).collect();
    parsed.map(Some).map_err(de::Error::custom)
}

fn hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Host>>, D::Error> {
    let wanted = "`advertise` is an IP address or a name such as \"media.example.org\", or a list \
                  of them";
    each(from, wanted)
}

fn acme_names<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<AcmeName>>, D::Error> {
    each(
        from,
        "`acme` is a name such as \"media.example.org\", or a list of them",
    )
}

fn other_nodes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Node>>, D::Error> {
    each(
        from,
        "`other-node` is a URL such as \"https://b.example.org\", or a list of them",
    )
}

fn parsed<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    // The library's own message would contain the value.
    let text = String::deserialize(from).map_err(|_| de::Error::custom("a token is a string"))?;
    Ok(Some(SecretString::from(text)))
}

/// Seconds as a number, or text as on the command line.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(u32),
    Text(String),
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    match Time::deserialize(from) {
        Ok(Time::Seconds(seconds)) => Ok(Some(Duration::from_secs(seconds.into()))),
        Ok(Time::Text(text)) => args::duration(&text).map(Some).map_err(de::Error::custom),
        Err(_) => Err(de::Error::custom(
            "a time is a number of seconds, or text such as \"90s\" or \"2m\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_debian_package_says_nothing_until_its_examples_are_taken_in() {
        let text = include_str!("../../packaging/deb/rekindle.toml");
        let file = ConfigFile::parse(text).expect("parses");
        assert_eq!((file.behind_proxy, file.max_peers), (None, None));
        // An example begins right behind its #, a remark behind a space.
        let taken: Vec<_> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
                _ => line,
            })
            .collect();
        let file = ConfigFile::parse(&taken.join("\n")).expect("parses");
        assert_eq!(
            (file.behind_proxy, file.max_peers),
            (Some(true), Some(10_000))
        );
    }

    #[test]
    fn every_option_is_a_key_of_the_file() {
        let file = ConfigFile::parse(
            r#"
            key-file = "k"
            state-dir = "s"
            mode = "full-state"
            pull = 4
            http = "127.0.0.1:1"
            tls-cert = "c"
            tls-key = "ck"
            udp = "[::]:2"
            advertise = ["192.0.2.1", "2001:db8::1"]
            publish-token = "p"
            publish-token-file = "pf"
            watch-token = "w"
            watch-token-file = "wf"
            channel-tokens = "ct"
            admin = 9189
            admin-token = "a"
            admin-token-file = "af"
            publisher = "replace"
            open = true
            list-channels = true
            behind-proxy = false
            base-path = "/media"
            other-node = ["https://b.example.org", "http://192.0.2.7:8080/media"]
            resume-window = "2m"
            max-peers = 7
            join-rate = 0
            static-dir = "d"
            log = "debug"
            log-format = "json"
            announce = "none"
            "#,
        );
        let file = file
            .map_err(|(line, what)| format!("{line}: {what}"))
            .expect("parses");
        assert_eq!(file.advertise.as_deref().map(<[_]>::len), Some(2));
        assert_eq!(file.other_node.as_deref().map(<[_]>::len), Some(2));
        assert_eq!(file.resume_window, Some(Duration::from_secs(120)));
        assert_eq!(file.publisher, Some(Publisher::Replace));
        assert_eq!(file.mode, Some(Mode::FullState));
        assert_eq!(file.log_format, Some(LogFormat::Json));
        assert_eq!(file.announce, Some(Announce::None));
        assert!(file.holds_token());
    }

    #[test]
    fn one_address_needs_no_list_and_a_time_may_be_a_number() {
        let file = ConfigFile::parse("advertise = \"192.0.2.1\"\nresume-window = 30")
            .unwrap_or_else(|(line, what)| panic!("{line}: {what}"));
        assert_eq!(file.advertise.map(|a| a.len()), Some(1));
        assert_eq!(file.resume_window, Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_address_is_read_as_on_the_command_line() {
        let file = ConfigFile::parse(
            "http = 8080\nudp = \":8189\"\nadvertise = [\"media.example.org\", \"192.0.2.1\"]",
        )
        .unwrap_or_else(|(line, what)| panic!("{line}: {what}"));
        assert_eq!(file.http, Some(Listen::Port(8080)));
        assert_eq!(file.udp, Some(Listen::Port(8189)));
        let named = Host::Name("media.example.org".to_owned());
        assert_eq!(file.advertise.as_deref().map(|all| &all[0]), Some(&named));
        for (text, example) in [
            ("http = \"localhost\"", "localhost:8080"),
            ("http = 70000", "0 to 65535"),
            ("udp = true", "127.0.0.1:8080"),
            ("advertise = \"192.0.2.1:8189\"", "--udp"),
            ("advertise = [1]", "media.example.org"),
            ("other-node = 1", "https://b.example.org"),
            ("other-node = \"b.example.org\"", "https://b.example.org"),
        ] {
            let (line, what) = ConfigFile::parse(text).err().expect("refused");
            assert!(line == 1 && what.contains(example), "{what}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let (line, what) = ConfigFile::parse("open = true\nhtpp = \"127.0.0.1:1\"\n")
            .err()
            .expect("refused");
        assert_eq!(line, 2);
        assert!(what.contains("htpp"), "{what}");
        assert!(!what.contains('\n'), "{what}");
    }

    #[test]
    fn a_token_of_the_wrong_type_is_not_quoted() {
        let (_, what) = ConfigFile::parse("publish-token = 12345678")
            .err()
            .expect("refused");
        assert!(!what.contains("12345678"), "{what}");
    }
}
