//! A broadcast with one publisher and some viewers, connected and in memory.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rekindle_ids::{IceCredentials, IcePassword, Role, TransportAddress, Ufrag};
use rekindle_sdp::{Kind, Local, Negotiated, answer};

use crate::Protocol;
use crate::broadcast::{Broadcast, Config, Join};
use crate::peer::fuzzing::Browser;
use crate::peer::{Dtls, Transmit};

/// A certificate for tests, and its key (DER). Always the same, as the rest of the world is.
const CERTIFICATE: &[u8] = include_bytes!("testdata/certificate.der");
const PRIVATE_KEY: &[u8] = include_bytes!("testdata/private_key.der");

/// The server's DTLS.
pub(crate) static DTLS: LazyLock<Arc<Dtls>> =
    LazyLock::new(|| Arc::new(Dtls::new(CERTIFICATE, PRIVATE_KEY).expect("DTLS takes it")));

static PUBLISHER: LazyLock<Negotiated> = LazyLock::new(|| {
    agreed(
        Role::Publisher,
        include_str!("../../../sdp/src/testdata/chromium-156-publish.sdp"),
    )
});
static VIEWER: LazyLock<Negotiated> = LazyLock::new(|| {
    agreed(
        Role::Viewer,
        include_str!("../../../sdp/src/testdata/chromium-156-watch.sdp"),
    )
});

fn agreed(role: Role, offer: &str) -> Negotiated {
    let local = Local {
        ice: &credentials("Vabcdefgh0123456"),
        fingerprint_sha256: &DTLS.sha256(),
        addresses: &[address(0).socket],
        tcp: false,
        session_id: 1,
    };
    answer(role, offer, None, &local)
        .expect("a browser's offer")
        .negotiated
}

/// The server's half for a peer of this name.
pub(super) fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: Ufrag::new(ufrag).expect("letters and digits"),
        pwd: IcePassword::new("0123456789abcdefghijklmnopqrstuv".into()),
    }
}

pub(super) fn address(n: u16) -> TransportAddress {
    TransportAddress::udp(([192, 0, 2, 1], 40_000 + n))
}

/// A stream that the publisher announced.
#[derive(Clone, Copy)]
pub(super) struct Track {
    pub ssrc: u32,
    pub payload: u8,
    /// SSRC and payload type of its retransmissions.
    pub rtx: Option<(u32, u8)>,
}

/// See the module. The publisher is peer 0.
pub(super) struct World {
    pub core: Broadcast,
    pub now: Instant,
    pub browsers: Vec<Browser>,
    pub out: Vec<Transmit>,
}

impl World {
    fn empty() -> Self {
        let now = Instant::now();
        Self {
            core: Broadcast::new(Config::default(), DTLS.clone(), [7; 32], now),
            now,
            browsers: Vec::new(),
            out: Vec::new(),
        }
    }

    /// A publisher that has joined and nothing more, and its credentials.
    pub fn keyless() -> (Self, IceCredentials) {
        let mut this = Self::empty();
        let ice = credentials("Pabcdefgh0123456");
        this.core
            .reserve(this.now, Role::Publisher, "channel", &ice.ufrag)
            .expect("a place");
        let join = Join {
            role: Role::Publisher,
            channel: "channel".into(),
            ice: ice.clone(),
            negotiated: PUBLISHER.clone(),
            resumed: false,
            renews: true,
        };
        this.core.join(this.now, join).expect("a place");
        (this, ice)
    }

    pub fn new(viewers: u16) -> Self {
        let mut this = Self::empty();
        let now = this.now;
        for n in 0..=viewers {
            let (role, agreed, letter) = match n {
                0 => (Role::Publisher, &PUBLISHER, 'P'),
                _ => (Role::Viewer, &VIEWER, 'V'),
            };
            let ice = credentials(&format!("{letter}{n:015}"));
            let ufrag = ice.ufrag.clone();
            this.core
                .reserve(now, role, "channel", &ufrag)
                .expect("a place");
            let join = Join {
                role,
                channel: "channel".into(),
                ice,
                negotiated: LazyLock::force(agreed).clone(),
                resumed: false,
                renews: true,
            };
            this.core.join(now, join).expect("a place");
            let (browser, keys) = Browser::new(n.to_be_bytes()[1]);
            this.browsers.push(browser);
            this.core
                .take_keys(now, &ufrag, address(n), keys, &mut this.out);
        }
        this
    }

    /// Video, then audio.
    pub fn tracks() -> [Track; 2] {
        [Kind::Video, Kind::Audio].map(|kind| {
            let media = PUBLISHER
                .media
                .iter()
                .find(|m| m.kind == kind)
                .expect("audio and video");
            let (ssrc, payload) = (media.ssrcs[0], &media.payloads[0]);
            Track {
                ssrc: ssrc.media,
                payload: payload.pt,
                rtx: ssrc.rtx.zip(payload.rtx),
            }
        })
    }

    /// A datagram from a peer, by its number; from a stranger where there is none of that number.
    pub fn from(&mut self, n: u16, datagram: &[u8]) {
        self.core
            .handle(self.now, address(n), datagram, &mut self.out);
        // Handshakes wait for their turn.
        if Protocol::of(datagram) == Some(Protocol::Dtls) {
            self.core.handle_timeout(self.now, &mut self.out);
        }
    }

    /// Time passes, and what is due is done.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.core.next_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now, &mut self.out);
        }
    }

    /// What was sent goes to the browsers: each must be able to read what it gets, and nobody else
    /// gets anything.
    pub fn deliver(&mut self) {
        for transmit in self.out.drain(..) {
            let n = transmit.to.socket.port().wrapping_sub(40_000);
            let browser = self
                .browsers
                .get_mut(usize::from(n))
                .expect("only peers are sent to");
            if transmit.data[0] >= 128 {
                assert!(
                    browser.unprotect(&transmit.data).is_some(),
                    "a browser cannot read what it was sent"
                );
            }
        }
        while self.core.poll_event().is_some() {}
    }

    /// Whether all are still connected.
    pub fn all_connected(&self) -> bool {
        self.core.snapshot(self.now).connected == self.browsers.len()
    }
}
