//! The framing of RFC 4571 §2: each datagram follows its length, 16 bits in network byte order.

/// Longest datagram that is accepted: as on the UDP port.
const MOST: usize = 2048;
/// Bytes of a length.
const LENGTH: usize = 2;

/// The sender has sent a length that no datagram has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes: no datagram of a browser is that long")]
pub(super) struct TooLong(usize);

/// Appends a datagram with its length. Returns false for one that is too long for a frame, which is
/// left out.
pub(super) fn write(datagram: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else {
        return false;
    };
    out.extend(length.to_be_bytes());
    out.extend(datagram);
    true
}

/// Puts datagrams together from the bytes of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame whose end has not arrived.
    begun: Vec<u8>,
}

impl Frames {
    /// Passes each datagram that is complete to `take`. Empty ones are left out: they are no use,
    /// and some senders keep a connection open with them.
    ///
    /// # Errors
    /// [`TooLong`]: what follows cannot be understood, and the connection is to be closed.
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        while !self.begun.is_empty() && !bytes.is_empty() {
            let lacking = match frame(&self.begun)? {
                Some(whole) => whole - self.begun.len(),
                None => LENGTH - self.begun.len(),
            };
            let (more, rest) = bytes.split_at(lacking.min(bytes.len()));
            self.begun.extend(more);
            bytes = rest;
            if frame(&self.begun)? == Some(self.begun.len()) {
                give(&self.begun, &mut take);
                self.begun.clear();
            }
        }
        while let Some(whole) = frame(bytes)?.filter(|whole| *whole <= bytes.len()) {
            let (this, rest) = bytes.split_at(whole);
            give(this, &mut take);
            bytes = rest;
        }
        self.begun.extend(bytes);
        Ok(())
    }
}

fn give(frame: &[u8], take: &mut impl FnMut(&[u8])) {
    if frame.len() > LENGTH {
        take(&frame[LENGTH..]);
    }
}

/// The length of the frame that begins here, with that of its length; `None` where too little of it
/// is there.
fn frame(bytes: &[u8]) -> Result<Option<usize>, TooLong> {
    let Some((length, _)) = bytes.split_first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes(*length)) {
        length @ 0..=MOST => Ok(Some(LENGTH + length)),
        length => Err(TooLong(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frames: &mut Frames, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut read = Vec::new();
        frames.read(bytes, |datagram| read.push(datagram.to_vec()))?;
        Ok(read)
    }

    #[test]
    fn datagrams_are_the_same_however_the_stream_is_cut() {
        let sent: [&[u8]; 4] = [b"one", b"", &[7; MOST], b"x"];
        let mut wire = Vec::new();
        assert!(sent.iter().all(|datagram| write(datagram, &mut wire)));
        let whole: Vec<_> = sent.iter().filter(|d| !d.is_empty()).collect();
        for size in [1, 2, 3, 5, 6, 7, 1000, wire.len()] {
            let mut frames = Frames::default();
            let pieces = wire.chunks(size);
            let read: Vec<_> = pieces
                .flat_map(|piece| read(&mut frames, piece).unwrap())
                .collect();
            assert_eq!(
                read.iter().collect::<Vec<_>>(),
                whole,
                "in pieces of {size}"
            );
            assert!(frames.begun.is_empty());
        }
    }

    #[test]
    fn a_length_that_no_datagram_has_ends_the_stream_and_takes_no_memory() {
        for wire in [&b"\xff\xff"[..], b"\x08\x01x", b"\0\x01x\x08\x01"] {
            let mut frames = Frames::default();
            assert!(frames.read(wire, |_| ()).is_err(), "{wire:?}");
            let mut frames = Frames::default();
            let all = wire
                .iter()
                .try_for_each(|byte| frames.read(&[*byte], |_| ()));
            assert!(all.is_err() && frames.begun.len() <= LENGTH, "{wire:?}");
        }
    }

    #[test]
    fn a_datagram_that_no_frame_takes_is_left_out() {
        let mut wire = Vec::new();
        assert!(!write(&vec![0; 1 << 16], &mut wire));
        assert!(wire.is_empty());
    }
}
