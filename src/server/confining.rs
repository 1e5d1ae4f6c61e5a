//! Shuts the process in, once everything that it will ever open is open.

use std::path::Path;

use crate::hardening;

use super::acme::Acme;
use super::cluster::Store;
use super::event_hook::EventSecret;
use super::outbound::Endpoint;
use super::{Config, RunError, Tls, Token};

fn endpoints(config: &Config) -> impl Iterator<Item = &Endpoint> {
    let events = config.events.as_ref().map(|events| &events.endpoint);
    config.rights.endpoints().chain(events)
}

/// Sets up the sandbox. Returns how many parts of it are not in force; `None` without a sandbox.
pub(super) fn shut_in(
    config: &Config,
    store: Option<&Store>,
    acme: Option<&Acme>,
) -> Result<Option<usize>, RunError> {
    if !config.sandbox {
        tracing::warn!("started with --no-sandbox, which is not for production");
        return Ok(None);
    }
    let admin = config.admin_token.as_ref().and_then(Token::file);
    let events = config
        .events
        .as_ref()
        .and_then(|events| events.secret.as_deref());
    let tokens: Vec<&Path> = config
        .rights
        .files()
        .chain(admin)
        .chain(events.map(EventSecret::file))
        .collect();
    let tls: Vec<&Path> = config.tls.iter().flat_map(Tls::files).collect();
    let mut connects = store.map(|store| store.ports.clone()).unwrap_or_default();
    connects.extend(endpoints(config).flat_map(Endpoint::ports));
    connects.extend(acme.into_iter().flat_map(Acme::ports));
    connects.sort_unstable();
    connects.dedup();
    let options = hardening::Options {
        state_dir: store.is_none().then_some(&*config.state_dir),
        static_dir: config.static_dir.as_deref(),
        // Read again on SIGHUP.
        key_file: Some(&config.key_file),
        token_files: &tokens,
        connects: &connects,
        tls_files: &tls,
        acme_dir: acme.map(Acme::folder),
    };
    let report = hardening::sandbox(&options)?;
    report.log("sandbox");
    Ok(Some(report.all_lacking().count()))
}
