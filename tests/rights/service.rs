//! A service over HTTP, or HTTPS, that remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::running::until;
use super::secure::Certificate;

/// What was asked.
#[derive(Clone)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What is answered, and after how long.
pub struct Reply(pub u16, pub Vec<u8>, pub Duration);

impl Reply {
    pub fn status(status: u16) -> Self {
        Self(status, Vec::new(), Duration::ZERO)
    }
}

type Answers = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

struct State {
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<Answers>,
    /// Requests that wait for their answer now, and the most that ever did.
    open: Mutex<(usize, usize)>,
}

pub struct Service {
    pub address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    /// Dropped with it, and all connections.
    _runtime: Runtime,
}

impl Service {
    pub fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), None, answers)
    }

    /// With this certificate, if there is one.
    pub fn at(
        address: SocketAddr,
        certificate: Option<&Certificate>,
        answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let state = Arc::new(State {
            asked: Mutex::default(),
            answers: Mutex::new(Box::new(answers)),
            open: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tls = certificate.map(|certificate| TlsAcceptor::from(certificate.server()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let told = state.clone();
        let router = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let asked = Asked {
                    method,
                    uri,
                    headers,
                    body,
                };
                answer(told.clone(), asked)
            },
        );
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, service) = (tls.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ =
                                    server.serve_connection(TokioIo::new(stream), service).await;
                            }
                        }
                        None => {
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            scheme,
            state,
            _runtime: runtime,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// From now on it answers so.
    pub fn answer(&self, answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *lock(&self.state.answers) = Box::new(answers);
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state.asked).clone()
    }

    /// How many requests waited for their answers at once, at the most.
    pub fn most_at_once(&self) -> usize {
        lock(&self.state.open).1
    }

    /// Waits until it was asked so often.
    #[track_caller]
    pub fn wait_for(&self, times: usize) {
        until(&format!("{times} requests"), || self.asked().len() >= times);
    }
}

async fn answer(state: Arc<State>, asked: Asked) -> Response<Body> {
    let Reply(status, body, after) = lock(&state.answers)(&asked);
    lock(&state.asked).push(asked);
    {
        let mut open = lock(&state.open);
        open.0 += 1;
        open.1 = open.1.max(open.0);
    }
    tokio::time::sleep(after).await;
    lock(&state.open).0 -= 1;
    let status = StatusCode::from_u16(status).expect("a status");
    (status, body).into_response()
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
