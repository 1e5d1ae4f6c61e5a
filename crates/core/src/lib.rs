//! A WebRTC broadcast server without I/O: one publisher and many viewers a channel, in a process
//! that can be killed and started again while every browser keeps its connection.
//!
//! [`broadcast::Broadcast`] is the server; [`peer`] is one browser of it: ICE-lite, DTLS, SRTP. It
//! is told the time and a seed, gets datagrams, and gives datagrams, events and the time at which
//! it wants to be called again. It has no sockets, files, threads or clock. Whoever drives it does
//! this, over and over:
//!
//! - A datagram came: [`handle`](broadcast::Broadcast::handle), which says what it was good for.
//! - The time of [`next_timeout`](broadcast::Broadcast::next_timeout) has come:
//!   [`handle_timeout`](broadcast::Broadcast::handle_timeout), which works on one handshake each
//!   time, so that media is not kept waiting. Who has more threads takes those as jobs
//!   ([`poll_job`](broadcast::Broadcast::poll_job)) and gives them back when they are done
//!   ([`job_done`](broadcast::Broadcast::job_done)).
//! - [`poll_event`](broadcast::Broadcast::poll_event) says who is connected, who has moved to
//!   another address (which the record should know), and who is gone.
//!
//! A browser joins with its offer: `rekindle-sdp` writes the answer, and
//! [`join`](broadcast::Broadcast::join) takes the peer in. After a restart, between
//! [`await_records`](broadcast::Broadcast::await_records) and
//! [`all_records_read`](broadcast::Broadcast::all_records_read),
//! [`take_record`](broadcast::Broadcast::take_record) takes it in again; what its browser has sent
//! meanwhile waits for that. No record holds a key: the browser runs a fresh DTLS handshake.
//!
//! # Example
//! A publisher and a viewer, and a server that is killed and comes back. The browsers are those of
//! the tests.
//!
//! ```
//! # use std::{error::Error, net::SocketAddr, sync::Arc, time::{Duration, Instant}};
//! # use rekindle_client::{answer::Answer, connection::{Connection, Received}};
//! # use rekindle_client::{manner::{Browser, Manner}, offer::{OfferOptions, Offered}};
//! # use rekindle_client::random::Random;
//! # use rekindle_core::{broadcast::{Broadcast, Config, Join, Recorded}, peer::Dtls};
//! # use rekindle_ids::{IceCredentials, IcePassword, Role, Ufrag};
//! # use rekindle_sdp::{Local, answer, with_address};
//! /// Lets a second pass, a packet every ms; how many of them the viewer can read.
//! fn pass(server: &mut Broadcast, peers: &mut [Connection], now: &mut Instant, id: u32) -> u16 {
//!     let (mut out, mut read) = (Vec::new(), 0);
//!     for sequence in 0..1000_u16 {
//!         *now += Duration::from_millis(1);
//!         let mut packet = vec![0x80, 96];
//!         packet.extend(sequence.to_be_bytes());
//!         packet.extend([0, 0, 0, 1].iter().chain(&id.to_be_bytes()).chain(b"\x10picture"));
//!         peers[0].send_rtp(&packet);
//!         for browser in &mut *peers {
//!             browser.handle_timeout(*now);
//!             for datagram in browser.outgoing() {
//!                 server.handle(*now, browser.address, &datagram, &mut out);
//!             }
//!         }
//!         while server.next_timeout().is_some_and(|at| at <= *now) {
//!             server.handle_timeout(*now, &mut out);
//!         }
//!         for sent in out.drain(..) {
//!             let to = peers.iter_mut().find(|peer| sent.to.as_udp() == Some(peer.address));
//!             let received = to.map(|browser| browser.handle(*now, &sent.data));
//!             read += u16::from(matches!(received, Some(Received::Rtp(_))));
//!         }
//!     }
//!     read
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! # let key = rcgen::KeyPair::generate()?;
//! # let certificate = rcgen::CertificateParams::new(vec![])?.self_signed(&key)?;
//! # let (mut now, mut random) = (Instant::now(), Random::new(1));
//! # let here: SocketAddr = "192.0.2.1:8189".parse()?;
//! let dtls = Arc::new(Dtls::new(certificate.der(), &key.serialize_der())?);
//! let mut server = Broadcast::new(Config::default(), dtls.clone(), random.bytes(), now);
//! # let (mut browsers, mut records, mut ssrc) = (Vec::new(), Vec::new(), 0);
//! for (role, port) in [(Role::Publisher, 5000), (Role::Viewer, 5001)] {
//!     let ice = IceCredentials {
//!         ufrag: Ufrag::new(random.text(12))?,
//!         pwd: IcePassword::new(random.text(24)),
//!     };
//!     let offered = Offered::new(role, OfferOptions::new(role), &mut random);
//!     let source = server.reserve(now, role, "news", &ice.ufrag)?;
//!     let source = (role == Role::Viewer).then_some(&source);
//! #   let (fingerprint_sha256, addresses) = (&dtls.sha256(), &[here][..]);
//!     let local = Local { ice: &ice, fingerprint_sha256, addresses, tcp: false, session_id: 1 };
//!     let made = answer(role, &offered.sdp, source, &local)?;
//! #   let (ice, negotiated) = (ice.clone(), made.negotiated);
//! #   let (resumed, renews, channel) = (false, true, "news".to_owned());
//!     records.push((role, ice.clone(), offered.sdp.clone(), made.text.clone()));
//!     server.join(now, Join { role, channel, ice, negotiated, resumed, renews })?;
//! #   ssrc = if role == Role::Publisher { offered.ssrcs.1 } else { ssrc };
//! #   let agreed = Answer::read(role, &offered.sdp, &made.text)?;
//! #   let (session, manner) = (offered.agreed(&agreed), Manner::of(Browser::Chromium));
//! #   let from = SocketAddr::from(([192, 0, 2, 7], port));
//!     browsers.push(Connection::new(manner, session, from, here, random.fork(), now));
//! }
//! assert!(pass(&mut server, &mut browsers, &mut now, ssrc) > 900);
//!
//! // The process is killed. Records are left, with the addresses that `Event::Address` has told.
//! server = Broadcast::new(Config::default(), dtls.clone(), random.bytes(), now);
//! server.await_records();
//! # let mut out = Vec::new();
//! for ((role, ice, offer, answer), browser) in records.iter().zip(&browsers) {
//!     let offer = &with_address(offer, browser.address);
//!     let record = Recorded { role: *role, channel: "news", ice, offer, answer };
//!     server.take_record(now, record, &mut out);
//! }
//! server.all_records_read();
//! // Each page hears of it, and has its browser renew keys.
//! browsers.iter_mut().for_each(|browser| drop(browser.renew(now)));
//! assert!(pass(&mut server, &mut browsers, &mut now, ssrc) > 900);
//! assert!(browsers.iter().all(|browser| browser.handshakes == 2));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// What tests and fuzz targets share is `pub` in modules that only they see.
#![cfg_attr(not(any(test, fuzzing)), warn(unreachable_pub))]
// The core asks for neither time nor randomness. Its tests do.
#![cfg_attr(not(any(test, fuzzing)), deny(clippy::disallowed_methods))]

pub mod broadcast;
#[cfg(rekindle_canary)]
pub mod canary;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod peer;
mod protocol;

pub use protocol::Protocol;
