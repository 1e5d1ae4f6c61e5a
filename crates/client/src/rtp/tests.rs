use super::*;

#[test]
fn a_packet_is_read_behind_its_header_extension() {
    let mut data = vec![0x90, 0x80 | 96, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9];
    data.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
    data.extend(b"payload");
    let packet = Rtp::read(&data).expect("a packet");
    assert_eq!((packet.pt, packet.sequence, packet.ssrc), (96, 7, 9));
    assert_eq!((packet.marker, packet.timestamp), (true, 8));
    assert_eq!(packet.payload, b"payload");
    for length in 0..20 {
        assert!(Rtp::read(&data[..length]).is_none(), "cut at {length}");
    }
}
