//! A WHIP and WHEP server of another make: the crate `webrtc`, and as much HTTP as it takes. It
//! forwards RTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use rekindle_testing::other_stack::{self, Network};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RtpCodecKind};
use tokio::sync::{broadcast, mpsc};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionEventHandler, RTCIceGatheringState, RTCSessionDescription,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

/// What a connection of the server's does.
struct Ear {
    gathered: mpsc::UnboundedSender<()>,
    packets: broadcast::Sender<rtc::rtp::Packet>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Ear {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.send(());
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let packets = self.packets.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = packets.send(packet);
                }
            }
        });
    }
}

/// The server's only channel.
#[derive(Clone)]
struct Room {
    packets: broadcast::Sender<rtc::rtp::Packet>,
    /// What lives as long as the server.
    kept: Arc<Mutex<Vec<Arc<dyn PeerConnection>>>>,
    /// The last answer.
    answer: Arc<Mutex<String>>,
}

/// The server: its address, and the last answer that it has given.
pub struct OtherServer {
    pub address: SocketAddr,
    pub answer: Arc<Mutex<String>>,
}

impl OtherServer {
    /// Starts it on a port of its own.
    pub async fn start() -> Self {
        let room = Room {
            packets: broadcast::channel(1024).0,
            kept: Arc::default(),
            answer: Arc::default(),
        };
        let answer = room.answer.clone();
        let router = Router::new()
            .route("/whip", post(publish))
            .route("/whep", post(watch))
            .route("/session", delete(|| async { StatusCode::OK }))
            .with_state(room);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, answer }
    }
}

async fn connection(room: &Room) -> (Arc<dyn PeerConnection>, mpsc::UnboundedReceiver<()>) {
    let (gathered, all) = mpsc::unbounded_channel();
    let ear = Ear {
        gathered,
        packets: room.packets.clone(),
    };
    let connection = other_stack::connection(Arc::new(ear), Network::Udp).await;
    room.kept
        .lock()
        .expect("not poisoned")
        .push(connection.clone());
    (connection, all)
}

async fn answered(
    room: &Room,
    connection: &Arc<dyn PeerConnection>,
    mut gathered: mpsc::UnboundedReceiver<()>,
    offer: String,
) -> Response {
    let offer = RTCSessionDescription::offer(offer).expect("an offer");
    connection
        .set_remote_description(offer)
        .await
        .expect("taken");
    let answer = connection.create_answer(None).await.expect("an answer");
    connection
        .set_local_description(answer)
        .await
        .expect("taken");
    gathered.recv().await;
    let answer = connection.local_description().await.expect("an answer").sdp;
    room.answer
        .lock()
        .expect("not poisoned")
        .clone_from(&answer);
    let headers = [
        (header::CONTENT_TYPE, "application/sdp"),
        (header::LOCATION, "/session"),
    ];
    (StatusCode::CREATED, headers, answer).into_response()
}

async fn publish(State(room): State<Room>, offer: String) -> Response {
    let (connection, gathered) = connection(&room).await;
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..Default::default()
        };
        connection
            .add_transceiver_from_kind(kind, Some(init))
            .await
            .expect("a section");
    }
    answered(&room, &connection, gathered, offer).await
}

async fn watch(State(room): State<Room>, offer: String) -> Response {
    // Of the benchmark's offers: what its publisher sends VP8 as, and its viewers take it as.
    const SENT: u8 = 96;
    let (connection, gathered) = connection(&room).await;
    let mut tracks = Vec::new();
    for (kind, mime, rate, channels, ssrc) in [
        (
            RtpCodecKind::Audio,
            MIME_TYPE_OPUS,
            48_000,
            2,
            0x0A0D_0001_u32,
        ),
        (RtpCodecKind::Video, MIME_TYPE_VP8, 90_000, 0, 0x0A0D_0002),
    ] {
        let codec = RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate: rate,
            channels,
            ..Default::default()
        };
        let track = other_stack::track(kind, codec, ssrc);
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            ..Default::default()
        };
        connection
            .add_transceiver_from_track(track.clone() as Arc<dyn TrackLocal>, Some(init))
            .await
            .expect("a track");
        tracks.push((track, ssrc));
    }
    let mut packets = room.packets.subscribe();
    let answer = answered(&room, &connection, gathered, offer).await;
    tokio::spawn(async move {
        loop {
            let mut packet = match packets.recv().await {
                Ok(packet) => packet,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            let video = usize::from(packet.header.payload_type == SENT);
            let (track, ssrc) = &tracks[video];
            packet.header.ssrc = *ssrc;
            packet.header.payload_type = if video == 1 {
                100
            } else {
                packet.header.payload_type
            };
            packet.header.extension = false;
            packet.header.extensions.clear();
            // Not before it is connected; and for good once it is gone.
            let _ = track.write_rtp(packet).await;
        }
    });
    answer
}
