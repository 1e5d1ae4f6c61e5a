//! Another implementation as the client: the crate `webrtc`, an independent WebRTC stack (its own
//! ICE, DTLS 1.2 and SRTP), publishes and watches. It cannot run DTLS again on a live connection,
//! so after a restart it does what plain WHIP and WHEP clients do: it notices that nothing comes
//! any more, and makes a new session.

mod running;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_testing::other_stack::{self, Network};
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_VP8;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RtpCodecKind};
use running::{PATIENCE, Server, header, rekindle, text};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

/// A client that has heard nothing for so long takes the server for gone.
const SILENCE: Duration = Duration::from_secs(1);
/// What the test's video consists of, so that a packet is known again on the other side.
const MARK: &[u8] = b"a frame of the test";

/// What a connection tells.
#[derive(Debug)]
enum Said {
    Gathered,
    Connected,
    Packet { sequence: u16, payload: Vec<u8> },
}

struct Ear(mpsc::UnboundedSender<Said>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Ear {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.0.send(Said::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            let _ = self.0.send(Said::Connected);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let said = self.0.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let sequence = packet.header.sequence_number;
                    let payload = packet.payload.to_vec();
                    let _ = said.send(Said::Packet { sequence, payload });
                }
            }
        });
    }
}

struct Client {
    connection: Arc<dyn PeerConnection>,
    said: mpsc::UnboundedReceiver<Said>,
    /// Its session's path.
    session: String,
    network: Network,
}

impl Client {
    async fn new(network: Network) -> Self {
        let (sender, said) = mpsc::unbounded_channel();
        let connection = other_stack::connection(Arc::new(Ear(sender)), network).await;
        Self {
            connection,
            said,
            session: String::new(),
            network,
        }
    }

    async fn next(&mut self, what: &str) -> Said {
        let said = timeout(PATIENCE, self.said.recv()).await;
        said.unwrap_or_else(|_| panic!("after {PATIENCE:?} still not: {what}"))
            .expect("the connection lives")
    }

    /// Joins by WHIP or WHEP and waits until keys are there. A channel without a publisher is asked
    /// for again, as its answer says.
    async fn join(&mut self, server: &Server, path: &str) {
        let offer = self.connection.create_offer(None).await.expect("an offer");
        self.connection
            .set_local_description(offer)
            .await
            .expect("taken");
        while !matches!(self.next("all candidates").await, Said::Gathered) {}
        let offer = self
            .connection
            .local_description()
            .await
            .expect("an offer")
            .sdp;
        let deadline = Instant::now() + PATIENCE;
        let mut answer = loop {
            let mut answer = server.offer(path, &offer);
            match answer.status().as_u16() {
                201 => break answer,
                409 if Instant::now() < deadline => {
                    assert!(
                        header(&answer, "retry-after")
                            .parse::<u64>()
                            .is_ok_and(|wait| wait > 0)
                    );
                    sleep(Duration::from_millis(200)).await;
                }
                status => panic!("{path}: {status} {}", text(&mut answer)),
            }
        };
        self.session = header(&answer, "location").to_owned();
        other_stack::accept(&*self.connection, &text(&mut answer), self.network).await;
        while !matches!(self.next("connected").await, Said::Connected) {}
    }
}

struct Publisher {
    client: Client,
    sending: JoinHandle<()>,
}

impl Publisher {
    async fn start(server: &Server, channel: &str, network: Network) -> Self {
        const SSRC: u32 = 0x5EED_0001;
        let codec = RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            ..Default::default()
        };
        let track = other_stack::track(RtpCodecKind::Video, codec, SSRC);
        let mut client = Client::new(network).await;
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            ..Default::default()
        };
        client
            .connection
            .add_transceiver_from_track(track.clone() as Arc<dyn TrackLocal>, Some(init))
            .await
            .expect("a track");
        client.join(server, &format!("/whip/{channel}")).await;
        let sending = tokio::spawn(async move {
            for number in 0_u32.. {
                let mut packet = rtp::Packet::default();
                packet.header.version = 2;
                packet.header.marker = true;
                packet.header.payload_type = 96;
                packet.header.sequence_number = 65_500_u16.wrapping_add(number as u16);
                packet.header.timestamp = number.wrapping_mul(3000);
                packet.header.ssrc = SSRC;
                // A VP8 payload descriptor, and a payload header that says key frame (RFC 7741
                // §4.2, §4.3).
                packet.payload = [&[0x10, 0x00], MARK].concat().into();
                if track.write_rtp(packet).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { client, sending }
    }

    async fn stop(self) {
        self.sending.abort();
        let _ = self.client.connection.close().await;
    }
}

struct Viewer(Client);

impl Viewer {
    async fn start(server: &Server, channel: &str, network: Network) -> Self {
        let mut client = Client::new(network).await;
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..Default::default()
        };
        client
            .connection
            .add_transceiver_from_kind(RtpCodecKind::Video, Some(init))
            .await
            .expect("a section");
        client.join(server, &format!("/whep/{channel}")).await;
        Self(client)
    }

    /// Waits for so many packets, which are the publisher's own, each with the number after the one
    /// before.
    async fn watch(&mut self, packets: usize) {
        let mut last: Option<u16> = None;
        let mut seen = 0;
        while seen < packets {
            let Said::Packet { sequence, payload } = self.0.next("a packet").await else {
                continue;
            };
            // The probe at the end of a frame, and padding, carry nothing.
            if payload.is_empty() {
                continue;
            }
            assert!(payload.ends_with(MARK), "not what was sent: {payload:02x?}");
            if let Some(last) = last {
                assert_eq!(sequence, last.wrapping_add(1));
            }
            last = Some(sequence);
            seen += 1;
        }
    }

    /// Waits until nothing has come for [`SILENCE`].
    async fn notices_silence(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while timeout(SILENCE, self.0.said.recv()).await.is_ok() {
            assert!(Instant::now() < deadline, "packets of a dead server");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_publishes_watches_and_comes_back_with_new_sessions_after_a_kill() {
    publishes_watches_and_comes_back(Network::Udp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_does_the_same_over_tcp() {
    publishes_watches_and_comes_back(Network::Tcp).await;
}

async fn publishes_watches_and_comes_back(network: Network) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--ice-tcp"]);
    let publisher = Publisher::start(&server, "lobby", network).await;
    let mut viewer = Viewer::start(&server, "lobby", network).await;
    viewer.watch(50).await;

    let server = server.kill_and_start_again_as(rekindle(folder.path()).arg("--ice-tcp"));
    assert_eq!(server.ready["boot"], 2);
    viewer.notices_silence().await;
    // It leaves the old session before it makes a new one, as RFC 9725 has it, unless the server
    // has let go of it already, which cannot be renewed by such a client; the channel is free at
    // once.
    let old = publisher.client.session.clone();
    publisher.stop().await;
    let left = server.delete(&old).status().as_u16();
    assert!(matches!(left, 200 | 404), "{left}");
    let publisher = Publisher::start(&server, "lobby", network).await;
    assert_ne!(publisher.client.session, old);

    // This one just goes away.
    let old = viewer.0.session.clone();
    let _ = viewer.0.connection.close().await;
    let mut viewer = Viewer::start(&server, "lobby", network).await;
    assert_ne!(viewer.0.session, old);
    viewer.watch(50).await;
    publisher.stop().await;
}
