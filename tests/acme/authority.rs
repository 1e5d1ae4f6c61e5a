//! Pebble, with names from its own DNS server, and clients that trust what it signs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::apart::{Running, start};
use crate::running::PATIENCE;

/// The URL of its directory.
const DIRECTORY: &str = "https://authority.test:14000/dir";
/// It makes accounts for those alone who have this.
const MAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const ROOTS: &str = "127.0.0.1:15000";
const DNS_SETTINGS: &str = "127.0.0.1:8055";

/// An authority with its DNS server.
pub struct Authority {
    folder: PathBuf,
    pebble: Option<Running>,
    _dns: Running,
}

impl Authority {
    /// Its certificates are valid for so many seconds.
    pub fn new(folder: &Path, seconds: u32) -> Self {
        let folder = folder.join("authority");
        fs::create_dir(&folder).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "who signs the authority's own");
        let ca = params.self_signed(&key).expect("signed");
        fs::write(folder.join("ca.pem"), ca.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["authority.test".into(), "127.0.0.1".into()]);
        let own = params
            .expect("names")
            .signed_by(&key, &issuer)
            .expect("signed");
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).expect("written");
            path
        };
        let config = serde_json::json!({ "pebble": {
            "listenAddress": "127.0.0.1:14000",
            "managementListenAddress": ROOTS,
            "certificate": write("own.pem", &own.pem()),
            "privateKey": write("own-key.pem", &key.serialize_pem()),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": seconds,
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { "kid-1": MAC_KEY },
        }});
        let account = write("account", &format!("kid-1 {MAC_KEY}\n"));
        fs::set_permissions(account, fs::Permissions::from_mode(0o600)).expect("set");
        write("config.json", &config.to_string());
        let dns = start(
            Command::new("pebble-challtestsrv")
                .args(["-dns01", "127.0.0.1:53", "-management", DNS_SETTINGS])
                .args([
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-defaultIPv6",
                    "",
                ])
                .stderr(Stdio::null()),
            DNS_SETTINGS,
        );
        let mut authority = Self {
            folder,
            pebble: None,
            _dns: dns,
        };
        authority.begin_anew();
        authority
    }

    /// It forgets its accounts, and has another root.
    pub fn begin_anew(&mut self) {
        drop(self.pebble.take());
        let mut command = Command::new("pebble");
        command
            .args(["-dnsserver", "127.0.0.1:53", "-config"])
            .arg(self.folder.join("config.json"))
            .env("PEBBLE_VA_NOSLEEP", "1");
        self.pebble = Some(start(&mut command, ROOTS));
    }

    /// The options by which a server asks it.
    pub fn options(&self) -> [String; 6] {
        let file = |name: &str| self.folder.join(name).to_str().expect("text").to_owned();
        [
            "--acme-directory".to_owned(),
            DIRECTORY.to_owned(),
            "--acme-ca".to_owned(),
            file("ca.pem"),
            "--acme-eab-file".to_owned(),
            file("account"),
        ]
    }

    /// Has a name lead to this address.
    pub fn lead(&self, name: &str, address: &str) {
        let body = serde_json::json!({ "host": name, "addresses": [address] });
        for action in ["clear-a", "add-a"] {
            let url = format!("http://{DNS_SETTINGS}/{action}");
            let answer = ureq::post(url).send(body.to_string().as_bytes());
            assert_eq!(answer.expect("an answer").status(), 200);
        }
    }

    /// Who trusts what it signs.
    pub fn client(&self) -> Arc<ClientConfig> {
        let own = fs::read(self.folder.join("ca.pem")).expect("a file");
        let mut talk = connect(trusting(&own), "authority.test", ROOTS).expect("connected");
        let request = "GET /roots/0 HTTP/1.0\r\n\r\n";
        talk.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // Pebble closes without the end of TLS.
        let _ = talk.read_to_end(&mut answer);
        trusting(&answer)
    }
}

fn trusting(pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(pem).expect("a certificate");
    roots.add(root).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub type Talk = StreamOwned<ClientConnection, TcpStream>;

/// A connection to this name, or why its certificate is not accepted.
pub fn connect(config: Arc<ClientConfig>, name: &str, address: &str) -> Result<Talk, String> {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut talk = StreamOwned::new(
        ClientConnection::new(config, name).expect("a client"),
        stream,
    );
    while talk.conn.is_handshaking() {
        let step = talk.conn.complete_io(&mut talk.sock);
        step.map_err(|error| error.to_string())?;
    }
    Ok(talk)
}

pub fn certificate(talk: &Talk) -> CertificateDer<'static> {
    talk.conn.peer_certificates().expect("a certificate")[0]
        .clone()
        .into_owned()
}

/// Asks for the server's health over a connection that stays.
pub fn healthy(talk: &mut Talk) {
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    talk.write_all(request.as_bytes()).expect("sent");
    let mut answer = [0; 4096];
    let length = talk.read(&mut answer).expect("an answer");
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
}
