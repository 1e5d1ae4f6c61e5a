//! A running server, from readiness until it has stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::net::Notices;
use crate::service::Notifier;

use super::app::App;
use super::record_writer::{self, Earlier, Ended};
use super::router::router;
use super::{Ending, RunError, admin, listen, watchdog};

/// How long requests may take to finish once the server was asked to stop.
pub(super) const GRACE: Duration = Duration::from_millis(400);
/// How long event streams may take to end after that: the kernel has their ends by then.
const LAST: Duration = Duration::from_millis(100);
/// Most connections to the admin listener.
pub(super) const OPERATORS: usize = 64;

/// Where the server's events come from.
pub(super) struct Inbox {
    pub listener: TcpListener,
    pub admin: Option<(TcpListener, SocketAddr)>,
    pub notifier: Arc<Notifier>,
    pub notices: Notices,
    pub forget: tokio::sync::mpsc::UnboundedReceiver<record_writer::Forget>,
    pub limits: listen::Limits,
    /// The media port, for the log.
    pub media: u16,
}

pub(super) async fn serve(
    app: &Arc<App>,
    inbox: Inbox,
    asked: impl Future<Output = ()>,
    rotation: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<Ending, RunError> {
    let Inbox {
        listener,
        admin,
        notifier,
        notices,
        forget,
        limits,
        media,
    } = inbox;
    let (stop, stopping) = watch::channel(false);
    let router = router(app);
    let operators = admin.map(|(listener, address)| {
        tokio::spawn(serve_operators(app, listener, address, stopping.clone()))
    });
    let http = tokio::spawn(listen::serve(
        listener,
        listen::Door {
            router: router.clone(),
            tls: app.tls.clone(),
        },
        limits,
        stopping,
        GRACE,
    ));
    let earlier = Earlier {
        certificates: app.certificates.clone(),
        net: app.net.clone(),
        is_shared: app.cluster.is_some(),
    };
    let records = record_writer::Records {
        vault: app.vault.clone(),
        writes: app.writes.clone(),
    };
    let record_writer = record_writer::run(
        app.sessions.clone(),
        records,
        notices,
        forget,
        earlier,
        (media, app.boot),
    );
    let mut record_writer = tokio::spawn(record_writer);
    let committed = tokio::spawn(commit(app.clone()));
    ready();
    notifier.ready(&watchdog::status(app).await);
    tokio::spawn(watchdog::keep(app.clone(), router, notifier.clone()));
    let result = tokio::select! {
        () = asked => Ok(Ending::Asked),
        () = app.end.notified() => Ok(Ending::Drained),
        ended = &mut record_writer => match ended {
            Ok(Ended::RolledBack(error)) => Err(error.into()),
            _ => Err(RunError::MediaEnded),
        },
        // It never ends.
        () = rotation => Ok(Ending::Asked),
    };
    if result.is_ok() {
        // A boot that was ended at once has its number nevertheless. An error means that the number
        // could not be saved.
        let _ = tokio::time::timeout(GRACE, committed).await;
    }
    tracing::info!("stopping; browsers are awaited by the next start");
    notifier.stopping();
    // An error means that all receivers are gone.
    let _ = stop.send(true);
    // Media continues while requests are finished.
    let streams = http.await;
    if let Some(operators) = operators {
        // It has no event streams, and the same time to finish.
        let _ = operators.await;
    }
    // From now on, datagrams wait for the next process where another process holds the socket: one
    // that is about to end must not read them.
    let _ = tokio::time::timeout(GRACE, app.net.stop()).await;
    app.sessions.close();
    if let Ok(streams) = streams {
        streams.ended(LAST).await;
    }
    record_writer.abort();
    result
}

/// Answers operators until `stop` becomes true. Inside TLS like all others, except where only this
/// machine can connect.
fn serve_operators(
    app: &Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = listen::Streams> + use<> {
    let near = address.ip().to_canonical().is_loopback();
    let door = listen::Door {
        router: admin::router(app),
        tls: app.tls.clone().filter(|_| !near),
    };
    let limits = listen::Limits {
        connections: OPERATORS,
        per_address: 0,
    };
    listen::serve(listener, door, limits, stop, GRACE)
}

/// Makes the boot's number durable, once it is known that no record is ahead of it.
async fn commit(app: Arc<App>) {
    app.sessions.loaded().await;
    let vault = app.vault.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || vault.commit_boot()).await {
        // New peers are refused until it can be written; those of the last boot continue.
        tracing::error!(%error, "this boot's number could not be saved yet");
    }
}
