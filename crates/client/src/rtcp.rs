//! Compound RTCP packets.

use bytes::Bytes;
use rtc_rtcp::packet::Packet;
use rtc_shared::error::Error;

/// Writes a compound packet.
///
/// # Panics
/// Where a packet cannot be written: never for those that clients make.
pub fn write(packets: &[Box<dyn Packet>]) -> Bytes {
    rtc_rtcp::packet::marshal(packets)
        .expect("packets of our own")
        .freeze()
}

/// Reads a compound packet.
///
/// # Errors
/// Where it is none.
pub fn read(mut data: &[u8]) -> Result<Vec<Box<dyn Packet>>, Error> {
    rtc_rtcp::packet::unmarshal(&mut data)
}
