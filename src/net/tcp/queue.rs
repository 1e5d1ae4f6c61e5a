//! What waits for room on a connection.

use std::collections::VecDeque;
use std::io::{self, Write};

/// Most bytes that wait: about a second of a picture. What is older is of no use to a live
/// audience.
const MOST: usize = 256 << 10;

/// Frames that are written one after another. The oldest make room for new ones, but never the one
/// that is half written: what follows would not be understood.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with the number of its datagrams.
    waiting: VecDeque<(Vec<u8>, u64)>,
    bytes: usize,
    /// How much of the first is written.
    written: usize,
}

impl Queue {
    /// Adds frames. Returns how many datagrams were dropped for them.
    pub(super) fn put(&mut self, frames: Vec<u8>, datagrams: u64) -> u64 {
        self.bytes += frames.len();
        self.waiting.push_back((frames, datagrams));
        let mut dropped = 0;
        let begun = usize::from(self.written > 0);
        while self.bytes > MOST && self.waiting.len() > begun + 1 {
            let Some((oldest, datagrams)) = self.waiting.remove(begun) else {
                break;
            };
            self.bytes -= oldest.len();
            dropped += datagrams;
        }
        dropped
    }

    /// Writes until everything is written or there is no more room.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        while let Some((first, _)) = self.waiting.front() {
            match to.write(&first[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.written == first.len() {
                self.bytes -= first.len();
                self.written = 0;
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// Datagrams that wait.
    pub(super) fn datagrams(&self) -> u64 {
        self.waiting.iter().map(|(_, datagrams)| datagrams).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes.
    struct Narrow(usize, Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0 -= count;
            self.1.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_oldest_make_room_but_a_frame_that_is_begun_is_finished() {
        let mut queue = Queue::default();
        let frame = |n: u8| vec![n; MOST / 4];
        let mut to = Narrow(10, Vec::new());
        assert_eq!(queue.put(frame(0), 1), 0);
        queue.write(&mut to).expect("room");
        let dropped: Vec<u64> = (1..7).map(|n| queue.put(frame(n), n.into())).collect();
        assert_eq!(dropped, [0, 0, 0, 1, 2, 3]);
        assert_eq!(queue.datagrams(), 1 + 4 + 5 + 6);
        to.0 = usize::MAX;
        queue.write(&mut to).expect("room");
        assert_eq!(to.1, [frame(0), frame(4), frame(5), frame(6)].concat());
        assert_eq!((queue.bytes, queue.datagrams()), (0, 0));
    }

    #[test]
    fn a_burst_that_is_longer_than_the_queue_is_sent_when_nothing_else_waits() {
        let mut queue = Queue::default();
        assert_eq!(queue.put(vec![1; MOST * 2], 200), 0);
        assert_eq!(queue.put(vec![2; 3], 1), 200);
        let mut to = Narrow(usize::MAX, Vec::new());
        queue.write(&mut to).expect("room");
        assert_eq!(to.1, [2; 3]);
    }
}
