//! A WHIP and WHEP broadcast server on webrtc-rs, with one channel, to be measured by
//! `rekindle-bench load --against`. As that project's own examples: each connection has a socket of
//! its own and the usual interceptors, and a task that writes what the publisher sends.
//!
//!     reference-webrtc [HTTP ADDRESS]
//!
//! It prints its HTTP address. Loopback only; nobody is asked for a token.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::{broadcast, mpsc};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use webrtc::runtime::TokioRuntime;

/// Packets that a viewer may be behind.
const BACKLOG: usize = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A packet, and which kind of media it is of.
type Packet = (RtpCodecKind, rtc::rtp::Packet);

/// What a connection tells.
struct Ear {
    gathered: mpsc::UnboundedSender<()>,
    /// What a publisher sends its sound and its pictures as. Tracks do not tell: those of an offer
    /// without `a=msid` have one identifier, and all their packets come by the first of them.
    sends: Vec<(RtpCodecKind, u8)>,
    packets: broadcast::Sender<Arc<Packet>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Ear {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.send(());
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let (packets, sends) = (self.packets.clone(), self.sends.clone());
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else {
                    continue;
                };
                let payload_type = packet.header.payload_type;
                if let Some((kind, _)) = sends.iter().find(|one| one.1 == payload_type) {
                    let _ = packets.send(Arc::new((*kind, packet)));
                }
            }
        });
    }
}

/// The server's only channel.
#[derive(Clone)]
struct Room {
    packets: broadcast::Sender<Arc<Packet>>,
    sessions: Arc<Mutex<HashMap<u64, Arc<dyn PeerConnection>>>>,
    next: Arc<AtomicU64>,
    ssrc: Arc<AtomicU32>,
}

fn main() -> Result<(), Failure> {
    let http: SocketAddr = std::env::args()
        .nth(1)
        .map_or(Ok(([127, 0, 0, 1], 0).into()), |text| text.parse())?;
    let room = Room {
        packets: broadcast::channel(BACKLOG).0,
        sessions: Arc::default(),
        next: Arc::default(),
        ssrc: Arc::new(AtomicU32::new(1000)),
    };
    let router = Router::new()
        .route("/whip", post(publish))
        .route("/whep", post(watch))
        .route("/session/{id}", delete(leave))
        .with_state(room);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(http).await?;
            println!("{}", listener.local_addr()?);
            Ok(axum::serve(listener, router).await?)
        })
}

async fn publish(State(room): State<Room>, offer: String) -> Response {
    respond(published(&room, offer).await)
}

async fn watch(State(room): State<Room>, offer: String) -> Response {
    respond(watched(&room, offer).await)
}

async fn leave(State(room): State<Room>, Path(id): Path<u64>) -> StatusCode {
    let left = sessions(&room).remove(&id);
    if let Some(connection) = left {
        let _ = connection.close().await;
    }
    StatusCode::OK
}

fn sessions(room: &Room) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<dyn PeerConnection>>> {
    room.sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(answered: Result<(u64, String), Failure>) -> Response {
    match answered {
        Ok((id, answer)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/sdp".to_owned()),
                (header::LOCATION, format!("/session/{id}")),
            ];
            (StatusCode::CREATED, headers, answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

type Connection = (Arc<dyn PeerConnection>, mpsc::UnboundedReceiver<()>);

async fn connection(room: &Room, offer: &str) -> Result<Connection, Failure> {
    let (gathered, all) = mpsc::unbounded_channel();
    let kinds = [RtpCodecKind::Audio, RtpCodecKind::Video].into_iter();
    let ear = Ear {
        gathered,
        sends: kinds
            .filter_map(|kind| Some((kind, payload_type(offer, kind)?)))
            .collect(),
        packets: room.packets.clone(),
    };
    let mut media = MediaEngine::default();
    media.register_default_codecs()?;
    let registry = register_default_interceptors(Registry::new(), &mut media)?;
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(ear))
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await?;
    Ok((Arc::new(connection), all))
}

async fn answered(
    room: &Room,
    (connection, mut gathered): Connection,
    offer: String,
) -> Result<(u64, String), Failure> {
    let offer = RTCSessionDescription::offer(offer)?;
    connection.set_remote_description(offer).await?;
    let answer = connection.create_answer(None).await?;
    connection.set_local_description(answer).await?;
    gathered.recv().await;
    let answer = connection.local_description().await;
    let answer = answer.ok_or("there is no answer")?.sdp;
    let id = room.next.fetch_add(1, Ordering::Relaxed);
    sessions(room).insert(id, connection);
    Ok((id, answer))
}

async fn published(room: &Room, offer: String) -> Result<(u64, String), Failure> {
    let (connection, gathered) = connection(room, &offer).await?;
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..Default::default()
        };
        connection
            .add_transceiver_from_kind(kind, Some(init))
            .await?;
    }
    answered(room, (connection, gathered), offer).await
}

async fn watched(room: &Room, offer: String) -> Result<(u64, String), Failure> {
    let (connection, gathered) = connection(room, &offer).await?;
    let opus = RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        ..Default::default()
    };
    let vp8 = RTCRtpCodec {
        mime_type: MIME_TYPE_VP8.to_owned(),
        clock_rate: 90_000,
        ..Default::default()
    };
    let mut tracks = Vec::new();
    for (kind, codec) in [(RtpCodecKind::Audio, opus), (RtpCodecKind::Video, vp8)] {
        let ssrc = room.ssrc.fetch_add(1, Ordering::Relaxed);
        let track = track(kind, codec, ssrc);
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            ..Default::default()
        };
        let local = track.clone() as Arc<dyn TrackLocal>;
        connection
            .add_transceiver_from_track(local, Some(init))
            .await?;
        tracks.push((kind, payload_type(&offer, kind), track, ssrc));
    }
    let mut packets = room.packets.subscribe();
    let weak = Arc::downgrade(&connection);
    let answer = answered(room, (connection, gathered), offer).await?;
    tokio::spawn(async move {
        loop {
            let packet = match packets.recv().await {
                Ok(packet) => packet,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if weak.strong_count() == 0 {
                return;
            }
            let (kind, packet) = &*packet;
            let of_kind = tracks.iter().find(|one| one.0 == *kind);
            if let Some((_, Some(payload_type), track, ssrc)) = of_kind {
                let mut packet = packet.clone();
                packet.header.ssrc = *ssrc;
                packet.header.payload_type = *payload_type;
                packet.header.extension = false;
                packet.header.extensions.clear();
                // Not before it is connected.
                let _ = track.write_rtp(packet).await;
            }
        }
    });
    Ok(answer)
}

/// What the offer calls Opus and VP8.
fn payload_type(offer: &str, kind: RtpCodecKind) -> Option<u8> {
    let name = match kind {
        RtpCodecKind::Audio => " opus/48000/2",
        _ => " VP8/90000",
    };
    let mut maps = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:"));
    maps.find_map(|map| map.strip_suffix(name)?.parse().ok())
}

fn track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let name = || "camera".to_owned();
    let track = MediaStreamTrack::new(name(), name(), format!("{ssrc}"), kind, vec![encoding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}
