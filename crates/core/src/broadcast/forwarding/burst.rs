//! The datagrams that one viewer is sent at a time.

use bytes::Bytes;
use rekindle_ids::TransportAddress;

use crate::peer::Transmit;

/// A burst of more bytes than this is sent before more is added: about what the kernel accepts at
/// once.
const FULL: usize = 56 << 10;

/// Datagrams for one address, one after the other in one buffer, in the order in which they are to
/// be sent.
#[derive(Debug, Default)]
pub struct Burst {
    pub(super) bytes: Vec<u8>,
    /// Where each datagram ends.
    ends: Vec<usize>,
}

impl Burst {
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each datagram ends, in bytes.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// The datagrams.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    /// Where the next datagram begins.
    pub(super) fn start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Ends the datagram that was appended to the bytes.
    pub(super) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Drops what was appended after the last datagram.
    pub(super) fn take_back(&mut self) {
        self.bytes.truncate(self.start());
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Sends datagrams.
pub trait Outlet {
    /// Sends all datagrams of a burst to an address, or loses them as a network may.
    fn send(&mut self, to: TransportAddress, burst: &Burst);
}

/// One [`Transmit`] for each datagram, for callers with a network of their own.
impl Outlet for Vec<Transmit> {
    fn send(&mut self, to: TransportAddress, burst: &Burst) {
        self.extend(burst.datagrams().map(|data| Transmit {
            to,
            data: Bytes::copy_from_slice(data),
        }));
    }
}
