//! For the fuzz targets: HTTP from a connection to the whole server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::app::App;
use super::assets::Assets;
use super::certificates::Certificates;
use super::converse::{Ends, Http, converse};
use super::drain::Drain;
use super::health::Health;
use super::limit::Limiter;
use super::nodes::Nodes;
use super::record_writer::{self, Earlier, RecordWriter};
use super::router::router;
use super::sessions::Sessions;
use super::writes::Writes;
use crate::vault::{KeyFile, Vault};
use crate::{broadcast, net, peer};

/// A server without a listening port.
pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) router: Router,
    pub(super) net: net::Handle,
    folder: PathBuf,
}

thread_local! {
    static WORLD: World = World::new();
}

impl World {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = std::env::temp_dir().join(format!(
            "rekindle-fuzz-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir(&folder).expect("a folder");
        let keys = KeyFile::generate(&folder.join("key")).expect("a key file");
        let opened = Vault::open(&folder.join("state"), keys, SystemTime::now()).expect("a vault");
        let identity = opened.identity;
        let dtls = peer::Dtls::new(identity.certificate_der(), identity.private_key_der())
            .expect("DTLS takes it");
        let config = broadcast::Config {
            max_peers: 16,
            consent: Duration::from_secs(1),
            ..broadcast::Config::default()
        };
        let socket = net::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let bound = net::adopt(socket).expect("set up");
        let address = bound.local();
        let (net, notices, _) = bound
            .start(config, Arc::new(dtls), opened.reader, [7; 32])
            .expect("threads");
        let (record_writer, forget) = RecordWriter::channel();
        let (vault, sessions) = (
            Arc::new(opened.vault),
            Arc::new(Sessions::new(0, Instant::now())),
        );
        let certificates = Arc::new(Certificates::new(&identity, []));
        let earlier = Earlier {
            certificates: certificates.clone(),
            net: net.clone(),
            is_shared: false,
        };
        let writes = Arc::<Writes>::default();
        let records = record_writer::Records {
            vault: vault.clone(),
            writes: writes.clone(),
        };
        runtime.spawn(record_writer::run(
            sessions.clone(),
            records,
            notices,
            forget,
            earlier,
            (address.port(), 1),
        ));
        let app = Arc::new(App {
            net,
            vault,
            sessions,
            record_writer,
            cluster: None,
            end: tokio::sync::Notify::new(),
            limiter: Limiter::new(0),
            refusals: Limiter::new(0),
            lists: Limiter::new(0),
            assets: Assets::new(None),
            health: Health::default(),
            writes: writes.clone(),
            saves: tokio::sync::Semaphore::new(1),
            sandbox: None,
            certificates,
            boot: 1,
            process: "0123456789abcdef".to_owned(),
            mode: Default::default(),
            started: Instant::now(),
            ice_tcp: false,
            addresses: vec![address],
            follows_requests: None,
            nodes: Arc::new(Nodes::new(Vec::new())),
            rights: Default::default(),
            events: None,
            list_channels: true,
            has_admin: false,
            demo: None,
            admin_token: None,
            private: true,
            behind_proxy: true,
            base_path: Default::default(),
            tls: None,
            acme: None,
        });
        Self {
            runtime,
            router: router(&app),
            net: app.net.clone(),
            folder,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Everything that a client sends over one connection. Whatever it is, the connection ends, and the
/// response is HTTP.
pub fn http(data: &[u8]) {
    WORLD.with(|world| {
        let answered = world.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client
                .write_all(&data[..data.len().min(1 << 19)])
                .await
                .expect("there is room");
            client.shutdown().await.expect("half closed");
            let (_stop, mut stopping) = watch::channel(false);
            let (router, talk) = (world.router.clone(), Drain::new().talk());
            let served = converse(server, Http::One, Ends::LOCAL, router, &mut stopping, talk);
            tokio::time::timeout(Duration::from_secs(20), served)
                .await
                .expect("the connection ends");
            let mut answered = Vec::new();
            client
                .read_to_end(&mut answered)
                .await
                .expect("what came back");
            answered
        });
        assert!(
            answered.is_empty() || answered.starts_with(b"HTTP/1."),
            "not HTTP"
        );
    });
}

#[cfg(test)]
mod tests;
