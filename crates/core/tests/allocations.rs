//! What forwarding costs the allocator: nothing for a viewer, whatever is sent to it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_client::answer::Answer;
use rekindle_client::connection::Connection;
use rekindle_client::manner::{Browser, Manner};
use rekindle_client::offer::{OfferOptions, Offered};
use rekindle_client::random::Random;
use rekindle_core::broadcast::{Broadcast, Burst, Config, Forwarder, Join, Orders, Outlet};
use rekindle_core::peer::{Dtls, Transmit};
use rekindle_ids::{IceCredentials, IcePassword, Role, TransportAddress, Ufrag};
use rekindle_sdp::{Local, answer};

const MS: Duration = Duration::from_millis(1);

/// A broadcast in memory, with its viewers at one forwarder.
struct Stage {
    now: Instant,
    server: Broadcast,
    forwarder: Forwarder,
    orders: Orders,
    browsers: Vec<Connection>,
    ssrc: u32,
    /// What the core has of the allocator, in bytes.
    held: i64,
}

/// What `act` keeps of the allocator is added to `held`.
fn held<T>(held: &mut i64, act: impl FnOnce() -> T) -> T {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(act()));
    *held += info.bytes_current;
    result.expect("it has run")
}

/// Counts what is sent, and loses it.
#[derive(Default)]
struct Counted(usize);

impl Outlet for Counted {
    fn send(&mut self, _: TransportAddress, burst: &Burst) {
        self.0 += burst.ends().len();
    }
}

impl Stage {
    fn new(viewers: u16) -> Result<Self, Box<dyn Error>> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec![])?.self_signed(&key)?;
        let dtls = Arc::new(Dtls::new(certificate.der(), &key.serialize_der())?);
        let (now, mut random) = (Instant::now(), Random::new(1));
        let here: SocketAddr = "192.0.2.1:8189".parse()?;
        let mut server = Broadcast::new(Config::default(), dtls.clone(), random.bytes(), now);
        let forwarder = server.forwarders(1).remove(0);
        let (mut browsers, mut ssrc, mut joined) = (Vec::new(), 0, 0);
        for port in 5000..=5000 + viewers {
            let role = match port {
                5000 => Role::Publisher,
                _ => Role::Viewer,
            };
            let ice = IceCredentials {
                ufrag: Ufrag::new(random.text(12))?,
                pwd: IcePassword::new(random.text(24)),
            };
            let offered = Offered::new(role, OfferOptions::new(role), &mut random);
            let source = server.reserve(now, role, "news", &ice.ufrag)?;
            let local = Local {
                ice: &ice,
                fingerprint_sha256: &dtls.sha256(),
                addresses: &[here],
                tcp: false,
                session_id: 1,
            };
            let source = (role == Role::Viewer).then_some(&source);
            let made = answer(role, &offered.sdp, source, &local)?;
            let join = Join {
                role,
                channel: "news".to_owned(),
                ice: ice.clone(),
                negotiated: made.negotiated,
                resumed: false,
                renews: true,
            };
            held(&mut joined, || server.join(now, join))?;
            if role == Role::Publisher {
                ssrc = offered.ssrcs.1;
            }
            let agreed = Answer::read(role, &offered.sdp, &made.text)?;
            let (session, manner) = (offered.agreed(&agreed), Manner::of(Browser::Chromium));
            let from = SocketAddr::from(([192, 0, 2, 7], port));
            let browser = Connection::new(manner, session, from, here, random.fork(), now);
            browsers.push(browser);
        }
        let mut stage = Self {
            now,
            server,
            forwarder,
            orders: Orders::default(),
            browsers,
            ssrc,
            held: joined,
        };
        while stage.browsers.iter().any(|browser| browser.handshakes == 0) {
            stage.exchange(MS);
        }
        Ok(stage)
    }

    /// What the core says in this time, its answers among the rest.
    fn exchange(&mut self, time: Duration) {
        self.now += time;
        let mut out: Vec<Transmit> = Vec::new();
        for browser in &mut self.browsers {
            browser.handle_timeout(self.now);
            for datagram in browser.outgoing() {
                held(&mut self.held, || {
                    self.server
                        .handle(self.now, browser.address, &datagram, &mut out);
                });
            }
        }
        while self.server.next_timeout().is_some_and(|at| at <= self.now) {
            held(&mut self.held, || {
                self.server.handle_timeout(self.now, &mut out)
            });
        }
        self.held -= out.iter().map(|sent| sent.data.len() as i64).sum::<i64>();
        self.held -= (out.capacity() * size_of::<Transmit>()) as i64;
        for sent in out.drain(..) {
            let to = self
                .browsers
                .iter_mut()
                .find(|b| sent.to.as_udp() == Some(b.address));
            let _ = to.map(|browser| browser.handle(self.now, &sent.data));
        }
    }

    /// Publishes packets; how many went to viewers, and what forwarding them has allocated.
    fn publish(&mut self, sequences: std::ops::Range<u16>) -> (usize, u64) {
        let (mut sent, mut allocated) = (Counted::default(), 0);
        for sequence in sequences {
            let mut packet = vec![0x80, 96];
            packet.extend(sequence.to_be_bytes());
            packet.extend([0, 0, 0, 1].iter().chain(&self.ssrc.to_be_bytes()));
            packet.extend([0x10; 1100]);
            self.browsers[0].send_rtp(&packet);
            self.exchange(MS);
            self.server.poll_orders(0, &mut self.orders);
            let counts = allocation_counter::measure(|| {
                self.forwarder.follow(&mut self.orders, &mut sent);
                // As under load: some packets go out together.
                if sequence % 4 == 3 {
                    self.forwarder.flush(&mut sent);
                }
            });
            allocated += counts.count_total;
        }
        (sent.0, allocated)
    }
}

#[test]
fn a_packet_that_is_forwarded_takes_no_memory_of_its_own() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(20)?;
    // Buffers grow to what they need.
    stage.publish(0..100);
    let (sent, allocated) = stage.publish(100..500);
    assert!(sent >= 20 * 400, "{sent}");
    assert_eq!(allocated, 0);
    Ok(())
}

/// What aws-lc, the HTTP side and the kernel hold comes on top of it.
#[test]
fn a_viewer_takes_at_most_6_kib_of_the_core() -> Result<(), Box<dyn Error>> {
    let held = |viewers: u16| -> Result<i64, Box<dyn Error>> {
        let mut stage = Stage::new(viewers)?;
        // Some time after its handshake: what that leaves behind for repetitions is dropped, and
        // checks are remembered.
        for _ in 0..6000 {
            stage.exchange(10 * MS);
            stage.server.poll_orders(0, &mut stage.orders);
            let (held_by, mut sent) = (&mut stage.held, Counted::default());
            held(held_by, || {
                stage.forwarder.follow(&mut stage.orders, &mut sent)
            });
        }
        Ok(stage.held)
    };
    let each = (held(60)? - held(10)?) / 50;
    println!("a viewer: {each} bytes");
    assert!((500..6 << 10).contains(&each), "{each} bytes");
    Ok(())
}
