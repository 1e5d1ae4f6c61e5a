//! The kinds of events, and each event in the form in which it is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::super::Mode;
use super::super::nodes::Node;
use super::RETRY;
use crate::broadcast::{Departure, UNHEARD};
use crate::ids::Role;
use crate::peer::Agreed;
use crate::sdp;

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// The first event of every stream.
    Hello,
    /// Fresh keys are in use.
    Connected,
    /// A ClientHello has arrived, and a handshake has begun.
    Handshake,
    /// The channel's source started or ended.
    Source,
    /// The session has ended.
    Gone,
    /// No ICE check of this new peer has arrived in time, or one has arrived later.
    Unheard,
    /// Other servers may have the session from now on.
    Nodes,
    /// After a restart, pages are to come back this far apart.
    Spread,
    /// The channel's source started (the WHEP drafts' name).
    Active,
    /// The channel's source ended (the WHEP drafts' name).
    Inactive,
    /// Keys are no longer in use. Sent only on a stream that several sessions share; a stream of
    /// one session ends instead.
    Disconnected,
}

impl Kind {
    /// All, by name.
    pub(super) const ALL: [(Kind, &str); 11] = [
        (Kind::Hello, "hello"),
        (Kind::Connected, "connected"),
        (Kind::Handshake, "handshake"),
        (Kind::Source, "source"),
        (Kind::Gone, "gone"),
        (Kind::Unheard, "unheard"),
        (Kind::Nodes, "nodes"),
        (Kind::Spread, "spread"),
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
pub(in crate::server) struct Kinds(u16);

impl Kinds {
    /// The default kinds of a stream: this server's own events.
    pub(in crate::server) const OWN: Kinds = Kinds(0b000_1111_1111);

    /// What a stream of several sessions carries.
    pub(in crate::server) const SHARED: Kinds = Kinds(0b100_1111_1111);

    /// Names as in a `Link` header: what can be subscribed to.
    pub(in crate::server) const NAMES: &str = "hello,connected,handshake,source,gone,unheard,\
                                               nodes,spread,active,inactive,disconnected";

    /// The kinds with these names; unknown names are ignored.
    pub(in crate::server) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = names
            .into_iter()
            .filter_map(|name| Kind::ALL.iter().find(|(_, known)| *known == name));
        Self(known.fold(0, |set, (kind, _)| set | kind.bit()))
    }

    /// The names of this set, as one text.
    pub(in crate::server) fn names(self) -> String {
        let names: Vec<&str> = Kind::ALL
            .iter()
            .filter(|(kind, _)| self.has(*kind))
            .map(|(_, name)| *name)
            .collect();
        names.join(",")
    }

    pub(in crate::server) fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub(in crate::server) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// An event in the form in which it is sent. Cheap to clone: one text for all streams.
#[derive(Clone, Debug)]
pub(in crate::server) struct Frame {
    pub(in crate::server) kind: Kind,
    pub(super) text: Bytes,
}

/// The content of the first event of a stream.
pub(in crate::server) struct Hello<'a> {
    pub boot: u64,
    /// A random name of the process. It differs even where two processes have the same boot number
    /// because the first was killed before its own was durable.
    pub process: &'a str,
    pub mode: Mode,
    pub role: Role,
    pub fingerprint: &'a str,
    pub connected: bool,
    /// How the keys in use were agreed on, unless they were taken over.
    pub agreed: Option<Agreed>,
    /// Whether a handshake has begun since the last one completed.
    pub handshaking: bool,
    /// Whether it is new and no ICE check has arrived in time.
    pub unheard: bool,
    /// The time that the handshakes of all peers without keys take the server together: a handshake
    /// may be late by this.
    pub patience: Duration,
    /// Over how much time the page is to spread its attempts to come back when the stream is lost.
    pub spread: Duration,
    pub source: bool,
    pub streams: &'a [sdp::Stream],
    /// Where this server receives media.
    pub media: &'a [SocketAddr],
    /// Where else the session may be found.
    pub nodes: &'a [Node],
}

/// The publisher's streams, so that a page can name them in the description it applies.
fn streams_json(streams: &[sdp::Stream]) -> Vec<serde_json::Value> {
    let stream = |s: &sdp::Stream| {
        let (kind, ssrc, rtx) = (s.kind.to_string(), s.ssrc.media, s.ssrc.rtx);
        json!({ "kind": kind, "ssrc": ssrc, "rtx": rtx })
    };
    streams.iter().map(stream).collect()
}

/// Other servers, in the order in which they are to be asked.
fn nodes_json(nodes: &[Node]) -> serde_json::Value {
    nodes.iter().map(Node::to_json).collect()
}

/// How keys were agreed on, for display.
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

    pub(in crate::server) fn hello(hello: &Hello<'_>) -> Self {
        let mut data = json!({
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
            "spread_ms": u64::try_from(hello.spread.as_millis()).unwrap_or(u64::MAX),
            "source": hello.source,
            "streams": streams_json(hello.streams),
            "media": hello.media,
        });
        if !hello.nodes.is_empty() {
            data["nodes"] = nodes_json(hello.nodes);
        }
        let frame = Self::new(Kind::Hello, &data);
        let retry = format!("retry: {RETRY}\n").into_bytes();
        Self {
            kind: frame.kind,
            text: [retry.as_slice(), &frame.text].concat().into(),
        }
    }

    pub(in crate::server) fn handshake() -> Self {
        Self::new(Kind::Handshake, &json!({}))
    }

    pub(in crate::server) fn connected(
        resumed: bool,
        took: Duration,
        agreed: Option<Agreed>,
    ) -> Self {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self::new(
            Kind::Connected,
            &json!({ "resumed": resumed, "took_ms": took_ms, "keys": keys_json(agreed) }),
        )
    }

    /// The channel's source, as this server's own event and as that of the WHEP drafts.
    pub(in crate::server) fn source(live: bool, streams: &[sdp::Stream]) -> [Self; 2] {
        let draft = if live { Kind::Active } else { Kind::Inactive };
        [
            Self::new(
                Kind::Source,
                &json!({ "live": live, "streams": streams_json(streams) }),
            ),
            Self::new(draft, &json!({})),
        ]
    }

    /// Whether packets of a new peer are missing, and how long they were waited for before this was
    /// sent.
    pub(in crate::server) fn unheard(unheard: bool) -> Self {
        let after_ms = u64::try_from(UNHEARD.as_millis()).unwrap_or(u64::MAX);
        Self::new(
            Kind::Unheard,
            &json!({ "unheard": unheard, "after_ms": after_ms }),
        )
    }

    /// Other servers that may have the session from now on.
    pub(in crate::server) fn nodes(nodes: &[Node]) -> Self {
        Self::new(Kind::Nodes, &json!({ "nodes": nodes_json(nodes) }))
    }

    /// Over how much time the page is to spread its attempts to come back from now on.
    pub(in crate::server) fn spread(spread: Duration) -> Self {
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        Self::new(Kind::Spread, &json!({ "spread_ms": spread_ms }))
    }

    pub(in crate::server) fn gone(why: Departure) -> Self {
        Self::new(Kind::Gone, &json!({ "reason": reason(why) }))
    }

    /// There is no such session.
    pub(in crate::server) fn unknown() -> Self {
        Self::new(Kind::Gone, &json!({ "reason": "unknown-session" }))
    }

    pub(in crate::server) fn disconnected() -> Self {
        Self::new(Kind::Disconnected, &json!({}))
    }
}

/// The name of a departure, for pages and for metrics.
pub(in crate::server) const fn reason(why: Departure) -> &'static str {
    match why {
        Departure::Left => "left",
        Departure::Silent => "silent",
        Departure::NoRehandshake => "no-rehandshake",
        Departure::Replaced => "replaced",
        Departure::NoHandshake => "no-handshake",
        Departure::NotPostQuantum => "not-post-quantum",
    }
}
