//! RTP packets (RFC 3550 §5.1): where each part lies, and how one header is replaced by another.
//! Reading copies nothing.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// Length of the fixed header, in bytes.
const FIXED: usize = 12;
/// "defined by profile" of one-byte header extensions (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xBEDE;
/// The same of two-byte header extensions, without the 4 appbits (RFC 8285 §4.3).
const TWO_BYTE: u16 = 0x1000;

/// A parsed header. Offsets have been checked against the packet it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    csrcs_end: u16,
    /// "defined by profile", and the range of the elements; empty without an extension.
    profile: u16,
    extension: (u16, u16),
    payload: (u16, u16),
}

impl Header {
    /// Reads a header; `None` for anything that is not a whole RTP packet. Padding is excluded from
    /// the payload.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let total = u16::try_from(packet.len()).ok()?;
        let fixed: &[u8; FIXED] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let csrcs_end = FIXED + 4 * usize::from(fixed[0] & 0x0F);
        let (mut profile, mut extension, mut start) = (0, (0, 0), csrcs_end);
        if fixed[0] & 0x10 != 0 {
            let head: &[u8; 4] = packet.get(csrcs_end..)?.first_chunk()?;
            profile = u16::from_be_bytes([head[0], head[1]]);
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            start = csrcs_end + 4 + 4 * words;
            extension = (
                u16::try_from(csrcs_end + 4).ok()?,
                u16::try_from(start).ok()?,
            );
        }
        let payload = packet.get(start..)?;
        let padding = if fixed[0] & 0x20 != 0 {
            usize::from(*payload.last()?)
        } else {
            0
        };
        if padding > payload.len() || (fixed[0] & 0x20 != 0 && padding == 0) {
            return None;
        }
        Some(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7F,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            csrcs_end: csrcs_end as u16,
            profile,
            extension,
            payload: (start as u16, total - padding as u16),
        })
    }

    fn payload_range(&self) -> Range<usize> {
        usize::from(self.payload.0)..usize::from(self.payload.1)
    }

    /// The header extension elements of the packet this header was parsed from.
    pub(super) fn extensions<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        let range = usize::from(self.extension.0)..usize::from(self.extension.1);
        let rest = packet.get(range).unwrap_or_default();
        match self.profile {
            ONE_BYTE => Elements {
                rest,
                two_byte: false,
            },
            profile if profile & 0xFFF0 == TWO_BYTE => Elements {
                rest,
                two_byte: true,
            },
            _ => Elements {
                rest: &[],
                two_byte: false,
            },
        }
    }

    /// The element with this id, if the packet has it.
    pub(super) fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.extensions(packet)
            .find_map(|(found, value)| (found == id).then_some(value))
    }
}

/// Header extension elements: (id, value).
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, length, rest) = if self.two_byte {
                let (&length, rest) = rest.split_first()?;
                (first, usize::from(length), rest)
            } else {
                // Id 15 ends the list (RFC 8285 §4.2).
                if first >> 4 == 15 {
                    self.rest = &[];
                    return None;
                }
                (first >> 4, usize::from(first & 0x0F) + 1, rest)
            };
            let (value, rest) = rest.split_at_checked(length)?;
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// A packet with its parsed header. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub header: Header,
    data: Bytes,
}

impl Packet {
    /// Parses a packet; `None` as for [`Header::parse`].
    pub(super) fn parse(data: Bytes) -> Option<Self> {
        let header = Header::parse(&data)?;
        Some(Self { header, data })
    }

    /// Size in bytes, as received.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// The payload without padding.
    pub(super) fn payload(&self) -> &[u8] {
        self.data
            .get(self.header.payload_range())
            .unwrap_or_default()
    }

    /// The element with this id, if the packet has it.
    pub(super) fn extension(&self, id: u8) -> Option<&[u8]> {
        self.header.extension(&self.data, id)
    }

    fn csrcs(&self) -> &[u8] {
        self.data
            .get(FIXED..usize::from(self.header.csrcs_end))
            .unwrap_or_default()
    }

    /// The original packet in an RTX packet (RFC 4588 §4): the original sequence number precedes
    /// the payload. `None` where there is none, as in the padding that browsers send to probe the
    /// path.
    pub(super) fn unwrap_rtx(&self, ssrc: u32, payload_type: u8) -> Option<Self> {
        let (sequence, payload) = self.payload().split_first_chunk::<2>()?;
        if payload.is_empty() {
            return None;
        }
        let head = self.data.get(..usize::from(self.header.payload.0))?;
        let mut data = BytesMut::with_capacity(head.len() + payload.len());
        data.put_slice(head);
        data.put_slice(payload);
        data[0] &= !0x20;
        data[1] = (data[1] & 0x80) | (payload_type & 0x7F);
        data[2..4].copy_from_slice(sequence);
        data[8..12].copy_from_slice(&ssrc.to_be_bytes());
        Self::parse(data.freeze())
    }

    /// Writes this packet with another header: CSRCs, marker and time stamp are kept.
    pub(super) fn write(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.clear();
        let csrcs = self.csrcs();
        let extended = !head.extensions.is_empty();
        out.push(0x80 | (u8::from(extended) << 4) | (csrcs.len() / 4) as u8);
        out.push((u8::from(self.header.marker) << 7) | (head.payload_type & 0x7F));
        out.put_u16(head.sequence);
        out.put_u32(self.header.timestamp);
        out.put_u32(head.ssrc);
        out.put_slice(csrcs);
        if extended {
            head.extensions.write(out);
        }
        if head.retransmission {
            out.put_u16(self.header.sequence);
        }
        out.put_slice(self.payload());
    }
}

/// The values of a rewritten header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub payload_type: u8,
    pub sequence: u16,
    pub ssrc: u32,
    pub extensions: &'a NewElements,
    /// The packet becomes an RTX packet (RFC 4588 §4): its own sequence number is put before the
    /// payload.
    pub retransmission: bool,
}

/// Header extension elements to write: in the one-byte form (RFC 8285 §4.2), or in the two-byte
/// form (§4.3) where one of them is too long for it.
#[derive(Debug, Default)]
pub(super) struct NewElements {
    bytes: Vec<u8>,
    two_byte: bool,
}

impl NewElements {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.two_byte = false;
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends an element that fits the one-byte form: an id of 1 to 14, 1 to 16 bytes. Others are
    /// left out.
    pub(super) fn put(&mut self, id: u8, value: &[u8]) {
        if (1..=16).contains(&value.len()) {
            self.put_any(id, value);
        }
    }

    /// Appends an element of 0 to 255 bytes, for receivers that agreed to both forms (RFC 8285 §6).
    /// Its id fits the one-byte form too, since the next packet's elements may all be short.
    pub(super) fn put_any(&mut self, id: u8, value: &[u8]) {
        let Ok(length) = u8::try_from(value.len()) else {
            return;
        };
        if !(1..=14).contains(&id) {
            return;
        }
        if !self.two_byte && !(1..=16).contains(&length) {
            self.widen();
        }
        if self.two_byte {
            self.bytes.extend([id, length]);
        } else {
            self.bytes.push((id << 4) | (length - 1));
        }
        self.bytes.extend_from_slice(value);
    }

    /// Converts the elements so far to the two-byte form.
    fn widen(&mut self) {
        let narrow = std::mem::take(&mut self.bytes);
        let elements = Elements {
            rest: &narrow,
            two_byte: false,
        };
        for (id, value) in elements {
            self.bytes.extend([id, value.len() as u8]);
            self.bytes.extend_from_slice(value);
        }
        self.two_byte = true;
    }

    fn write(&self, out: &mut Vec<u8>) {
        let words = self.bytes.len().div_ceil(4);
        out.put_u16(if self.two_byte { TWO_BYTE } else { ONE_BYTE });
        out.put_u16(words as u16);
        out.put_slice(&self.bytes);
        out.resize(out.len() + 4 * words - self.bytes.len(), 0);
    }
}

/// Builds a packet for tests.
#[cfg(test)]
pub(super) fn packet(
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    extensions: &[u8],
    payload: &[u8],
) -> Packet {
    let mut data = vec![0x80 | (u8::from(!extensions.is_empty()) << 4), payload_type];
    data.put_u16(sequence);
    data.put_u32(u32::from(sequence) * 3000);
    data.put_u32(ssrc);
    if !extensions.is_empty() {
        let words = extensions.len().div_ceil(4);
        data.put_u16(ONE_BYTE);
        data.put_u16(words as u16);
        data.put_slice(extensions);
        data.resize(16 + 4 * words, 0);
    }
    data.put_slice(payload);
    Packet::parse(data.into()).expect("a well-formed packet")
}

#[cfg(test)]
mod tests;
