use super::*;
use crate::broadcast::tests::random::Random;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};

#[test]
fn reads_what_another_implementation_writes() {
    let info = SenderInfo {
        ntp_time: 0x0102_0304_0506_0708,
        rtp_time: 9,
        packet_count: 10,
        octet_count: 11,
    };
    let report = ReceptionReport {
        ssrc: 3,
        ..Default::default()
    };
    let sr = SenderReport {
        ssrc: 7,
        ntp_time: info.ntp_time,
        rtp_time: 9,
        packet_count: 10,
        octet_count: 11,
        reports: vec![report],
        ..Default::default()
    };
    let nack = TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: 7,
        nacks: vec![NackPair {
            packet_id: 65_535,
            lost_packets: 0b101,
        }],
    };
    let fir = FullIntraRequest {
        sender_ssrc: 1,
        media_ssrc: 0,
        fir: vec![
            FirEntry {
                ssrc: 7,
                sequence_number: 1,
            },
            FirEntry {
                ssrc: 8,
                sequence_number: 1,
            },
        ],
    };
    let pli = PictureLossIndication {
        sender_ssrc: 1,
        media_ssrc: 9,
    };
    let wire = write(&[
        Box::new(sr),
        description(7, b"abc"),
        Box::new(nack),
        Box::new(fir),
        Box::new(pli),
    ])
    .unwrap();
    let items: Vec<_> = read(&wire).collect();
    let [a, b, Item::Nack { ssrc: 7, pairs }, rest @ ..] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(*a, Item::SenderReport { ssrc: 7, info });
    assert_eq!(
        *b,
        Item::Cname {
            ssrc: 7,
            name: b"abc"
        }
    );
    assert_eq!(nacked(pairs).collect::<Vec<_>>(), [65_535, 0, 2]);
    assert_eq!(rest, [7, 8, 9].map(|ssrc| Item::KeyframeRequest { ssrc }));
}

#[test]
fn each_block_of_a_receiver_report_is_read_and_no_more_than_it_has() {
    let report = |fraction_lost| ReceptionReport {
        ssrc: 3,
        fraction_lost,
        ..Default::default()
    };
    let wire = receiver_report(1, vec![report(7), report(255)], None).unwrap();
    let lost = |wire: &[u8]| -> Vec<u8> {
        let items = read(wire).filter_map(|item| match item {
            Item::Reception { fraction_lost } => Some(fraction_lost),
            _ => None,
        });
        items.collect()
    };
    assert_eq!(lost(&wire), [7, 255]);
    let mut fewer = wire.clone();
    fewer[0] -= 1;
    assert_eq!(lost(&fewer), [7]);
    let mut more = wire;
    more[0] += 5;
    assert_eq!(lost(&more), [7, 255], "a count that is too high");
}

#[test]
fn what_is_written_can_be_read_by_another_implementation() {
    let report = ReceptionReport {
        ssrc: 7,
        total_lost: 0xFF_FFFE,
        ..Default::default()
    };
    let wire = receiver_report(1, vec![report], Some(5_000_000)).unwrap();
    let packets = rtc_rtcp::packet::unmarshal(&mut wire.freeze()).unwrap();
    assert_eq!(packets.len(), 3);
    let rr = packets[0]
        .as_any()
        .downcast_ref::<ReceiverReport>()
        .unwrap();
    assert_eq!(
        (rr.ssrc, rr.reports[0].ssrc, rr.reports[0].total_lost),
        (1, 7, 0xFF_FFFE)
    );
    let remb = packets[2]
        .as_any()
        .downcast_ref::<ReceiverEstimatedMaximumBitrate>()
        .unwrap();
    assert_eq!(remb.ssrcs, [7]);
    assert!((remb.bitrate - 5e6).abs() < 50.0);
}

#[test]
fn many_missing_packets_are_split_over_nack_packets() {
    let sequences: Vec<u16> = (0..1000).map(|i| i * 20).collect();
    let packets = nacks(1, 2, &sequences);
    assert_eq!(packets.len(), 4);
    let asked: Vec<u16> = packets
        .iter()
        .flat_map(|packet| read(packet).collect::<Vec<_>>())
        .flat_map(|item| match item {
            Item::Nack { ssrc: 2, pairs } => nacked(pairs).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, sequences.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn any_bytes_are_read_without_panic() {
    let mut random = Random(1);
    for round in 0..50_000usize {
        let mut data: Vec<u8> = (0..round % 64).map(|_| random.byte()).collect();
        if data.len() >= 4 {
            data[0] = 0x80 | (data[0] & 0x3F);
            data[1] = 200 + data[1] % 8;
            data[2] = 0;
            data[3] %= 16;
        }
        for item in read(&data) {
            if let Item::Nack { pairs, .. } = item {
                assert!(nacked(pairs).count() <= 17 * data.len());
            }
        }
    }
}
