//! One connection of a browser.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::frames::Frames;
use super::queue::Queue;

/// How long a new connection may last without a check that has passed.
const UNPROVEN: Duration = Duration::from_secs(10);
/// How long one lasts after a check: a little longer than consent (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(35);

/// See the module.
pub(super) struct Connection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    frames: Frames,
    queue: Queue,
    /// When it is closed.
    pub until: Instant,
    /// Whether a check that came over it has passed.
    pub proven: bool,
    /// There may be more to read.
    pub readable: bool,
}

/// Why a connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("the browser has closed it")]
    End,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frames(#[from] super::frames::TooLong),
}

impl Connection {
    pub(super) fn new(now: Instant, stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            frames: Frames::default(),
            queue: Queue::default(),
            until: now + UNPROVEN,
            proven: false,
            readable: false,
        }
    }

    /// A check has passed.
    pub(super) fn keep(&mut self, now: Instant) {
        self.proven = true;
        self.until = now + CONSENT;
    }

    /// Reads once, and passes the datagrams to `take`.
    ///
    /// # Errors
    /// [`Closed`]: it is to be closed.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        take: impl FnMut(&[u8]),
    ) -> Result<(), Closed> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Closed::End),
            Ok(count) => Ok(self.frames.read(&buffer[..count], take)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends these, as soon as there is room. Returns how many datagrams were dropped for them.
    ///
    /// # Errors
    /// [`Closed`]: it is to be closed.
    pub(super) fn send(&mut self, framed: Vec<u8>, datagrams: u64) -> Result<u64, Closed> {
        let dropped = self.queue.put(framed, datagrams);
        self.flush()?;
        Ok(dropped)
    }

    /// Writes what waits, as far as there is room.
    ///
    /// # Errors
    /// [`Closed`]: it is to be closed.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        Ok(self.queue.write(&mut self.stream)?)
    }

    /// Datagrams that are lost with it.
    pub(super) fn waiting(&self) -> u64 {
        self.queue.datagrams()
    }
}
