//! Compound RTCP packets.

use bytes::Bytes;
use rtc_rtcp::packet::Packet;
use rtc_shared::error::Error;

pub fn write(packets: &[Box<dyn Packet>]) -> Bytes {
    rtc_rtcp::packet::marshal(packets)
        .expect("packets of our own")
        .freeze()
}

pub fn read(mut data: &[u8]) -> Result<Vec<Box<dyn Packet>>, Error> {
    rtc_rtcp::packet::unmarshal(&mut data)
}
