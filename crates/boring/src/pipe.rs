//! The transport of BoringSSL: one datagram at a time.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// A read takes the whole datagram that was put in; each write is a datagram.
#[derive(Default)]
pub(crate) struct Pipe {
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Bytes>,
}

impl Pipe {
    /// The next read takes this datagram, which replaces an unread one.
    pub(crate) fn put(&mut self, datagram: &[u8]) {
        self.incoming = Some(datagram.to_vec());
    }

    /// Whether the datagram that was put in has not been read.
    pub(crate) fn is_full(&self) -> bool {
        self.incoming.is_some()
    }

    /// Takes the datagrams that were written.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.outgoing)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.take().ok_or(io::ErrorKind::WouldBlock)?;
        // A longer one is truncated, as by a socket; no DTLS record is longer than the buffer.
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push(Bytes::copy_from_slice(datagram));
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
