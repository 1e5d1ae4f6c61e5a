//! A native client and a network, both without I/O; the caller supplies the time. The clients of
//! the benchmark and of the tests are built from them. They share no code with the server but the
//! names of peers and codecs.
//!
//! - A client: [`client`], which is a [`connection`] (ICE, DTLS, SRTP: [`ice`], [`association`])
//!   and media ([`publisher`], [`viewer`]), and the browser that it behaves like ([`manner`]).
//! - Its start: [`offer`], [`answer`]. Its page's reaction to a restart: [`page`].
//! - The path to the server: [`network`].
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]
// It asks for neither time nor randomness, except for keys. Its tests do.
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
