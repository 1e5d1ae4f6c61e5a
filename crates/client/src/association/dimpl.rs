//! Handshakes by dimpl.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate, Output};

use super::{Certificate, Failed, Library, Options, Yield};
use crate::manner::Offer;

/// One handshake.
pub(super) struct Dimpl {
    dtls: Dtls,
    next: Instant,
    /// While the ClientHello is not answered: when it is repeated next, and the interval after
    /// that.
    repeats: Option<(Instant, Duration)>,
    /// When the library is to be called next, by its own clock, and how far that clock is ahead.
    library_next: Instant,
    ahead: Duration,
}

/// The library tests all its cryptography whenever a configuration is made, which takes as long as
/// some handshakes: those without a seed are made once.
fn config(options: Options, seed: Option<u64>) -> Arc<Config> {
    type Made = HashMap<(usize, Duration), Arc<Config>>;
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let make = |builder: ConfigBuilder| {
        let builder = builder
            .mtu(options.mtu)
            .flight_start_rto(options.rto)
            .flight_retries(8);
        Arc::new(builder.build().expect("a good configuration"))
    };
    if let Some(seed) = seed {
        return make(Config::builder().dangerously_set_rng_seed(seed));
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let one = made.entry((options.mtu, options.rto));
    one.or_insert_with(|| make(Config::builder())).clone()
}

fn own(certificate: &Certificate) -> DtlsCertificate {
    DtlsCertificate {
        certificate: certificate.der.clone(),
        private_key: certificate.key.clone(),
    }
}

impl Dimpl {
    /// The DTLS client.
    pub(super) fn active(
        certificate: &Certificate,
        options: Options,
        seed: Option<u64>,
        now: Instant,
    ) -> Self {
        let config = config(options, seed);
        let own = own(certificate);
        let mut dtls = match options.offer {
            Offer::Only12 => Dtls::new_12(config, own, now),
            _ => Dtls::new_auto(config, own, now),
        };
        dtls.set_active(true);
        Self {
            repeats: Some((now, options.rto / 2)),
            ..Self::new(dtls, now)
        }
    }

    /// The DTLS server.
    pub(super) fn passive(certificate: &Certificate, options: Options, now: Instant) -> Self {
        let dtls = Dtls::new_auto(config(options, None), own(certificate), now);
        Self::new(dtls, now)
    }

    fn new(dtls: Dtls, now: Instant) -> Self {
        Self {
            dtls,
            next: now,
            repeats: None,
            library_next: now,
            ahead: Duration::ZERO,
        }
    }

    fn poll(&mut self, yielded: &mut Yield) {
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => yielded.outgoing.push(Bytes::copy_from_slice(packet)),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => yielded.server_certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    yielded.keys = Some((material.to_vec(), profile));
                }
                Output::Timeout(next) => {
                    self.library_next = next;
                    self.next = self.repeats.map_or(next - self.ahead, |(at, _)| at);
                    return;
                }
                _ => {}
            }
        }
    }
}

impl Library for Dimpl {
    // The library randomises its timeouts by up to a quarter; browsers do not. Until there is an
    // answer its clock stands still, and jumps to the end of its timeout when a repetition is due.
    // The answer itself is handed in before the real time: by then there is no timeout.
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        yielded: &mut Yield,
    ) -> Result<(), Failed> {
        let answer = datagram.filter(|_| self.repeats.take().is_some());
        let rest = datagram.filter(|_| answer.is_none());
        if let Some((at, pause)) = &mut self.repeats {
            if now < *at {
                return Ok(());
            }
            *pause *= 2;
            *at += *pause;
            self.ahead = self
                .ahead
                .max(self.library_next.saturating_duration_since(now));
        }
        answer
            .map_or(Ok(()), |data| self.dtls.handle_packet(data))
            .and_then(|()| self.dtls.handle_timeout(now + self.ahead))
            .and_then(|()| rest.map_or(Ok(()), |data| self.dtls.handle_packet(data)))
            .map_err(|_| Failed)?;
        self.poll(yielded);
        Ok(())
    }

    fn next(&self) -> Instant {
        self.next
    }

    fn close(&mut self, now: Instant, yielded: &mut Yield) -> Result<(), Failed> {
        if self.dtls.close().is_err() {
            return Ok(());
        }
        self.drive(now, None, yielded)
    }
}
