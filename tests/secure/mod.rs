//! Clients that speak HTTPS, and certificates for servers that do.
#![allow(dead_code)] // Not every test file needs all of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use futures_util::StreamExt;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};
use tokio_rustls::TlsConnector;

use super::running::PATIENCE;

/// A certificate for localhost and 127.0.0.1, in a folder of its own.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Certificate {
    /// In `tls/cert.pem` and `tls/key.pem` of this folder.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("tls")).expect("a folder");
        Self::named(folder, "")
    }

    /// A new one beside it takes its place, as tools do that renew certificates.
    pub fn renew(&mut self, folder: &Path) {
        let new = Self::named(folder, ".new");
        fs::rename(&new.cert, &self.cert).expect("moved");
        fs::rename(&new.key, &self.key).expect("moved");
        self.der = new.der;
        self.key_der = new.key_der;
    }

    fn named(folder: &Path, end: &str) -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).expect("made");
        let file = |name: &str| folder.join(format!("tls/{name}.pem{end}"));
        let made = Self {
            cert: file("cert"),
            key: file("key"),
            der: cert.der().clone(),
            key_der: signing_key.serialize_der(),
        };
        fs::write(&made.cert, cert.pem()).expect("written");
        fs::write(&made.key, signing_key.serialize_pem()).expect("written");
        fs::set_permissions(&made.key, fs::Permissions::from_mode(0o600)).expect("set");
        made
    }

    /// The key in PKCS#8's form (RFC 5958).
    pub fn key_der(&self) -> &[u8] {
        &self.key_der
    }

    /// The options by which a server uses it.
    pub fn options(&self) -> [&str; 4] {
        let [cert, key] = [&self.cert, &self.key].map(|path| path.to_str().expect("text"));
        ["--tls-cert", cert, "--tls-key", key]
    }

    /// What a server needs to have it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.key_der.clone());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key.into());
        Arc::new(config.expect("a pair"))
    }

    /// A client that trusts this certificate alone and speaks these protocols.
    pub fn trusted(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    /// Over HTTP/1.1.
    pub fn http1(&self, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let config = self.trusted(rustls::ALL_VERSIONS, &["http/1.1"]);
        StreamOwned::new(
            ClientConnection::new(config, name()).expect("a client"),
            stream,
        )
    }

    /// Over HTTP/2. Needs a tokio runtime around it.
    pub async fn http2(&self, address: SocketAddr) -> Http2 {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connected");
        let config = self.trusted(rustls::ALL_VERSIONS, &["h2"]);
        let stream = TlsConnector::from(config).connect(name(), stream).await;
        let stream = stream.expect("a TLS connection");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("an HTTP/2 connection");
        let ended = tokio::spawn(async { drop(connection.await) });
        Http2 {
            requests,
            ended,
            host: address.to_string(),
        }
    }
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// An HTTP/2 connection.
pub struct Http2 {
    requests: SendRequest<Body>,
    /// The connection has ended.
    pub ended: tokio::task::JoinHandle<()>,
    /// What requests name as the server.
    pub host: String,
}

impl Http2 {
    pub async fn send(&mut self, request: Request<Body>) -> Response<Body> {
        let answer = tokio::time::timeout(PATIENCE, self.requests.send_request(request)).await;
        answer.expect("in time").expect("an answer").map(Body::new)
    }

    pub fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let uri = format!("https://{}{path}", self.host);
        Request::builder().method(method).uri(uri)
    }

    pub async fn get(&mut self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = self.request("GET", path).body(Body::empty());
        let answer = self.send(request.expect("a request")).await;
        let (head, body) = answer.into_parts();
        (head.status, head.headers, text(body).await)
    }

    /// Starts a session and returns its path.
    pub async fn join(&mut self, path: &str, sdp: &'static str) -> String {
        let request = self
            .request("POST", path)
            .header("content-type", "application/sdp");
        let answer = self
            .send(request.body(sdp.into()).expect("a request"))
            .await;
        assert_eq!(answer.status(), 201);
        answer.headers()["location"]
            .to_str()
            .expect("text")
            .to_owned()
    }

    /// Opens an event stream.
    pub async fn events(&mut self, session: &str) -> Stream {
        let request = self
            .request("GET", &format!("{session}/events"))
            .body(Body::empty());
        let answer = self.send(request.expect("a request")).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Stream(answer.into_body().into_data_stream(), String::new())
    }
}

pub async fn text(body: Body) -> String {
    let all = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    String::from_utf8(all.into()).expect("text")
}

/// An event stream.
pub struct Stream(BodyDataStream, String);

impl Stream {
    /// Reads on until this has come.
    pub async fn until(&mut self, part: &str) {
        while !self.1.contains(part) {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let more: Bytes = next.expect("in time").expect("more").expect("no error");
            self.1 += std::str::from_utf8(&more).expect("text");
        }
    }

    /// Reads to the end, however it comes.
    pub async fn rest(mut self) -> String {
        while let Some(Ok(more)) = tokio::time::timeout(PATIENCE, self.0.next())
            .await
            .expect("in time")
        {
            self.1 += std::str::from_utf8(&more).expect("text");
        }
        self.1
    }
}
