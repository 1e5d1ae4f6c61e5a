//! Parts of a native client: ICE, DTLS and SRTP, an offer, and payloads that no decoder ever sees.
//! Without I/O, and told the time. The benchmark's clients and those of the tests are made of them:
//! no code of the server's but the names of peers and codecs.
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

pub mod association;
pub mod ice;
pub mod offer;
pub mod payload;
pub mod random;
pub mod rtcp;
