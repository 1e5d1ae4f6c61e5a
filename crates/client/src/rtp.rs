//! The parts of an RTP packet that clients need (RFC 3550 §5.1), without a copy.

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Rtp<'a> {
    /// Payload type.
    pub pt: u8,
    /// M.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// In units of the codec's clock.
    pub timestamp: u32,
    /// Of the stream.
    pub ssrc: u32,
    /// What follows CSRCs and header extension.
    pub payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Parses a packet; `None` where it is truncated.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let head = data.first_chunk::<12>()?;
        let mut start = 12 + 4 * usize::from(head[0] & 0x0f);
        if head[0] & 0x10 != 0 {
            let length = data.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([length[0], length[1]]));
        }
        Some(Self {
            pt: head[1] & 0x7f,
            marker: head[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: data.get(start..)?,
        })
    }
}

#[cfg(test)]
mod tests;
