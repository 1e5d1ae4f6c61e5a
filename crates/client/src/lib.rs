//! A native client and a network, both without I/O and told the time: what the benchmark's clients
//! and those of the tests are made of, and the viewers as which nodes take channels from each other.
//! No code of the server's but the names of peers and codecs.
//!
//! - A client: [`client`], which is a [`connection`] (ICE, DTLS, SRTP: [`ice`], [`association`])
//!   and media ([`publisher`], [`viewer`]), and the browser that it behaves like ([`manner`]).
//! - Its start: [`offer`], [`answer`]. Its page's reaction to a restart: [`page`].
//! - The path to the server: [`network`].
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]
// It asks for neither time nor randomness, but for keys, and where a client at work asks for the
// system's numbers. Its tests do.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod answer;
pub mod association;
pub mod client;
pub mod connection;
pub mod ice;
pub mod manner;
pub mod network;
pub mod offer;
mod outage;
pub mod page;
pub mod payload;
pub mod publisher;
pub mod random;
pub mod rtcp;
pub mod rtp;
pub mod schedule;
pub mod viewer;
