use super::*;

const MS: Duration = Duration::from_millis(1);

/// A record of a handshake message in plaintext, with so many bytes in all.
fn message(kind: u8, bytes: usize) -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9];
    let length = u16::try_from(bytes - 13).expect("a length");
    record.extend(length.to_be_bytes());
    record.push(kind);
    record.resize(bytes, 0);
    record
}

/// Our last flight, or a part of it: a ChangeCipherSpec, and what is encrypted behind it.
fn flight(bytes: usize) -> Bytes {
    let mut flight = vec![20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 1];
    if bytes > flight.len() {
        let mut finished = message(20, bytes - flight.len());
        finished[4] = 1;
        flight.extend(finished);
    }
    flight.into()
}

fn said(last: &mut LastFlight, now: Instant, datagram: Option<&[u8]>) -> usize {
    let mut out = Vec::new();
    let done = last.drive(now, datagram, &mut out).expect("it cannot fail");
    assert!(done.is_none(), "it has yielded its keys");
    out.iter().map(Bytes::len).sum()
}

#[test]
fn a_client_that_says_its_last_flight_again_gets_ours_again() {
    let t = Instant::now();
    let mut last = LastFlight::new(&[flight(90), flight(14)], t);
    let theirs = message(16, 200);
    assert_eq!(
        said(&mut last, t + 30 * MS, Some(&theirs)),
        0,
        "a part of it"
    );
    assert_eq!(said(&mut last, t + 50 * MS, Some(&theirs)), 104);
    assert_eq!(
        said(&mut last, t + 60 * MS, Some(&theirs)),
        0,
        "a part of it"
    );
    // A Certificate whose record has the rest in it.
    let certificate = message(11, 300);
    assert_eq!(said(&mut last, t + 100 * MS, Some(&certificate)), 104);
    let times = (0..100).filter(|n| said(&mut last, t + (200 + 50 * n) * MS, Some(&theirs)) > 0);
    assert_eq!(times.count(), 6, "eight in all");
    assert_eq!(last.next_timeout(), t + LINGER);
}

#[test]
fn nothing_else_is_answered() {
    let t = Instant::now();
    let mut last = LastFlight::new(&[flight(100)], t);
    let mut protected = message(16, 200);
    protected[4] = 1;
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    for (n, datagram) in [
        message(16, 99),
        message(1, 200),
        message(2, 200),
        message(20, 200),
        protected,
        alert.to_vec(),
        Vec::new(),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(said(&mut last, t + 1000 * MS, Some(datagram)), 0, "{n}");
    }
    assert_eq!(said(&mut last, t + 1000 * MS, None), 0);
}

#[test]
fn a_flight_of_before_that_was_said_again_in_the_same_moment_is_left_out() {
    let t = Instant::now();
    let before: Bytes = [2, 11, 12, 13, 14]
        .map(|kind| message(kind, 100))
        .concat()
        .into();
    let both: Bytes = [&before[..], &flight(90)].concat().into();
    for said_before in [vec![both.clone()], vec![before.clone(), flight(90)]] {
        let mut last = LastFlight::new(&said_before, t);
        assert_eq!(last.flight, [flight(90)]);
        assert_eq!(said(&mut last, t + 50 * MS, Some(&message(16, 200))), 90);
    }
}
