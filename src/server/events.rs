//! A session's events, as server-sent events (HTML Living Standard §9.2), announced as the WHEP
//! drafts do.
//!
//! The end of the stream is the fastest way for a page to learn that the server is gone: the kernel
//! closes the connection when the process dies.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::broadcast::{Departure, UNHEARD};
use crate::ids::Role;
use crate::peer::Agreed;
use crate::sdp;

use super::Mode;

/// How often an idle stream says that it is alive, for proxies that close silent connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that a slow client may be behind; a stream that falls further back is ended, and the page
/// opens a new one.
pub(super) const BACKLOG: usize = 16;
/// Events that a session opens with, and the next ones: they come for all sessions of a stream at
/// once.
const OPENING: usize = 6;
/// How long a page's EventSource waits until it connects anew, in milliseconds. It finds a
/// restarted server quickly, and ten thousand of them do not drown one that is starting.
const RETRY: u32 = 500;

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first event of every stream.
    Hello,
    /// Fresh keys are in use.
    Connected,
    /// A ClientHello has come, and a handshake has begun.
    Handshake,
    /// The channel's source came or went.
    Source,
    /// The session has ended.
    Gone,
    /// No ICE check of this new peer's has come in time, or one has come after all.
    Unheard,
    /// The channel's source came (the WHEP drafts' name).
    Active,
    /// The channel's source went (the WHEP drafts' name).
    Inactive,
    /// Keys are not in use any more. Said in a stream that other sessions share; a stream of the
    /// session's own ends.
    Disconnected,
}

impl Kind {
    /// All, by name.
    const ALL: [(Kind, &str); 9] = [
        (Kind::Hello, "hello"),
        (Kind::Connected, "connected"),
        (Kind::Handshake, "handshake"),
        (Kind::Source, "source"),
        (Kind::Gone, "gone"),
        (Kind::Unheard, "unheard"),
        (Kind::Active, "active"),
        (Kind::Inactive, "inactive"),
        (Kind::Disconnected, "disconnected"),
    ];

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of kinds that a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// What a stream carries unless asked otherwise: this server's own events.
    pub(super) const OWN: Kinds = Kinds(0b0_0011_1111);

    /// What a stream of several sessions carries.
    pub(super) const SHARED: Kinds = Kinds(0b1_0011_1111);

    /// Names as in a `Link` header: what can be subscribed to.
    pub(super) const NAMES: &str =
        "hello,connected,handshake,source,gone,unheard,active,inactive,disconnected";

    /// The kinds of these names; names that are not known are left out.
    pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = names
            .into_iter()
            .filter_map(|name| Kind::ALL.iter().find(|(_, known)| *known == name));
        Self(known.fold(0, |set, (kind, _)| set | kind.bit()))
    }

    /// The names of this set, in one text.
    pub(super) fn names(self) -> String {
        let names: Vec<&str> = Kind::ALL
            .iter()
            .filter(|(kind, _)| self.has(*kind))
            .map(|(_, name)| *name)
            .collect();
        names.join(",")
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// An event as it is sent. Cheap to clone: one text for all streams.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    text: Bytes,
}

/// What the first event of a stream says.
pub(super) struct Hello<'a> {
    pub boot: u64,
    /// Another in every process, also where two have the same boot number because the first was
    /// killed before its own was durable.
    pub process: &'a str,
    pub mode: Mode,
    pub role: Role,
    pub fingerprint: &'a str,
    pub connected: bool,
    /// How the keys in use were agreed on, unless they were taken over.
    pub agreed: Option<Agreed>,
    /// A handshake has begun since the last one was completed.
    pub handshaking: bool,
    /// It is new, and no ICE check has come in time.
    pub unheard: bool,
    /// What the handshakes of all who have no keys take the server together: for so long one may be
    /// late.
    pub patience: Duration,
    pub source: bool,
    pub streams: &'a [sdp::Stream],
}

/// The publisher's streams, so that a page can name them in the description it applies.
fn streams_json(streams: &[sdp::Stream]) -> Vec<serde_json::Value> {
    let stream = |s: &sdp::Stream| {
        let (kind, ssrc, rtx) = (s.kind.to_string(), s.ssrc.media, s.ssrc.rtx);
        json!({ "kind": kind, "ssrc": ssrc, "rtx": rtx })
    };
    streams.iter().map(stream).collect()
}

/// How keys were agreed on, in words for people.
fn keys_json(agreed: Option<Agreed>) -> serde_json::Value {
    let keys = |agreed: Agreed| {
        json!({
            "dtls": agreed.version.name(),
            "group": agreed.group_name(),
            "srtp": agreed.profile.name(),
            "post_quantum": agreed.is_post_quantum(),
        })
    };
    agreed.map_or(serde_json::Value::Null, keys)
}

impl Frame {
    fn new(kind: Kind, data: &serde_json::Value) -> Self {
        let (_, name) = Kind::ALL[kind as usize];
        Self {
            kind,
            text: format!("event: {name}\ndata: {data}\n\n").into(),
        }
    }

    pub(super) fn hello(hello: &Hello<'_>) -> Self {
        let data = json!({
            "boot": hello.boot,
            "process": hello.process,
            "mode": hello.mode.name(),
            "role": match hello.role { Role::Publisher => "publisher", Role::Viewer => "viewer" },
            "fingerprint": hello.fingerprint,
            "connected": hello.connected,
            "keys": keys_json(hello.agreed),
            "handshaking": hello.handshaking,
            "unheard": hello.unheard,
            "patience_ms": u64::try_from(hello.patience.as_millis()).unwrap_or(u64::MAX),
            "source": hello.source,
            "streams": streams_json(hello.streams),
        });
        let frame = Self::new(Kind::Hello, &data);
        let retry = format!("retry: {RETRY}\n").into_bytes();
        Self {
            kind: frame.kind,
            text: [retry.as_slice(), &frame.text].concat().into(),
        }
    }

    pub(super) fn handshake() -> Self {
        Self::new(Kind::Handshake, &json!({}))
    }

    pub(super) fn connected(resumed: bool, took: Duration, agreed: Option<Agreed>) -> Self {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self::new(
            Kind::Connected,
            &json!({ "resumed": resumed, "took_ms": took_ms, "keys": keys_json(agreed) }),
        )
    }

    /// The channel's source: in this server's words, and in those of the WHEP drafts.
    pub(super) fn source(live: bool, streams: &[sdp::Stream]) -> [Self; 2] {
        let draft = if live { Kind::Active } else { Kind::Inactive };
        [
            Self::new(
                Kind::Source,
                &json!({ "live": live, "streams": streams_json(streams) }),
            ),
            Self::new(draft, &json!({})),
        ]
    }

    /// Whether packets of a new peer's are missed; how long they were waited for before that was
    /// said.
    pub(super) fn unheard(unheard: bool) -> Self {
        let after_ms = u64::try_from(UNHEARD.as_millis()).unwrap_or(u64::MAX);
        Self::new(
            Kind::Unheard,
            &json!({ "unheard": unheard, "after_ms": after_ms }),
        )
    }

    pub(super) fn gone(why: Departure) -> Self {
        Self::new(Kind::Gone, &json!({ "reason": reason(why) }))
    }

    /// There is no such session.
    pub(super) fn unknown() -> Self {
        Self::new(Kind::Gone, &json!({ "reason": "unknown-session" }))
    }

    pub(super) fn disconnected() -> Self {
        Self::new(Kind::Disconnected, &json!({}))
    }
}

/// A departure's name, for pages and for metrics.
pub(super) const fn reason(why: Departure) -> &'static str {
    match why {
        Departure::Left => "left",
        Departure::Silent => "silent",
        Departure::NoRehandshake => "no-rehandshake",
        Departure::Replaced => "replaced",
        Departure::NoHandshake => "no-handshake",
        Departure::NotPostQuantum => "not-post-quantum",
    }
}

/// What a stream is told: an event, and before it, where several sessions share the stream, a line
/// that names the session.
pub(super) struct Told {
    session: Option<Bytes>,
    pub(super) frame: Frame,
}

/// A session's end of an event stream.
#[derive(Clone)]
pub(super) struct Tap {
    frames: mpsc::Sender<Told>,
    session: Option<Bytes>,
    /// The client has fallen behind: the whole stream ends, since nobody could tell what is
    /// missing.
    behind: Arc<AtomicBool>,
}

impl Tap {
    /// The same stream, for the session with this id.
    pub(super) fn of(&self, id: &str) -> Self {
        Self {
            session: Some(format!("session: {id}\n").into()),
            ..self.clone()
        }
    }

    /// Whether other sessions may share the stream.
    pub(super) fn is_shared(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed() || self.behind.load(Ordering::Relaxed)
    }

    /// Hands frames in; false once that is of no use any more.
    pub(super) fn tell(&self, frames: &[Frame]) -> bool {
        let told = |frame: &Frame| Told {
            session: self.session.clone(),
            frame: frame.clone(),
        };
        let all = !self.is_closed()
            && frames
                .iter()
                .all(|frame| self.frames.try_send(told(frame)).is_ok());
        if !all {
            self.behind.store(true, Ordering::Relaxed);
        }
        all
    }
}

/// The body of an event stream: ends when all its sessions do, when the server stops, and when the
/// client falls behind.
pub(super) struct EventStream {
    frames: mpsc::Receiver<Told>,
    behind: Arc<AtomicBool>,
    kinds: Kinds,
    heartbeat: Interval,
}

impl EventStream {
    /// A stream for so many sessions, and what they are to be told by.
    pub(super) fn new(sessions: usize, kinds: Kinds) -> (Tap, Self) {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Each opens with some events, all at once.
        let (sender, frames) = mpsc::channel(BACKLOG + OPENING * sessions.saturating_sub(1));
        let behind = Arc::<AtomicBool>::default();
        let tap = Tap {
            frames: sender,
            session: None,
            behind: behind.clone(),
        };
        let stream = Self {
            frames,
            behind,
            kinds,
            heartbeat,
        };
        (tap, stream)
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Poll::Ready(told) = self.frames.poll_recv(cx) {
            if self.behind.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            match told {
                Some(Told { session, frame }) if self.kinds.has(frame.kind) => {
                    let text = session.map_or(frame.text.clone(), |session| {
                        [session, frame.text].concat().into()
                    });
                    return Poll::Ready(Some(Ok(text)));
                }
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
        match self.heartbeat.poll_tick(cx) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n")))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::peer::{Group, Profile, Version};

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
            "hello,connected,handshake,source,gone,unheard"
        );
        assert_eq!(
            Kinds::SHARED.names(),
            "hello,connected,handshake,source,gone,unheard,disconnected"
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
            text(&Frame::connected(false, took, Some(agreed)))
                .contains(&format!("\"keys\":{keys}"))
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
            source: true,
            streams: &[],
        };
        let hello = Frame::hello(&hello);
        let lines: Vec<&str> = text(&hello).lines().collect();
        assert_eq!(lines[..2], ["retry: 500", "event: hello"]);
        let data: serde_json::Value =
            serde_json::from_str(&lines[2]["data: ".len()..]).expect("JSON");
        assert_eq!(data["boot"], 3);
        assert_eq!(data["process"], "0123456789abcdef");
        assert_eq!(data["mode"], "rehandshake");
        assert_eq!(data["role"], "viewer");
        assert_eq!(data["keys"], keys);
        assert_eq!(data["source"], true);
        assert_eq!(data["handshaking"], true);
        assert_eq!(data["unheard"], false);
        assert_eq!(data["patience_ms"], 12);
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
}
