use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_times_are_those_of_the_page() {
    let page = include_str!("../../../../static/rekindle-outage.js");
    let ms = |time: Duration| time.as_millis().to_string();
    for (name, value) in [
        (
            "REAPPLY_MS",
            format!("[{}, {}]", ms(REAPPLY[0]), ms(REAPPLY[1])),
        ),
        ("BLIND_MS", format!("[{}, 10_000]", ms(BLIND[0]))),
        ("FAR_MS", ms(FAR)),
        ("HANDSHAKE_MS", ms(HANDSHAKE)),
        ("HANDSHAKE_RTTS", HANDSHAKE_RTTS.to_string()),
        ("ANSWER_MS", ms(ANSWER)),
        ("ANSWER_RTTS", ANSWER_RTTS.to_string()),
        ("FRESH_MS", ms(FRESH)),
        ("SOONEST_RTTS", SOONEST_RTTS.to_string()),
        ("BETWEEN_RTTS", BETWEEN_RTTS.to_string()),
        ("GIVE_UP_MS", ms(GIVE_UP)),
        ("KEPT_MS", ms(KEPT)),
    ] {
        assert!(
            page.contains(&format!("const {name} = {value};")),
            "{name}: {value} here"
        );
    }
    assert_eq!(BLIND[1], 10_000 * MS);
}

fn far(sent: Option<Instant>) -> Link {
    Link {
        handshakes: 1,
        connected: false,
        rtt: Some(50 * MS),
        heard: None,
        mixes: true,
        sent,
        broken: false,
    }
}

fn at(at: Instant) -> Present {
    Present {
        at,
        keeps: false,
        stream_open: true,
        refused: false,
        server_has_keys: false,
    }
}

#[test]
fn a_renewal_waits_for_the_answer_to_a_client_hello_that_has_just_been_repeated() {
    let t = Instant::now();
    let mut outage = Outage::new(t, far(None), None);
    assert_eq!(
        outage.renewal_at(far(None), at(t)),
        Some(t),
        "from far away at once"
    );
    outage.renews(t, far(None));
    let back = t + 300 * MS;
    outage.greeted(back, &Hello::default());
    let repeated = t + 290 * MS;
    assert_eq!(
        outage.renewal_at(far(Some(repeated)), at(back)),
        Some(repeated + 165 * MS),
        "it came to a server that was there, and is answered for certain"
    );
    let early = t + 200 * MS;
    assert_eq!(
        outage.renewal_at(far(Some(early)), at(back)),
        Some(early + 70 * MS)
    );
}

#[test]
fn an_attempt_that_got_the_answer_to_another_one_is_done_again_once() {
    let t = Instant::now();
    let mut outage = Outage::new(t, far(None), None);
    outage.renews(t, far(None));
    let back = t + 300 * MS;
    outage.greeted(back, &Hello::default());
    outage.renews(back, far(Some(back)));
    // Sooner than the server can have seen it.
    outage.saw(back + 20 * MS);
    assert_eq!(
        outage.renewal_at(far(Some(back)), at(back)),
        Some(back + 75 * MS),
        "when that answer has gone by"
    );
    let again = back + 75 * MS;
    outage.renews(again, far(Some(again)));
    outage.saw(again + 20 * MS);
    assert_eq!(
        outage.renewal_at(far(Some(again)), at(again)),
        Some(again + 250 * MS),
        "not at once any more"
    );
}
