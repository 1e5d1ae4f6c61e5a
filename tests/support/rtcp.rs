//! Compound RTCP packets.

use bytes::Bytes;
use rtc_rtcp::packet::Packet;

pub fn write(packets: &[Box<dyn Packet>]) -> Bytes {
    rtc_rtcp::packet::marshal(packets).unwrap().freeze()
}

pub fn read(mut data: &[u8]) -> Vec<Box<dyn Packet>> {
    rtc_rtcp::packet::unmarshal(&mut data).expect("the server writes valid RTCP")
}
