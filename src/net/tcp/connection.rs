//! One connection of a browser.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::frames::Frames;
use super::queue::Queue;

/// How long a new connection may last without a check that has passed.
const UNPROVEN: Duration = Duration::from_secs(10);
/// Most frames of a connection before such a check: what a browser sends while the server reads its
/// record.
const UNPROVEN_FRAMES: usize = 256;
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
    /// The kernel may have more.
    pub readable: bool,
    /// It waits for its turn to be read.
    pub queued: bool,
    /// Frames that have come without such a check.
    unproven: usize,
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
    #[error("it sends and sends, and no check over it has passed")]
    Unproven,
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
            queued: false,
            unproven: 0,
        }
    }

    /// A check has passed.
    pub(super) fn keep(&mut self, now: Instant) {
        self.proven = true;
        self.unproven = 0;
        self.until = now + CONSENT;
    }

    /// No peer has it any more: it stays for as long as a new one would.
    pub(super) fn release(&mut self, now: Instant) {
        self.proven = false;
        self.until = self.until.min(now + UNPROVEN);
    }

    /// Reads until `most` frames have come or nothing more is there, and passes their datagrams to
    /// `take`. Returns whether there may be more.
    ///
    /// # Errors
    /// [`Closed`]: it is to be closed.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        most: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<bool, Closed> {
        let mut count = self.frames.read(&[], most, &mut take)?;
        while count < most && self.readable {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Closed::End),
                Ok(bytes) => {
                    let bytes = &buffer[..bytes];
                    count += self.frames.read(bytes, most - count, &mut take)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !self.proven {
            self.unproven += count;
            if self.unproven > UNPROVEN_FRAMES {
                return Err(Closed::Unproven);
            }
        }
        Ok(count >= most)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn who_sends_much_before_a_check_has_passed_is_let_go() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let at = listener.local_addr().expect("an address");
        // Whether so many frames are taken.
        let takes = |frames: usize, proven: bool| {
            let mut client = std::net::TcpStream::connect(at).expect("connected");
            let (stream, peer) = listener.accept().expect("accepted");
            stream.set_nonblocking(true).expect("set");
            let now = Instant::now();
            let mut connection = Connection::new(now, TcpStream::from_std(stream), peer);
            if proven {
                connection.keep(now);
            }
            client.write_all(&b"\0\x01x".repeat(frames)).expect("sent");
            let mut buffer = [0; 100];
            let mut taken = 0;
            loop {
                connection.readable = true;
                match connection.read(&mut buffer, 10, |_| taken += 1) {
                    Ok(_) if taken == frames => return true,
                    Ok(_) => {}
                    Err(Closed::Unproven) => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        assert!(takes(UNPROVEN_FRAMES, false));
        assert!(!takes(UNPROVEN_FRAMES + 1, false));
        assert!(takes(UNPROVEN_FRAMES + 1, true));
    }
}
