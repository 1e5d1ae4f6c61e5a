//! New secrets while the server runs: on SIGHUP the key file is read again, and every file of the
//! vault is encrypted for its first identity. Token files are read again too, and certificate and
//! key of TLS. Signals without a meaning are logged.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::service::Notifier;
use crate::vault::{KeyError, KeyFile, VaultError};

use super::app::App;
use super::auth::{ChannelTokens, Jwt};
use super::event_hook::EventSecret;
use super::tls::Tls;
use super::watchdog;

/// Why a changed key file was not used.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    /// A file that replaced another one is outside the sandbox, unless its folder is inside.
    #[error(
        "{0}. A file that takes the key file's place can be read only if the key file has a folder \
         of its own; write the new identity into the file that is there, or start the server anew"
    )]
    OutOfReach(KeyError),
    #[error(transparent)]
    Key(KeyError),
    #[error(
        "it holds no identity that opens the vault: put the new identity in front of the old one, \
         and take the old one out only when no file is under it any more (`rekindle audit` tells)"
    )]
    WrongKey,
    #[error(
        "{0}. Some files may be under the new identity already: leave the old identity in the key \
         file, behind the new one, and send SIGHUP again"
    )]
    Partly(VaultError),
    #[error("the server is stopping")]
    Stopping,
}

/// Reads the key file, the token files and the TLS files again whenever the signal arrives. Never
/// ends.
pub(super) async fn follow(
    app: Arc<App>,
    key_file: PathBuf,
    mut hangup: Signal,
    notifier: Arc<Notifier>,
) {
    while hangup.recv().await.is_some() {
        notifier.reloading();
        // The disk may be slow, and media must not wait for it.
        let others = app.clone();
        let take_others = move || {
            take_tokens(&others);
            others.rights.channels.as_ref().map(take_channel_tokens);
            others.rights.jwt.as_ref().map(take_jwt_keys);
            let events = others.events.as_ref();
            events.and_then(|events| events.secret.as_deref().map(take_event_secret));
            let tls = others.tls.as_deref();
            tls.filter(|tls| tls.files().next().is_some())
                .map(take_certificate);
        };
        let _ = tokio::task::spawn_blocking(take_others).await;
        // Until all records of the last boot are read, another thread reads them with the keys that
        // it has.
        app.sessions.loaded().await;
        if let Err(error) = take(&app, key_file.clone()).await {
            tracing::warn!("the key file was not taken: {error}");
        }
        notifier.ready(&watchdog::status(&app).await);
    }
    // The runtime is shutting down.
    std::future::pending().await
}

/// Reads tokens that have files again.
fn take_tokens(app: &App) {
    let tokens = [
        (&app.rights.publish, "publish"),
        (&app.rights.watch, "watch"),
        (&app.admin_token, "admin"),
    ];
    for (token, what) in tokens {
        let Some(token) = token.as_ref().filter(|token| token.file().is_some()) else {
            continue;
        };
        match token.read_again() {
            Ok(true) => tracing::info!("the {what} token was taken anew from its file"),
            Ok(false) => {
                tracing::info!("the {what} token was read again from its file and is the same")
            }
            Err(error) => tracing::warn!(
                "the {what} token was not taken, and the old one stays: {error}. Write the new one \
                 into the file that was there at the start and send SIGHUP again; another file in \
                 its place can be read only in a folder that holds nothing but the key file and \
                 token files"
            ),
        }
    }
}

/// Reads the tokens for single channels again.
fn take_channel_tokens(tokens: &ChannelTokens) {
    match tokens.read_again() {
        Ok(true) => tracing::info!("the channel tokens were taken anew from their file"),
        Ok(false) => {
            tracing::info!("the channel tokens were read again from their file and are the same")
        }
        Err(error) => tracing::warn!(
            "the channel tokens were not taken, and the old ones stay: {error}. Put the file right \
             and send SIGHUP again; another file in its place can be read only in a folder that \
             holds nothing but the key file and token files"
        ),
    }
}

/// Reads the keys of JWTs again, or has them fetched.
fn take_jwt_keys(jwt: &Jwt) {
    if jwt.file().is_none() {
        return jwt.fetch_again();
    }
    match jwt.read_again() {
        Ok(true) => tracing::info!("the JWT keys were taken anew from their file"),
        Ok(false) => {
            tracing::info!("the JWT keys were read again from their file and are the same")
        }
        Err(error) => tracing::warn!(
            "the JWT keys were not taken, and the old ones stay: {error}. Put the file right and \
             send SIGHUP again; another file in its place can be read only in a folder that holds \
             nothing but the key file and token files"
        ),
    }
}

/// Reads the secret that signs events again.
fn take_event_secret(secret: &EventSecret) {
    match secret.read_again() {
        Ok(true) => tracing::info!("the secret for events was taken anew from its file"),
        Ok(false) => {
            tracing::info!("the secret for events was read again from its file and is the same")
        }
        Err(error) => tracing::warn!(
            "the secret for events was not taken, and the old one stays: {error}. Put the file \
             right and send SIGHUP again; another file in its place can be read only in a folder \
             that holds nothing but the key file and token files"
        ),
    }
}

/// Reads the TLS certificate and its key again.
fn take_certificate(tls: &Tls) {
    match tls.read_again() {
        Ok(true) => tracing::info!(
            "the TLS certificate was taken anew from its files; open connections go on"
        ),
        Ok(false) => {
            tracing::info!("the TLS certificate was read again from its files and is the same")
        }
        Err(error) => tracing::warn!(
            "the TLS certificate was not taken, and the old one stays: {error}. Put both files \
             right and send SIGHUP again; where a new file takes the place of another, it can be \
             read only in a folder that holds nothing but certificates and keys, and the server \
             must be started anew otherwise"
        ),
    }
}

/// Signals that end a process unless they are handled. Some supervisors send them where they mean
/// SIGHUP.
pub(super) fn ignore_user_signals() -> io::Result<impl Future<Output = ()>> {
    let mut first = signal(SignalKind::user_defined1())?;
    let mut second = signal(SignalKind::user_defined2())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                _ = first.recv() => "SIGUSR1",
                _ = second.recv() => "SIGUSR2",
            };
            tracing::info!(
                "{name} means nothing here and is ignored; SIGHUP has the key file, the token \
                 files and the TLS files read again"
            );
        }
    })
}

async fn take(app: &App, path: PathBuf) -> Result<(), NotTaken> {
    let vault = app.vault.clone();
    // The identities exist in that task only; the vault keeps what encrypts.
    let task = tokio::task::spawn_blocking(move || {
        let keys = KeyFile::load(&path).map_err(|error| match error {
            KeyError::Io { ref cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                NotTaken::OutOfReach(error)
            }
            error => NotTaken::Key(error),
        })?;
        let recipient = keys.recipients().next().unwrap_or_default();
        let sealer = keys.sealer();
        let outcome = vault.rotate(keys).map_err(|error| match error {
            VaultError::WrongKey(_) => NotTaken::WrongKey,
            error => NotTaken::Partly(error),
        })?;
        Ok((recipient, outcome, sealer))
    });
    let (recipient, outcome, sealer) = task.await.map_err(|_| NotTaken::Stopping)??;
    if let Some(acme) = &app.acme {
        acme.take_sealer(sealer);
    }
    app.net
        .rewrite_sessions()
        .await
        .map_err(|_| NotTaken::Stopping)?;
    tracing::info!(
        recipient,
        peers = outcome.peers,
        unusable = outcome.unusable,
        set_aside = outcome.set_aside,
        "the key file was taken: the vault is under its first identity"
    );
    Ok(())
}
