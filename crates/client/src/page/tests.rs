use super::*;

const MS: Duration = Duration::from_millis(1);

fn hello(process: &str, connected: bool, handshaking: bool) -> Hello {
    Hello {
        process: process.to_owned(),
        connected,
        handshaking,
        ..Hello::default()
    }
}

fn link(handshakes: u64, connected: bool) -> Link {
    Link {
        handshakes,
        connected,
        rtt: Some(2 * MS),
        heard: None,
        mixes: true,
        sent: None,
        broken: false,
    }
}

#[test]
fn keys_are_renewed_as_soon_as_the_server_is_back_and_again_if_nothing_came_of_it() {
    let t = Instant::now();
    let mut page = Page::new(Way::Renew, true);
    page.hello(t, link(0, false), hello("1", false, false));
    assert_eq!(page.assess(t, link(1, true)), None);
    page.keyed();
    page.lost(t, link(1, true));
    page.unreachable(true);
    assert_eq!(page.assess(t, link(1, true)), None);
    assert_eq!(
        page.next(t, link(1, true)),
        None,
        "a refusing port tells when it takes again"
    );
    let back = t + 20 * MS;
    page.hello(back, link(1, true), hello("2", false, false));
    assert_eq!(page.assess(back, link(1, true)), Some(Act::Renew));
    assert_eq!(page.assess(back, link(1, false)), None);
    assert_eq!(page.next(back, link(1, false)), Some(back + 300 * MS));
    assert_eq!(
        page.assess(back + 300 * MS, link(1, false)),
        Some(Act::Renew)
    );
    page.keyed();
    assert_eq!(page.assess(back + 310 * MS, link(2, true)), None);
    assert!(page.outage.is_none());
}

#[test]
fn a_session_that_cannot_be_kept_is_made_anew() {
    let t = Instant::now();
    let mut page = Page::new(Way::Renew, true);
    page.hello(t, link(0, false), hello("1", true, false));
    page.lost(t, link(1, true));
    page.hello(t, link(1, true), hello("2", false, false));
    assert_eq!(page.assess(t, link(1, true)), Some(Act::Renew));
    assert_eq!(
        page.assess(t + 5001 * MS, link(1, false)),
        Some(Act::Rejoin)
    );
    assert_eq!(
        page.assess(t + 6000 * MS, link(1, false)),
        None,
        "it is on its way"
    );
}

#[test]
fn a_page_that_rejoins_does_so_at_the_streams_end_or_without_one_when_all_is_silent() {
    let t = Instant::now();
    let mut page = Page::new(Way::Rejoin, true);
    page.lost(t, link(1, true));
    assert_eq!(page.assess(t, link(1, true)), Some(Act::Rejoin));
    let mut page = Page::new(Way::Rejoin, false);
    let heard = Link {
        heard: Some(t),
        ..link(1, true)
    };
    assert_eq!(page.assess(t, heard), None);
    assert_eq!(page.next(t, heard), Some(t + SILENCE));
    assert_eq!(page.assess(t + SILENCE, heard), Some(Act::Rejoin));
}

#[test]
fn a_page_waits_where_the_server_kept_the_keys() {
    let t = Instant::now();
    let mut page = Page::new(Way::Wait, true);
    page.hello(t, link(0, false), hello("1", true, false));
    page.lost(t, link(1, true));
    page.hello(t, link(1, true), hello("2", true, false));
    assert_eq!(page.assess(t, link(1, true)), None);
    assert!(page.outage.is_none());
}

#[test]
fn far_away_keys_are_renewed_at_once_and_not_again_while_the_server_says_that_it_is_at_it() {
    let t = Instant::now();
    let far = |handshakes, connected| Link {
        rtt: Some(50 * MS),
        ..link(handshakes, connected)
    };
    let mut page = Page::new(Way::Renew, true);
    page.hello(t, far(0, false), hello("1", true, false));
    page.lost(t, far(1, true));
    assert_eq!(page.assess(t, far(1, true)), Some(Act::Renew));
    let back = t + 100 * MS;
    page.hello(back, far(1, false), hello("2", false, true));
    assert_eq!(page.assess(back, far(1, false)), None);
    assert_eq!(page.next(back, far(1, false)), Some(back + 165 * MS));
    page.keyed();
    assert_eq!(page.assess(back + 20 * MS, far(2, true)), None);
    assert!(page.outage.is_none());
}

#[test]
fn a_stream_that_was_lost_alone_is_no_reason_to_renew_keys() {
    let t = Instant::now();
    let mut page = Page::new(Way::Renew, true);
    page.hello(t, link(0, false), hello("1", true, false));
    page.lost(t, link(1, true));
    page.hello(t, link(1, true), hello("1", true, false));
    assert_eq!(page.assess(t, link(1, true)), None);
    assert!(page.outage.is_none());
}
