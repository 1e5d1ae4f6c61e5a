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
    /// What has been read and not been passed on: the beginning of a frame whose end has not arrived,
    /// or whole frames, where there were more than were wanted.
    begun: Vec<u8>,
}

impl Frames {
    /// Passes each datagram that is complete with these bytes to `take`, until there were `most`
    /// frames; the others are kept for the next call. Returns how many frames there were. Empty ones
    /// are left out: they are no use, and some senders keep a connection open with them.
    ///
    /// # Errors
    /// [`TooLong`]: what follows cannot be understood, and the connection is to be closed.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        most: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, TooLong> {
        if self.begun.is_empty() {
            let (count, at) = pass(bytes, most, &mut take)?;
            self.begun.extend(&bytes[at..]);
            return Ok(count);
        }
        self.begun.extend(bytes);
        let (count, at) = pass(&self.begun, most, &mut take)?;
        self.begun.drain(..at);
        // Many have sent a part of a frame once.
        if self.begun.is_empty() {
            self.begun = Vec::new();
        }
        Ok(count)
    }
}

/// Passes at most so many frames on. Returns how many there were, and where they end.
fn pass(
    bytes: &[u8],
    most: usize,
    take: &mut impl FnMut(&[u8]),
) -> Result<(usize, usize), TooLong> {
    let (mut count, mut at) = (0, 0);
    while count < most
        && let Some(whole) = frame(&bytes[at..])?.filter(|whole| *whole <= bytes.len() - at)
    {
        give(&bytes[at..at + whole], take);
        count += 1;
        at += whole;
    }
    Ok((count, at))
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
        frames.read(bytes, usize::MAX, |datagram| read.push(datagram.to_vec()))?;
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
            assert!(frames.read(wire, usize::MAX, |_| ()).is_err(), "{wire:?}");
            let mut frames = Frames::default();
            let all = wire
                .iter()
                .try_for_each(|byte| frames.read(&[*byte], usize::MAX, |_| ()).map(drop));
            assert!(all.is_err() && frames.begun.len() <= LENGTH, "{wire:?}");
        }
    }

    #[test]
    fn no_more_frames_are_passed_on_than_are_wanted_and_none_is_lost() {
        let wire = b"\0\x01a\0\0\0\x02bc\0\x01d\0";
        let (mut frames, mut read) = (Frames::default(), Vec::<u8>::new());
        let mut next = |bytes: &[u8], most| {
            let mut take = |datagram: &[u8]| read.extend(datagram);
            frames.read(bytes, most, &mut take).expect("frames")
        };
        assert_eq!(next(wire, 2), 2);
        assert_eq!(next(b"", 1), 1);
        assert_eq!(next(b"\x01e", 100), 2);
        assert_eq!(read, b"abcde");
    }

    #[test]
    fn a_datagram_that_no_frame_takes_is_left_out() {
        let mut wire = Vec::new();
        assert!(!write(&vec![0; 1 << 16], &mut wire));
        assert!(wire.is_empty());
    }
}
