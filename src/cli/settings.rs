//! Combines flags, environment and configuration file: a flag has precedence over the environment,
//! that over the file, and the file over the default.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use clap::ArgMatches;

use crate::broadcast;
use crate::server::{self, ChannelTokens, Mode, Names, Rights, RunError};
use crate::service::{Notifier, Passed};
use crate::vault::VaultError;

use super::address::{self, Host, Listen};
use super::args::{Announce, LogFormat, Publisher, ServeArgs};
use super::error::CliError;
use super::file::ConfigFile;
use super::https::Https;
use super::log::LogSettings;

pub(super) mod tokens;

use tokens::{TokenSources, file_source, others_can_read, readable_by_others, source, token};

/// Where HTTP listens by default: this machine only.
pub(super) const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where media is received by default. All interfaces, even where HTTP is for this machine only:
/// Firefox offers no loopback address and reaches the server at the machine's own address. Nothing
/// there is answered without valid ICE credentials, which only HTTP gives out. The port is fixed,
/// since browsers come back to it after a restart.
const DEFAULT_UDP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8189);
const DEFAULT_KEY_FILE: &str = "rekindle-key.txt";
const DEFAULT_STATE_DIR: &str = "rekindle-state";
const DEFAULT_JOIN_RATE: u32 = 20;
/// Enough for a school behind one address.
const DEFAULT_SESSIONS_PER_ADDRESS: usize = 1000;
/// Most addresses in `--advertise`: each is a candidate line in every answer and every record.
const MAX_ADVERTISE: usize = 8;

/// All settings of `serve`.
pub(super) struct Settings {
    pub server: server::Config,
    pub log: LogSettings,
    pub announce: Announce,
    /// To be logged once the log is set up.
    pub warnings: Vec<String>,
}

/// The settings that a supervisor of this server needs: no secret, and no file but the
/// configuration.
pub(super) struct Outside {
    pub http: SocketAddr,
    pub udp: SocketAddr,
    pub ice_tcp: bool,
    pub log: LogSettings,
    /// To be logged once the log is set up.
    pub warnings: Vec<String>,
}

impl Outside {
    /// Reads only what is needed from the sources, as [`Settings::resolve`] does.
    pub(super) fn resolve(args: ServeArgs, passed: &Passed) -> Result<Self, CliError> {
        let file = args
            .config
            .as_deref()
            .map_or(Ok(ConfigFile::default()), ConfigFile::load)?;
        let mut warnings = Vec::new();
        Ok(Self {
            http: http(args.http.or(file.http), passed, &mut warnings)?,
            udp: udp(args.udp.or(file.udp), passed, &mut warnings)?,
            ice_tcp: args.ice_tcp.or(file.ice_tcp).unwrap_or(false),
            log: log_settings(args.log.or(file.log), args.log_format.or(file.log_format)),
            warnings,
        })
    }
}

fn http(
    given: Option<Listen>,
    passed: &Passed,
    warnings: &mut Vec<String>,
) -> Result<SocketAddr, CliError> {
    listen("http", given, DEFAULT_HTTP, passed.http_address(), warnings)
}

fn udp(
    given: Option<Listen>,
    passed: &Passed,
    warnings: &mut Vec<String>,
) -> Result<SocketAddr, CliError> {
    listen("udp", given, DEFAULT_UDP, passed.media_address(), warnings)
}

/// Where a port is: at the passed socket, if there is one.
fn listen(
    option: &str,
    given: Option<Listen>,
    default: SocketAddr,
    passed: Option<SocketAddr>,
    warnings: &mut Vec<String>,
) -> Result<SocketAddr, CliError> {
    match (passed, given) {
        (Some(passed), given) => {
            if let Some(given) = given.filter(|given| !given.may_be(passed)) {
                warnings.push(format!(
                    "{option} = {given} is not used: the service manager has passed a socket, \
                     which is at {passed}; change its socket unit, or leave the option out"
                ));
            }
            Ok(passed)
        }
        (None, Some(given)) => Ok(given.resolve(default.ip(), &address::system)?),
        (None, None) => Ok(default),
    }
}

fn log_settings(filter: Option<String>, format: Option<LogFormat>) -> LogSettings {
    LogSettings {
        filter: filter.unwrap_or_else(|| "info".to_owned()),
        format,
    }
}

impl Settings {
    /// Combines the sources. `matches` says which options came from the command line; `passed` are
    /// ports that a service manager holds.
    pub(super) fn resolve(
        args: ServeArgs,
        matches: &ArgMatches,
        passed: Passed,
    ) -> Result<Self, CliError> {
        let mut warnings = Vec::new();
        let mut file = match &args.config {
            Some(path) => {
                let file = ConfigFile::load(path)?;
                if file.holds_token() && others_can_read(path) {
                    warnings.push(readable_by_others(
                        "configuration file, which holds a token,",
                        path,
                    ));
                }
                file
            }
            None => ConfigFile::default(),
        };
        let cluster = file.cluster();
        let https = file.https();
        let names = Names::system();
        let hooks = args.hooks.or(file.hooks()).hooks(&names, &mut warnings)?;
        let mut token = |id: &str, text, path, file: TokenSources, what| {
            let given = TokenSources {
                text,
                path,
                text_from: source(matches, id),
                path_from: file_source(matches, id),
            };
            token(given, file, what, &mut warnings)
        };
        let publish = token(
            "publish_token",
            args.publish_token,
            args.publish_token_file,
            TokenSources::in_file(file.publish_token, file.publish_token_file),
            "publish token",
        )?;
        let watch = token(
            "watch_token",
            args.watch_token,
            args.watch_token_file,
            TokenSources::in_file(file.watch_token, file.watch_token_file),
            "watch token",
        )?;

        let admin_token = token(
            "admin_token",
            args.admin_token,
            args.admin_token_file,
            TokenSources::in_file(file.admin_token, file.admin_token_file),
            "admin token",
        )?;
        let admin = admin(args.admin.or(file.admin), admin_token.is_some())?;

        let mode = args.mode.or(file.mode).unwrap_or_default();
        let shared = args.cluster.or(cluster).shared()?;
        if shared.is_some() && mode == Mode::FullState {
            return Err(RunError::from(VaultError::FolderOnly).into());
        }
        let state_dir = args.state_dir.or(file.state_dir);
        if let (Some(_), Some(folder)) = (&shared, &state_dir) {
            warnings.push(format!(
                "the folder {} is not used, since --vault says where the vault is",
                folder.display()
            ));
        }
        if mode == Mode::FullState && !cfg!(feature = "full-state") {
            return Err(CliError::NoFullState);
        }
        let ice_tcp = args.ice_tcp.or(file.ice_tcp).unwrap_or(false);
        if mode == Mode::FullState && (ice_tcp || passed.ice_tcp.is_some()) {
            return Err(CliError::FullStateOverTcp);
        }
        let require_post_quantum = args
            .require_post_quantum
            .or(file.require_post_quantum)
            .unwrap_or(false);
        if require_post_quantum && !cfg!(feature = "boring") {
            return Err(CliError::NoPostQuantum);
        }
        let http = http(args.http.or(file.http), &passed, &mut warnings)?;
        let udp = udp(args.udp.or(file.udp), &passed, &mut warnings)?;
        let Https { tls, acme } = args.https.or(https).https(&names, &mut warnings)?;
        let open = args.open.or(file.open).unwrap_or(false);
        let channels = args.channel_tokens.or(file.channel_tokens);
        let channels = channels
            .map(|path| ChannelTokens::read(&path))
            .transpose()?;
        let rights = Rights {
            publish,
            watch,
            channels,
            jwt: hooks.jwt,
            hook: hooks.auth,
        };
        if !rights.guard_publishing() && !open && !http.ip().to_canonical().is_loopback() {
            return Err(CliError::NobodyGuards { http });
        }
        let advertise = advertised(&args.advertise.or(file.advertise).unwrap_or_default(), udp)?;
        let key_file = args.key_file.or(file.key_file);
        let static_dir = args.static_dir.or(file.static_dir);
        if let Some(path) = &static_dir {
            fs::read_dir(path).map_err(|source| CliError::StaticDir {
                path: path.clone(),
                source,
            })?;
        }
        let threads = args.threads.or(file.threads);
        let threads = threads.or_else(|| std::thread::available_parallelism().ok());
        let core = broadcast::Config::default();
        let core = broadcast::Config {
            max_peers: args.max_peers.or(file.max_peers).unwrap_or(core.max_peers),
            resume_window: args
                .resume_window
                .or(file.resume_window)
                .unwrap_or(core.resume_window),
            publisher: match args.publisher.or(file.publisher).unwrap_or_default() {
                Publisher::Refuse => broadcast::Newcomer::Refused,
                Publisher::Replace => broadcast::Newcomer::Replaces,
            },
            ..core
        };
        Ok(Self {
            server: server::Config {
                mode,
                may_make_key: key_file.is_none(),
                key_file: key_file.unwrap_or_else(|| DEFAULT_KEY_FILE.into()),
                state_dir: state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
                shared,
                anchor: args.anchor.or(file.anchor),
                passed,
                notifier: Notifier::default(),
                demo: false,
                http,
                udp,
                ice_tcp,
                admin,
                admin_token,
                advertise,
                rights,
                events: hooks.events,
                tls,
                acme,
                open,
                list_channels: args.list_channels.or(file.list_channels).unwrap_or(false),
                behind_proxy: args.behind_proxy.or(file.behind_proxy).unwrap_or(false),
                base_path: args.base_path.or(file.base_path).unwrap_or_default(),
                other_nodes: args.other_node.or(file.other_node).unwrap_or_default(),
                join_rate: args
                    .join_rate
                    .or(file.join_rate)
                    .unwrap_or(DEFAULT_JOIN_RATE),
                max_sessions_per_address: args
                    .max_sessions_per_address
                    .or(file.max_sessions_per_address)
                    .unwrap_or(DEFAULT_SESSIONS_PER_ADDRESS),
                static_dir,
                rotate_identity: args
                    .rotate_identity
                    .or(file.rotate_identity)
                    .unwrap_or(false),
                require_post_quantum,
                sandbox: !args.no_sandbox.or(file.no_sandbox).unwrap_or(false),
                threads: threads.unwrap_or(NonZeroUsize::MIN),
                core,
            },
            log: log_settings(args.log.or(file.log), args.log_format.or(file.log_format)),
            announce: args.announce.or(file.announce).unwrap_or_default(),
            warnings,
        })
    }
}

/// The address of the admin listener, if there is one: on this machine, or with a token.
fn admin(given: Option<Listen>, has_token: bool) -> Result<Option<SocketAddr>, CliError> {
    let Some(given) = given else {
        return if has_token {
            Err(CliError::NoAdmin)
        } else {
            Ok(None)
        };
    };
    let admin = given.resolve(Ipv4Addr::LOCALHOST.into(), &address::system)?;
    if !has_token && !admin.ip().to_canonical().is_loopback() {
        return Err(CliError::NobodyGuardsAdmin { admin });
    }
    Ok(Some(admin))
}

/// The addresses of these hosts.
fn advertised(hosts: &[Host], udp: SocketAddr) -> Result<Vec<IpAddr>, CliError> {
    let mut addresses = Vec::new();
    for host in hosts {
        addresses.extend(host.resolve(udp.is_ipv6(), &address::system)?);
    }
    if addresses.len() > MAX_ADVERTISE {
        return Err(CliError::TooManyAddresses {
            most: MAX_ADVERTISE,
        });
    }
    for &address in &addresses {
        let wrong_family = udp.is_ipv4() && address.is_ipv6();
        if server::needs_zone(address) {
            return Err(CliError::NeedsZone { address });
        }
        if address.is_unspecified() || address.is_multicast() || wrong_family {
            return Err(CliError::Unreachable { address });
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
