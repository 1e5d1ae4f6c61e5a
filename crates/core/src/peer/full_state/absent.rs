//! Takes the place of full-state mode in a build without it.

use std::convert::Infallible;

use bytes::BytesMut;

use super::super::srtp::Srtp;

/// No counters are ever to be written.
pub(crate) type Wanted = Infallible;

/// Keys that are kept: there are none.
pub(crate) enum Kept {}

impl Kept {
    pub(crate) fn start(&self, _: u32) -> Option<u16> {
        match *self {}
    }

    pub(crate) fn protect_rtp(&mut self, _: &mut Vec<u8>, _: usize) -> Option<()> {
        match *self {}
    }

    pub(crate) fn protect_rtcp(&mut self, _: &[u8]) -> Option<BytesMut> {
        match *self {}
    }

    pub(crate) fn unprotect_rtp(&mut self, _: &[u8]) -> Option<BytesMut> {
        match *self {}
    }

    pub(crate) fn unprotect_rtcp(&mut self, _: &[u8]) -> Option<BytesMut> {
        match *self {}
    }
}

/// Keys of a handshake end with the process.
pub(in super::super) fn kept(srtp: Srtp, _: Option<&Wanted>) -> Srtp {
    srtp
}
