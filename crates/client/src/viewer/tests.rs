use super::*;

#[test]
fn a_gap_in_the_numbers_is_asked_for_at_once_and_again_a_round_trip_later() {
    let t = Instant::now();
    let mut stream = ReceivedStream {
        kind: Kind::Video,
        ssrc: 1,
        nack: true,
        highest: 0x1_FFFE,
        missing: BTreeMap::new(),
        key_needed: false,
        next_pli: t,
    };
    let rtt = Duration::from_millis(50);
    stream.take(1, false, true);
    assert_eq!(stream.due(t, rtt), [0xffff, 0]);
    assert!(stream.due(t, rtt).is_empty());
    assert_eq!(stream.next(rtt), Some(t + rtt));
    stream.take(0xffff, false, true);
    assert_eq!(stream.due(t + rtt, rtt), [0]);
    stream.take(0, false, true);
    assert_eq!(stream.next(rtt), None);
}
