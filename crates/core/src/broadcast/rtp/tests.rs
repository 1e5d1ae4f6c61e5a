use super::*;
use crate::broadcast::tests::random::Random;

#[test]
fn reads_all_parts_of_a_header() {
    let data = [
        0xB1, 0xE0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3, 4, 0xBE, 0xDE, 0, 2, 0x31, 5, 6,
        0, 0x40, 7, 0, 0, b'a', b'b', 0, 2,
    ];
    let packet = Packet::parse(Bytes::copy_from_slice(&data)).unwrap();
    let h = packet.header;
    assert!(h.marker);
    assert_eq!(
        (h.payload_type, h.sequence, h.timestamp, h.ssrc),
        (96, 0x1234, 9, 7)
    );
    assert_eq!(packet.csrcs(), [1, 2, 3, 4]);
    assert_eq!(
        h.extensions(&data).collect::<Vec<_>>(),
        [(3, &[5u8, 6][..]), (4, &[7][..])]
    );
    assert_eq!(packet.payload(), b"ab", "padding is left out");
}

#[test]
fn reads_two_byte_extensions() {
    let mut data = vec![
        0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0x05, 0, 2, 20, 3, 1, 2, 3, 0, 21, 0,
    ];
    data.push(1);
    let h = Header::parse(&data).unwrap();
    assert_eq!(
        h.extensions(&data).collect::<Vec<_>>(),
        [(20, &[1u8, 2, 3][..]), (21, &[][..])]
    );
}

#[test]
fn one_long_element_makes_all_of_them_two_byte_elements() {
    let original = packet(7, 96, 1, &[], b"payload");
    let mut elements = NewElements::default();
    let written = |elements: &NewElements| {
        let mut wire = Vec::new();
        let head = Head {
            payload_type: 96,
            sequence: 1,
            ssrc: 7,
            extensions: elements,
            retransmission: false,
        };
        original.write(&head, &mut wire);
        let header = Header::parse(&wire).unwrap();
        let found: Vec<_> = header
            .extensions(&wire)
            .map(|(id, v)| (id, v.to_vec()))
            .collect();
        assert!(wire.ends_with(b"payload"));
        (header.profile, found)
    };
    elements.put(4, b"mid");
    elements.put(15, b"no such id");
    assert_eq!(written(&elements), (ONE_BYTE, vec![(4, b"mid".to_vec())]));
    let long = [7; 40];
    elements.put(7, &long);
    elements.put(7, &[]);
    assert_eq!(
        written(&elements).0,
        ONE_BYTE,
        "nobody gets a form that he has not agreed to"
    );
    elements.put_any(8, &long);
    let both = vec![(4, b"mid".to_vec()), (8, long.to_vec())];
    assert_eq!(written(&elements), (TWO_BYTE, both));
    elements.clear();
    elements.put_any(8, &[]);
    elements.put_any(9, &[0; 256]);
    assert_eq!(written(&elements), (TWO_BYTE, vec![(8, vec![])]));
}

#[test]
fn any_bytes_are_parsed_without_panic() {
    let mut random = Random(1);
    for length in (0..80).cycle().take(20_000) {
        let mut data: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        if let Some(first) = data.first_mut() {
            *first = (*first & 0x3F) | 0x80;
        }
        if length > 16 && length % 2 == 0 {
            data[12..16].copy_from_slice(&[0xBE, 0xDE, 0, 1]);
        }
        let Some(packet) = Packet::parse(data.into()) else {
            continue;
        };
        assert!(packet.header.extensions(&packet.data).count() <= packet.len());
        assert!(packet.payload().len() <= packet.len());
        let _ = packet.unwrap_rtx(1, 2);
    }
}

#[test]
fn refuses_padding_longer_than_the_payload() {
    assert!(Header::parse(&[0xA0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 3]).is_none());
    assert!(Header::parse(&[0xA0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0]).is_none());
    assert!(Header::parse(&[0xA0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]).is_none());
}

#[test]
fn rtx_round_trip_gives_the_original() {
    let original = packet(7, 96, 65_535, &[0x10, b'0'], b"payload");
    let mut wire = Vec::new();
    let mut elements = NewElements::default();
    elements.put(1, b"0");
    let head = Head {
        payload_type: 97,
        sequence: 3,
        ssrc: 8,
        extensions: &elements,
        retransmission: true,
    };
    original.write(&head, &mut wire);
    let rtx = Packet::parse(wire.into()).unwrap();
    assert_eq!(
        (
            rtx.header.ssrc,
            rtx.header.sequence,
            rtx.header.payload_type
        ),
        (8, 3, 97)
    );
    let unwrapped = rtx.unwrap_rtx(7, 96).unwrap();
    assert_eq!(unwrapped, original);
}

#[test]
fn a_padding_only_rtx_packet_unwraps_to_nothing() {
    let mut data = vec![0xA0, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8];
    data.resize(12 + 255, 0);
    data.push(255);
    data.push(0);
    *data.last_mut().unwrap() = 255;
    let rtx = Packet::parse(data.into()).unwrap();
    assert!(rtx.unwrap_rtx(7, 96).is_none());
}
