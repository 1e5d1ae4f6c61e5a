//! Another WebRTC stack, the crate `webrtc`: its connections and tracks, as clients and servers of
//! the tests make them.

use std::sync::Arc;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceCandidateInit, RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::runtime::TokioRuntime;

/// What a connection's network passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Datagrams.
    Udp,
    /// Connections only.
    Tcp,
}

/// A connection on loopback with the stack's own codecs.
pub async fn connection(
    handler: Arc<dyn PeerConnectionEventHandler>,
    network: Network,
) -> Arc<dyn PeerConnection> {
    let mut media = MediaEngine::default();
    media.register_default_codecs().expect("codecs");
    let registry =
        register_default_interceptors(Registry::new(), &mut media).expect("interceptors");
    let builder = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_handler(handler)
        .with_runtime(Arc::new(TokioRuntime));
    let here = vec!["127.0.0.1:0"];
    let builder = match network {
        Network::Udp => builder.with_udp_addrs(here),
        Network::Tcp => builder.with_tcp_addrs(here),
    };
    Arc::new(builder.build().await.expect("a connection"))
}

/// Gives a connection the server's answer. The stack opens connections only to candidates that it
/// is given one by one.
pub async fn accept(connection: &dyn PeerConnection, answer: &str, network: Network) {
    let candidate = |line: &str| line.starts_with("a=candidate:");
    let passes = |line: &str| match network {
        Network::Udp => true,
        Network::Tcp => !candidate(line),
    };
    let lines = answer.split_inclusive('\n').filter(|line| passes(line));
    let description = RTCSessionDescription::answer(lines.collect()).expect("an answer");
    connection
        .set_remote_description(description)
        .await
        .expect("taken");
    let over_tcp = |line: &&str| line.contains(" tcp ") && candidate(line);
    let first = answer.lines().find(over_tcp);
    if let Some(line) = first.filter(|_| network == Network::Tcp) {
        let candidate = RTCIceCandidateInit {
            candidate: line["a=".len()..].to_owned(),
            ..Default::default()
        };
        connection
            .add_ice_candidate(candidate)
            .await
            .expect("a candidate");
    }
}

/// A track to send of one codec on one SSRC.
pub fn track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
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
