//! What BoringSSL reads from and writes to: one datagram at a time.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// One read takes the datagram that was put in, whole; each write is a datagram.
#[derive(Default)]
pub(crate) struct Pipe {
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Bytes>,
}

impl Pipe {
    /// The next read takes this datagram, in place of one that nobody has read.
    pub(crate) fn put(&mut self, datagram: &[u8]) {
        self.incoming = Some(datagram.to_vec());
    }

    /// Whether what was put in has not been read.
    pub(crate) fn is_full(&self) -> bool {
        self.incoming.is_some()
    }

    /// What was written.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.outgoing)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.take().ok_or(io::ErrorKind::WouldBlock)?;
        // A longer one is cut, as a socket cuts it; no DTLS record is longer than the buffer.
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
