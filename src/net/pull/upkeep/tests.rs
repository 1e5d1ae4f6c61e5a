use super::*;

const MS: Duration = Duration::from_millis(1);
const CONNECTED: Way = Way {
    connected: true,
    answered: true,
    failed: false,
    refused: false,
    addresses: 1,
};
const ALONE: Way = Way {
    connected: false,
    answered: false,
    ..CONNECTED
};

/// What it does until `end`, and how long after the start.
fn acts(upkeep: &mut Upkeep, start: Instant, end: Duration, way: Way) -> Vec<(u128, Act)> {
    let mut acts = Vec::new();
    let mut now = upkeep.due(way);
    while now - start < end {
        let act = upkeep.act(now, way).expect("what is due is done");
        acts.push(((now - start).as_millis(), act));
        if act != Act::Stuck {
            upkeep.begins(now, way.connected);
        }
        if way.connected {
            // The other node is there, and its publisher silent.
            upkeep.connected(now);
        }
        now = upkeep.due(way);
    }
    acts
}

#[test]
fn a_silence_is_met_at_once_and_then_seldom() {
    let start = Instant::now();
    let mut upkeep = Upkeep::new(start);
    let all = acts(&mut upkeep, start, Duration::from_secs(11), CONNECTED);
    assert_eq!(
        all,
        [(300, Act::Anew), (5300, Act::Anew), (10_300, Act::Anew)]
    );
    let heard = start + Duration::from_secs(12);
    upkeep.heard(heard);
    assert!(upkeep.due(CONNECTED) > heard + 300 * MS);
}

/// Packets at this pace; how many silences there were.
fn silences(upkeep: &mut Upkeep, now: &mut Instant, pace: Duration, packets: u32) -> usize {
    let mut count = 0;
    for _ in 0..packets {
        let next = *now + pace;
        while upkeep.due(CONNECTED) <= next {
            let at = upkeep.due(CONNECTED);
            count += usize::from(upkeep.act(at, CONNECTED) == Some(Act::Anew));
            upkeep.begins(at, true);
            upkeep.connected(at);
        }
        *now = next;
        upkeep.heard(next);
    }
    count
}

#[test]
fn a_screen_that_seldom_changes_is_not_silent() {
    let mut now = Instant::now();
    let mut upkeep = Upkeep::new(now);
    assert_eq!(silences(&mut upkeep, &mut now, 20 * MS, 100), 0);
    assert_eq!(silences(&mut upkeep, &mut now, 1000 * MS, 100), 1);
    // Sound again, and some seconds later a silence is met as soon as before.
    assert_eq!(silences(&mut upkeep, &mut now, 20 * MS, 250), 0);
    assert_eq!(upkeep.due(CONNECTED), now + 300 * MS);
}

#[test]
fn while_nobody_answers_checks_go_on_and_addresses_take_turns() {
    let start = Instant::now();
    let only = acts(
        &mut Upkeep::new(start),
        start,
        Duration::from_secs(17),
        ALONE,
    );
    assert_eq!(only, [(8000, Act::Stuck), (16_000, Act::Stuck)]);
    let two = Way {
        addresses: 2,
        ..ALONE
    };
    let several = acts(&mut Upkeep::new(start), start, 600 * MS, two);
    assert_eq!(several, [(250, Act::Next), (500, Act::Next)]);
}

#[test]
fn a_handshake_that_fails_begins_anew_and_an_unknown_peer_is_told_soon() {
    let start = Instant::now();
    let failed = Way {
        answered: true,
        failed: true,
        ..ALONE
    };
    let all = acts(&mut Upkeep::new(start), start, 300 * MS, failed);
    assert_eq!(all, [(250, Act::Anew)]);
    let hangs = Way {
        answered: true,
        ..ALONE
    };
    let all = acts(&mut Upkeep::new(start), start, 4000 * MS, hangs);
    assert_eq!(all, [(3000, Act::Anew)]);
    let refused = Way {
        refused: true,
        ..ALONE
    };
    let all = acts(&mut Upkeep::new(start), start, 300 * MS, refused);
    assert_eq!(all, [(250, Act::Stuck)]);
}
