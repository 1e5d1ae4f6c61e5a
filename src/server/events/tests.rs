//! What is told, and how streams carry it.

use futures_util::StreamExt;

use serde_json::json;

use super::frame::Kind;
use super::*;
use crate::broadcast::Departure;
use crate::ids::Role;
use crate::peer::{Agreed, Group, Profile, Version};
use crate::server::Mode;
use crate::server::nodes::Node;

fn text(frame: &Frame) -> &str {
    std::str::from_utf8(&frame.text).expect("text")
}

#[test]
fn each_kind_stands_at_its_place_in_the_list_of_names() {
    for (place, (kind, _)) in Kind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, place);
    }
    let names: Vec<&str> = Kind::ALL.iter().map(|(_, name)| *name).collect();
    assert_eq!(names.join(","), Kinds::NAMES);
    assert_eq!(
        Kinds::OWN.names(),
        "hello,connected,handshake,source,gone,unheard,nodes,spread"
    );
    assert_eq!(
        Kinds::SHARED.names(),
        "hello,connected,handshake,source,gone,unheard,nodes,spread,disconnected"
    );
}

#[test]
fn unknown_names_are_left_out_of_a_subscription() {
    let kinds = Kinds::named(["source", "layers", "gone"]);
    assert!(kinds.has(Kind::Source) && kinds.has(Kind::Gone) && !kinds.has(Kind::Hello));
    assert!(Kinds::named(["viewercount"]).is_empty());
}

#[test]
fn an_event_is_a_name_and_one_line_of_json() {
    let took = Duration::from_micros(12_345);
    assert_eq!(
        text(&Frame::connected(true, took, None)),
        "event: connected\ndata: {\"keys\":null,\"resumed\":true,\"took_ms\":12}\n\n"
    );
    let agreed = Agreed {
        version: Version::Dtls13,
        group: Some(Group::X25519MlKem768),
        profile: Profile::AeadAes256Gcm,
    };
    let keys = json!({
        "dtls": "DTLS 1.3",
        "group": "X25519MLKEM768",
        "srtp": "AES-256-GCM",
        "post_quantum": true,
    });
    assert!(
        text(&Frame::connected(false, took, Some(agreed))).contains(&format!("\"keys\":{keys}"))
    );
    let [source, draft] = Frame::source(false, &[]);
    assert_eq!(
        text(&source),
        "event: source\ndata: {\"live\":false,\"streams\":[]}\n\n"
    );
    assert_eq!(text(&draft), "event: inactive\ndata: {}\n\n");
    assert_eq!(
        text(&Frame::unheard(true)),
        "event: unheard\ndata: {\"after_ms\":8000,\"unheard\":true}\n\n"
    );
    assert_eq!(
        text(&Frame::spread(took)),
        "event: spread\ndata: {\"spread_ms\":12}\n\n"
    );
    let hello = Hello {
        boot: 3,
        process: "0123456789abcdef",
        mode: Mode::Rehandshake,
        role: Role::Viewer,
        fingerprint: "sha-512 00",
        connected: false,
        agreed: Some(agreed),
        handshaking: true,
        unheard: false,
        patience: Duration::from_millis(12),
        spread: Duration::from_micros(33_300),
        source: true,
        streams: &[],
        media: &["192.0.2.1:8189".parse().expect("an address")],
        nodes: &[],
    };
    let lone = Frame::hello(&hello);
    assert!(!text(&lone).contains("nodes"), "there are none to tell of");
    let node = Node::new(
        "https://b.example",
        vec!["[2001:db8::1]:1".parse().expect("an address")],
    );
    let nodes = [node.expect("a node")];
    let hello = Hello {
        nodes: &nodes,
        ..hello
    };
    let others = json!([{ "url": "https://b.example", "media": ["[2001:db8::1]:1"] }]);
    assert_eq!(
        text(&Frame::nodes(&nodes)),
        format!("event: nodes\ndata: {}\n\n", json!({ "nodes": others }))
    );
    let hello = Frame::hello(&hello);
    let lines: Vec<&str> = text(&hello).lines().collect();
    assert_eq!(lines[..2], ["retry: 500", "event: hello"]);
    let data: serde_json::Value = serde_json::from_str(&lines[2]["data: ".len()..]).expect("JSON");
    assert_eq!(data["boot"], 3);
    assert_eq!(data["process"], "0123456789abcdef");
    assert_eq!(data["mode"], "rehandshake");
    assert_eq!(data["role"], "viewer");
    assert_eq!(data["keys"], keys);
    assert_eq!(data["source"], true);
    assert_eq!(data["handshaking"], true);
    assert_eq!(data["unheard"], false);
    assert_eq!(data["patience_ms"], 12);
    assert_eq!(data["spread_ms"], 33);
    assert_eq!(data["media"], json!(["192.0.2.1:8189"]));
    assert_eq!(data["nodes"], others);
}

#[tokio::test(start_paused = true)]
async fn a_stream_carries_what_was_asked_for_beats_when_idle_and_ends_with_its_sender() {
    let (tap, mut stream) = EventStream::new(1, Kinds::named(["gone"]));
    assert!(tap.tell(&Frame::source(true, &[])));
    assert!(tap.tell(&[Frame::gone(Departure::Left)]));
    let first = stream.next().await.expect("an event").expect("infallible");
    assert!(first.starts_with(b"event: gone"));
    assert_eq!(
        stream
            .next()
            .await
            .expect("a heartbeat")
            .expect("infallible")
            .as_ref(),
        b":\n\n"
    );
    drop(tap);
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn sessions_that_share_a_stream_are_told_apart_and_one_event_too_many_ends_it_for_all() {
    let (tap, mut stream) = EventStream::new(2, Kinds::SHARED);
    let (a, b) = (tap.of("a"), tap.of("b"));
    drop(tap);
    assert!(a.tell(&[Frame::disconnected()]) && b.tell(&[Frame::unknown()]));
    let mut next = async || stream.next().await.map(|text| text.expect("infallible"));
    let text = "session: a\nevent: disconnected\ndata: {}\n\n";
    assert_eq!(next().await.as_deref(), Some(text.as_bytes()));
    let text = "session: b\nevent: gone\ndata: {\"reason\":\"unknown-session\"}\n\n";
    assert_eq!(next().await.as_deref(), Some(text.as_bytes()));
    let told = (0..100)
        .take_while(|_| a.tell(&[Frame::handshake()]))
        .count();
    assert_eq!(told, BACKLOG + OPENING);
    assert!(b.is_closed(), "what it is told would come after a gap");
    assert_eq!(next().await, None);
}
