//! `rekindle demo`: a server for this machine only, killed by a button of its page and started
//! again at once.

use std::ffi::OsString;
use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use crate::hardening;
use crate::net;
use crate::server::{Ports, RunError};
use crate::service::{Notifier, Passed};
use crate::supervise;
use crate::vault::KeyFile;

use super::address::{self, Listen};
use super::error::CliError;
use super::log::{self, LogSettings};
use super::settings::DEFAULT_HTTP;
use super::supervise::{WATCHDOG, program};

/// The text after the options in `--help`.
pub(super) const AFTER: &str = "\
Nobody else can reach it: HTTP is on loopback, and the kernel drops media that does not come from this machine. Its \
key and its state are in a temporary folder, which is removed when it stops (SIGINT, SIGTERM, SIGHUP).";

#[derive(clap::Args)]
pub(super) struct DemoArgs {
    /// Where HTTP listens: a loopback address with a port, or a port alone [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<Listen>,

    /// What to log, as for `serve` [default: warn]
    #[arg(
        long,
        value_name = "LEVEL",
        env = "REKINDLE_LOG",
        default_value = "warn",
        hide_default_value = true
    )]
    log: String,
}

impl DemoArgs {
    pub(super) fn run(self, hardened: &hardening::Report) -> Result<ExitCode, CliError> {
        let http = match &self.http {
            Some(given) => given.resolve(DEFAULT_HTTP.ip(), &address::system)?,
            None => DEFAULT_HTTP,
        };
        if !http.ip().to_canonical().is_loopback() {
            return Err(CliError::DemoForOthers { http });
        }
        log::start(&LogSettings {
            filter: self.log.clone(),
            format: Default::default(),
        })?;
        hardened.log("supervisor");
        let (media, unfiltered) = net::bind_nearby().map_err(RunError::from)?;
        if let Some(reason) = unfiltered {
            tracing::warn!(
                "this kernel does not keep other machines out of a port ({reason}), so media is on \
                 loopback, which Firefox does not use; open the page in another browser"
            );
        }
        let passed = Passed {
            http: None,
            media: Some(media),
            ice_tcp: None,
        };
        let ports = Ports::open(passed, http, ANY, false)?;
        let bound = ports.http.local_addr().unwrap_or(http);
        let media = ports.media.local_addr().unwrap_or(ANY);
        let folder = tempfile::Builder::new()
            .prefix("rekindle-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(CliError::DemoFolder)?;
        KeyFile::generate(&folder.path().join("key.txt"))?;
        let options = supervise::Options {
            program: program().map_err(CliError::Program)?,
            arguments: arguments(folder.path(), bound, media, &self.log),
            watchdog: Some(WATCHDOG),
            ports,
            notifier: Notifier::default(),
            demo: Some(supervise::Demo {
                greeting: greeting(bound),
            }),
        };
        let code = supervise::run(options)?;
        folder.close().map_err(CliError::DemoFolder)?;
        Ok(ExitCode::from(code))
    }
}

/// Only where no address is known: see [`net::bind_nearby`]. The system chooses the port, which the
/// supervisor holds across restarts, so a server that runs already is in nobody's way.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The server's command. Every setting of its environment is taken away by the supervisor.
fn arguments(folder: &Path, http: SocketAddr, media: SocketAddr, log: &str) -> Vec<OsString> {
    let (http, media) = (http.to_string(), media.to_string());
    let (key, state) = (folder.join("key.txt"), folder.join("state"));
    let mut all: Vec<OsString> = vec!["serve".into()];
    for (option, value) in [
        ("--key-file", key.as_os_str()),
        ("--state-dir", state.as_os_str()),
        ("--http", http.as_ref()),
        ("--udp", media.as_ref()),
        ("--log", log.as_ref()),
        ("--announce", "none".as_ref()),
    ] {
        all.extend([option.into(), value.to_owned()]);
    }
    all
}

/// What is printed once the server is up.
fn greeting(http: SocketAddr) -> String {
    format!(
        "rekindle demo: http://{http}/\n\
         \x20 1. Open it in two tabs: the first publishes your camera, the other one watches.\n\
         \x20 2. Press \"Kill the server\" on the page, and keep an eye on the picture.\n\
         \x20 Ctrl+C stops it, and nothing is left behind. Only this machine can reach it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_short_and_says_where_what_and_how_to_stop() {
        let text = greeting("127.0.0.1:8080".parse().expect("an address"));
        assert_eq!(text.lines().count(), 4);
        for part in [
            "http://127.0.0.1:8080/",
            "two tabs",
            "Kill the server",
            "Ctrl+C",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
