//! The native client: one browser's ICE, DTLS, SRTP and RTP, without I/O. It knows how keys are
//! renewed; its page knows when.

mod answer;
mod outage;
pub(crate) mod page;
mod publisher;
mod viewer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_shared::error::Error;

pub(crate) use answer::{Answer, AnswerError};
pub(crate) use publisher::{Camera, CameraSettings, Publisher};
use rekindle_client::association::{Association, Certificate, Keys, Options};
use rekindle_client::ice::{self, Credentials};
use rekindle_client::offer::{OfferOptions, Transport, offer};
pub(crate) use rekindle_client::random::Random;
pub(crate) use viewer::{Gap, Life, Viewer};

use super::Browser;
use rekindle_ids::Role;

/// Between two checks until one was answered (RFC 8445 §14.3), in Firefox doubled after each, as
/// STUN retransmits (RFC 8489 §6.2.1); and then, while media flows.
const CHECK_FAST: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
const CHECK_SLOW: Duration = Duration::from_millis(2500);
/// First retransmission of a ClientHello: this in Firefox; in Chromium at least this, and at least
/// two round trips of ICE.
const FIRST_RTO: Duration = Duration::from_millis(50);
/// Timeouts are multiples of this, so that many clients have the same.
const RTO_STEP_MS: u128 = 10;
/// As browsers have it for DTLS.
const MTU: usize = 1200;
/// Checks whose answer is still awaited.
const MAX_TRANSACTIONS: usize = 16;

/// What kind of client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How keys are renewed.
    pub browser: Browser,
    /// Offers DTLS 1.2 alone, in place of 1.3 and 1.2.
    pub only_12: bool,
}

/// What a client receives or sends. It outlives a session.
pub(crate) enum Media {
    /// Not in a session.
    Camera(Camera),
    /// In a session.
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

impl Media {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Camera(_) | Self::Publisher(_) => Role::Publisher,
            Self::Viewer(_) => Role::Viewer,
        }
    }

    pub(super) fn viewer(&self) -> Option<&Viewer> {
        match self {
            Self::Viewer(viewer) => Some(viewer),
            _ => None,
        }
    }

    pub(super) fn viewer_mut(&mut self) -> Option<&mut Viewer> {
        match self {
            Self::Viewer(viewer) => Some(viewer),
            _ => None,
        }
    }

    pub(super) fn camera(&self) -> Option<&Camera> {
        match self {
            Self::Camera(camera) => Some(camera),
            Self::Publisher(publisher) => Some(&publisher.camera),
            Self::Viewer(_) => None,
        }
    }

    /// As it is between two sessions.
    fn parted(self) -> Self {
        match self {
            Self::Publisher(publisher) => Self::Camera(publisher.camera),
            other => other,
        }
    }
}

/// A client that has made its offer and waits for the answer.
pub(crate) struct Offered {
    role: Role,
    /// The offer.
    pub sdp: String,
    certificate: Certificate,
    ufrag: String,
    pwd: String,
    ssrcs: (u32, u32, u32),
    random: Random,
}

impl Offered {
    pub(super) fn new(role: Role, mut random: Random) -> Self {
        let certificate = Certificate::new();
        let (ufrag, pwd) = (random.text(4), random.text(24));
        let mut draw = || random.draw() as u32;
        let ssrcs = (draw(), draw(), draw());
        let mut options = OfferOptions::new(role);
        options.ssrcs = (role == Role::Publisher).then_some(ssrcs);
        let transport = Transport {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprint: &certificate.sha256(),
        };
        Self {
            role,
            sdp: offer(role, &options, &transport),
            certificate,
            ufrag,
            pwd,
            ssrcs,
            random,
        }
    }

    /// The session begins.
    ///
    /// # Errors
    /// [`AnswerError`] where the answer is of no use to this client.
    pub(super) fn accept(
        self,
        manner: Manner,
        media: Media,
        own: SocketAddr,
        answer: &str,
        now: Instant,
    ) -> Result<Client, AnswerError> {
        let answer = Answer::read(self.role, &self.sdp, answer)?;
        let media = match media.parted() {
            Media::Camera(camera) => Media::Publisher(Box::new(Publisher::new(
                camera,
                &answer.media,
                self.ssrcs,
                now,
            ))),
            Media::Viewer(mut viewer) => {
                viewer.begin(&answer.media);
                Media::Viewer(viewer)
            }
            publisher => publisher,
        };
        Ok(Client {
            manner,
            own,
            server: answer.server,
            credentials: Credentials {
                own_ufrag: self.ufrag,
                own_pwd: self.pwd,
                server_ufrag: answer.ufrag,
                server_pwd: answer.pwd,
            },
            certificate: self.certificate,
            fingerprint: answer.fingerprint,
            active: answer.active,
            media,
            random: self.random,
            rtt: None,
            ice_up: false,
            next_check: Some(now),
            checks: 0,
            transactions: Vec::new(),
            association: None,
            keys: None,
            moves: false,
            sent_at: None,
            hello_at: None,
            connected_at: None,
            handshakes: 0,
            counts: Counts::default(),
            out: Vec::new(),
        })
    }
}

/// What went wrong under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// SRTP without keys for it, or that did not authenticate.
    pub undecryptable: u64,
    /// SRTP that came twice under the same keys.
    pub replayed: u64,
    /// Handshakes that ended with another certificate than the answer's.
    pub wrong_certificate: u64,
}

/// One client in a session.
pub(crate) struct Client {
    manner: Manner,
    own: SocketAddr,
    pub server: SocketAddr,
    credentials: Credentials,
    certificate: Certificate,
    fingerprint: Vec<u8>,
    /// It begins the DTLS handshakes.
    active: bool,
    pub media: Media,
    random: Random,
    /// Of ICE checks; the shortest, since those at busy moments say little.
    rtt: Option<Duration>,
    ice_up: bool,
    next_check: Option<Instant>,
    /// Checks since the last port was taken.
    checks: u32,
    transactions: Vec<([u8; 12], Instant)>,
    association: Option<Association>,
    keys: Option<Keys>,
    moves: bool,
    sent_at: Option<Instant>,
    /// When the present or last handshake began.
    pub hello_at: Option<Instant>,
    /// When the last handshake was complete.
    pub connected_at: Option<Instant>,
    /// How many were.
    pub handshakes: u64,
    pub counts: Counts,
    out: Vec<Bytes>,
}

impl Client {
    pub(super) fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The page applies its edited SDP: a new association.
    pub(super) fn renew(&mut self, now: Instant) {
        if let Some(mut old) = self.association.take().filter(|_| self.keys.is_some()) {
            old.close(now);
            self.out.extend(old.outgoing());
        }
        self.keys = None;
        match self.manner.browser {
            Browser::Chromium if self.ice_up => self.start_handshake(now),
            Browser::Chromium => {}
            Browser::Firefox => {
                self.moves = true;
                self.ice_up = false;
                self.transactions.clear();
                self.checks = 0;
                self.next_check = Some(now);
            }
        }
    }

    /// A new port is wanted, and given by [`Client::moved`].
    pub(super) fn wants_to_move(&self) -> bool {
        self.moves
    }

    pub(super) fn moved(&mut self, own: SocketAddr) {
        self.moves = false;
        self.own = own;
    }

    /// Leaves the session; what it has received or would send stays.
    pub(super) fn leave(self) -> Media {
        self.media.parted()
    }

    /// When something of a handshake was last sent, where this browser says so (Firefox does not,
    /// and needs not: see [`Client::mixes`]).
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at.filter(|_| self.mixes())
    }

    /// The answer to a ClientHello may reach the attempt after it, since both have the same port.
    pub(super) fn mixes(&self) -> bool {
        self.manner.browser == Browser::Chromium
    }

    /// A handshake has failed, and nothing more comes of it.
    pub(super) fn is_broken(&self) -> bool {
        self.keys.is_none()
            && self
                .association
                .as_ref()
                .is_some_and(|association| association.failed)
    }

    fn start_handshake(&mut self, now: Instant) {
        self.hello_at = Some(now);
        self.sent_at = Some(now);
        let options = Options {
            only_12: self.manner.only_12,
            mtu: MTU,
            rto: first_rto(self.manner.browser, self.rtt.unwrap_or_default()),
        };
        let mut association = match self.active {
            true => Association::new(&self.certificate, options, None, now),
            false => Association::passive(&self.certificate, options, now),
        };
        self.out.extend(association.outgoing());
        self.association = Some(association);
    }

    /// Takes a datagram from the server.
    pub(super) fn handle(&mut self, now: Instant, life: Life, data: &[u8]) {
        match data.first() {
            Some(0..=3) => self.handle_stun(now, data),
            Some(20..=63) => {
                // The other side may begin before it has answered a check.
                if self.association.is_none() && !self.active {
                    self.start_handshake(now);
                }
                if let Some(association) = &mut self.association {
                    association.drive(now, Some(data));
                }
                self.settle(now);
            }
            Some(128..=191) => self.handle_srtp(now, life, data),
            _ => {}
        }
    }

    fn handle_stun(&mut self, now: Instant, data: &[u8]) {
        if let Some(response) = ice::respond(&self.credentials, self.server, data) {
            self.out.push(response.into());
            return;
        }
        let Some(transaction) = ice::success(&self.credentials, self.own, data) else {
            return;
        };
        let Some(at) = self
            .transactions
            .iter()
            .position(|(t, _)| *t == transaction)
        else {
            return;
        };
        let (_, sent) = self
            .transactions
            .drain(..=at)
            .next_back()
            .expect("just found");
        let rtt = now.saturating_duration_since(sent);
        self.rtt = Some(self.rtt.map_or(rtt, |shortest| shortest.min(rtt)));
        if let Media::Viewer(viewer) = &mut self.media {
            viewer.set_rtt(rtt);
        }
        if !std::mem::replace(&mut self.ice_up, true) {
            self.next_check = Some(now + CHECK_SLOW);
            if self.active || self.association.is_none() {
                self.start_handshake(now);
            }
        }
    }

    /// After the association was driven.
    fn settle(&mut self, now: Instant) {
        let Some(association) = &mut self.association else {
            return;
        };
        let before = self.out.len();
        self.out.extend(association.outgoing());
        if self.out.len() > before {
            self.sent_at = Some(now);
        }
        match association.keys(&self.fingerprint) {
            Some(Ok(keys)) => {
                self.keys = Some(keys);
                self.connected_at = Some(now);
                self.handshakes += 1;
            }
            Some(Err(_)) => self.counts.wrong_certificate += 1,
            None => {}
        }
    }

    fn handle_srtp(&mut self, now: Instant, life: Life, data: &[u8]) {
        let Some(keys) = &mut self.keys else {
            self.counts.undecryptable += 1;
            return;
        };
        // RFC 5761 §4.
        let is_rtcp = matches!(data.get(1), Some(192..=223));
        let plain = if is_rtcp {
            keys.receiving.decrypt_rtcp(data)
        } else {
            keys.receiving.decrypt_rtp(data)
        };
        let plain = match plain {
            Ok(plain) => plain,
            Err(Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..)) => {
                self.counts.replayed += 1;
                return;
            }
            Err(_) => {
                self.counts.undecryptable += 1;
                return;
            }
        };
        match &mut self.media {
            Media::Publisher(publisher) if is_rtcp => {
                let mut again = Vec::new();
                publisher.handle_rtcp(now, &plain, &mut again);
                again.iter().for_each(|packet| self.send_rtp(packet));
            }
            Media::Viewer(viewer) if !is_rtcp => {
                viewer.handle_rtp(now, life, &plain);
                self.send_requests(now);
            }
            _ => {}
        }
    }

    fn send_rtp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys
            && let Ok(packet) = keys.sending.encrypt_rtp(packet)
        {
            self.out.push(packet.freeze());
        }
    }

    fn send_rtcp(&mut self, packet: &[u8]) {
        if let Some(keys) = &mut self.keys
            && let Ok(packet) = keys.sending.encrypt_rtcp(packet)
        {
            self.out.push(packet.freeze());
        }
    }

    fn send_requests(&mut self, now: Instant) {
        if self.keys.is_some()
            && let Media::Viewer(viewer) = &mut self.media
            && let Some(packet) = viewer.make(now)
        {
            self.send_rtcp(&packet);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let dtls = self
            .association
            .as_ref()
            .filter(|a| !a.failed)
            .map(|a| a.next);
        let media = match &self.media {
            Media::Publisher(publisher) => Some(publisher.next()),
            Media::Viewer(viewer) => viewer.next().filter(|_| self.keys.is_some()),
            Media::Camera(_) => None,
        };
        [self.next_check, dtls, media].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_some_and(|at| at <= now) {
            let transaction = self.random.bytes();
            if self.transactions.len() >= MAX_TRANSACTIONS {
                self.transactions.remove(0);
            }
            self.transactions.push((transaction, now));
            let check = ice::check(&self.credentials, &self.credentials.server_pwd, transaction);
            self.out.push(check.into());
            let pause = match self.ice_up {
                true => CHECK_SLOW,
                false => check_pause(self.manner.browser, self.checks),
            };
            self.next_check = Some(now + pause);
            self.checks += 1;
        }
        if let Some(association) = self.association.as_mut().filter(|a| a.next <= now) {
            association.drive(now, None);
        }
        self.settle(now);
        let connected = self.keys.is_some();
        if let Media::Publisher(publisher) = &mut self.media {
            let (mut rtp, mut rtcp) = (Vec::new(), Vec::new());
            publisher.make(now, connected, &mut rtp, &mut rtcp);
            rtp.iter().for_each(|packet| self.send_rtp(packet));
            rtcp.iter().for_each(|packet| self.send_rtcp(packet));
        }
        self.send_requests(now);
    }

    /// Datagrams to send.
    pub(super) fn outgoing(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.out.drain(..)
    }
}

/// A STUN check without a client around it.
pub(crate) struct Check {
    credentials: Credentials,
    transaction: [u8; 12],
    request: Vec<u8>,
}

/// When a ClientHello is first repeated.
fn first_rto(browser: Browser, rtt: Duration) -> Duration {
    match browser {
        Browser::Chromium => FIRST_RTO.max(rounded(2 * rtt)),
        Browser::Firefox => FIRST_RTO,
    }
}

/// How long after a check that is not answered the next one goes out; `before`: how many of this
/// port there were before it.
fn check_pause(browser: Browser, before: u32) -> Duration {
    match browser {
        Browser::Chromium => CHECK_FAST[0],
        Browser::Firefox => (CHECK_FAST[1] * (1 << before.min(6))).min(CHECK_SLOW),
    }
}

/// The next step of timeouts.
fn rounded(timeout: Duration) -> Duration {
    let steps = timeout.as_millis().div_ceil(RTO_STEP_MS);
    Duration::from_millis(u64::try_from(steps * RTO_STEP_MS).unwrap_or(u64::MAX))
}

impl Check {
    /// A check that names a peer by the server's credentials for it.
    pub(super) fn new(ufrag: &str, pwd: &str, transaction: [u8; 12]) -> Self {
        let credentials = Credentials {
            own_ufrag: "bench".to_owned(),
            own_pwd: String::new(),
            server_ufrag: ufrag.to_owned(),
            server_pwd: pwd.to_owned(),
        };
        Self {
            request: ice::check(&credentials, pwd, transaction),
            credentials,
            transaction,
        }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether a datagram that came to this socket is its authentic answer.
    pub(super) fn is_answered_by(&self, data: &[u8], socket: &std::net::UdpSocket) -> bool {
        let own = socket.local_addr().ok();
        own.and_then(|own| ice::success(&self.credentials, own, data)) == Some(self.transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_browser_has_its_own_timeouts() {
        use Browser::{Chromium, Firefox};
        assert_eq!(
            [0, 20, 100].map(|rtt| first_rto(Chromium, rtt * MS)),
            [50 * MS, 50 * MS, 200 * MS]
        );
        assert_eq!(
            [0, 20, 100].map(|rtt| first_rto(Firefox, rtt * MS)),
            [50 * MS; 3]
        );
        assert_eq!(
            [0, 1, 2].map(|before| check_pause(Chromium, before)),
            [50 * MS; 3]
        );
        let pauses = [0, 1, 2, 6, 30].map(|before| check_pause(Firefox, before));
        assert_eq!(pauses, [100 * MS, 200 * MS, 400 * MS, 2500 * MS, 2500 * MS]);
    }

    #[test]
    fn a_client_hello_is_repeated_at_the_times_that_browsers_have() {
        let certificate = Certificate::new();
        for (only_12, rto_ms) in [(false, 50), (true, 50), (false, 200)] {
            let options = Options {
                only_12,
                mtu: 1200,
                rto: Duration::from_millis(rto_ms),
            };
            let begun = Instant::now();
            let mut association = Association::new(&certificate, options, None, begun);
            assert!(!association.outgoing().is_empty(), "the first one");
            let mut sent = Vec::new();
            for ms in 1..=(20 * rto_ms) {
                association.drive(begun + Duration::from_millis(ms), None);
                if !association.outgoing().is_empty() {
                    sent.push(ms / rto_ms);
                    assert_eq!(ms % rto_ms, 0, "{ms} ms");
                }
            }
            assert_eq!(sent, [1, 3, 7, 15], "in first timeouts");
        }
    }
}
