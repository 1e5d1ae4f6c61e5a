//! A WHIP and WHEP broadcast server on str0m, with one channel, to be measured by
//! `rekindle-bench load --against`. As str0m's own examples: one UDP socket, one thread for media,
//! one system call a datagram; packets are forwarded in RTP mode, without being put together.
//!
//!     reference-str0m [HTTP ADDRESS]
//!
//! It prints its HTTP address. Loopback only; nobody is asked for a token.

mod media;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::{Candidate, Rtc, RtcError};

use media::{Client, News, Role};

#[derive(Clone)]
struct Shared {
    /// Where media is received.
    media: SocketAddr,
    /// All connections have the same one, as a server's have.
    certificate: Arc<DtlsCert>,
    next: Arc<AtomicU64>,
    news: mpsc::Sender<News>,
}

fn main() -> std::io::Result<()> {
    let http: SocketAddr = std::env::args()
        .nth(1)
        .map_or(Ok(([127, 0, 0, 1], 0).into()), |text| text.parse())
        .map_err(std::io::Error::other)?;
    let crypto = str0m::crypto::from_feature_flags();
    crypto.install_process_default();
    let certificate = str0m::crypto::from_feature_flags()
        .dtls_provider
        .generate_certificate()
        .ok_or_else(|| std::io::Error::other("no certificate can be made"))?;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    // Many handshakes at once must find room.
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    let (news, heard) = mpsc::channel();
    let shared = Shared {
        media: socket.local_addr()?,
        certificate: Arc::new(certificate),
        next: Arc::default(),
        news,
    };
    std::thread::Builder::new()
        .name("media".into())
        .spawn(move || media::run(&socket, &heard))?;
    let router = Router::new()
        .route("/whip", post(publish))
        .route("/whep", post(watch))
        .route("/session/{id}", delete(leave))
        .with_state(shared);
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(http).await?;
            println!("{}", listener.local_addr()?);
            axum::serve(listener, router).await
        })
}

async fn publish(State(shared): State<Shared>, offer: String) -> Response {
    join(&shared, Role::Publisher, &offer)
}

async fn watch(State(shared): State<Shared>, offer: String) -> Response {
    join(&shared, Role::Viewer, &offer)
}

async fn leave(State(shared): State<Shared>, Path(id): Path<u64>) -> StatusCode {
    let _ = shared.news.send(News::Left(id));
    StatusCode::OK
}

fn join(shared: &Shared, role: Role, offer: &str) -> Response {
    match answer(shared, offer) {
        Ok((rtc, answer)) => {
            let id = shared.next.fetch_add(1, Ordering::Relaxed);
            let _ = shared
                .news
                .send(News::Joined(Box::new(Client::new(id, role, rtc))));
            let headers = [
                (header::CONTENT_TYPE, "application/sdp".to_owned()),
                (header::LOCATION, format!("/session/{id}")),
            ];
            (StatusCode::CREATED, headers, answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn answer(shared: &Shared, offer: &str) -> Result<(Rtc, String), RtcError> {
    let mut rtc = Rtc::builder()
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_dtls_cert(DtlsCert::clone(&shared.certificate))
        .build(Instant::now());
    let candidate = Candidate::host(shared.media, "udp");
    rtc.add_local_candidate(candidate.expect("an address of our own"));
    let offer = SdpOffer::from_sdp_string(offer)?;
    let answer = rtc.sdp_api().accept_offer(offer)?;
    Ok((rtc, answer.to_sdp_string()))
}
