//! Takes the place of the thread in a build without etcd: there are no other nodes.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{News, PullError};
use crate::ids::Ufrag;
use crate::net::Handle;

/// Is never made.
#[derive(Clone)]
pub struct Puller(Infallible);

/// Is never made.
pub struct Offer(Infallible);

/// Is never made.
pub struct Upstream(Infallible);

/// Is never made.
pub struct Starting(Infallible);

impl Starting {
    /// There is nothing to start.
    ///
    /// # Errors
    /// None.
    pub fn new(_: Vec<UdpSocket>) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Is never called.
    pub fn upstream(&self) -> Upstream {
        match self.0 {}
    }

    /// Is never called.
    ///
    /// # Errors
    /// None.
    pub fn start(self, _: Handle) -> io::Result<(Puller, mpsc::UnboundedReceiver<News>)> {
        match self.0 {}
    }
}

impl Upstream {
    /// Is never called.
    pub fn tell(&self, _: String, _: Vec<Bytes>) {
        match self.0 {}
    }
}

impl Offer {
    /// Is never called.
    pub fn sdp(&self) -> &str {
        match self.0 {}
    }
}

impl Puller {
    /// Is never called.
    pub fn most(&self) -> usize {
        match self.0 {}
    }

    /// Is never called.
    pub fn offer(&self, _: &str, _: u64) -> Offer {
        match self.0 {}
    }

    /// Is never called.
    ///
    /// # Errors
    /// None.
    pub fn begin(
        &self,
        _: &Ufrag,
        _: &str,
        _: Offer,
        _: &str,
        _: &[SocketAddr],
    ) -> Result<(), PullError> {
        match self.0 {}
    }

    /// Is never called.
    pub fn lead(&self, _: &Ufrag, _: &[SocketAddr]) {
        match self.0 {}
    }

    /// Is never called.
    pub fn end(&self, _: &Ufrag) {
        match self.0 {}
    }
}
