//! Restarts by the thousand, each drawn from a seed: what comes before its record, twice, late or
//! in another order, and who is next.
//!
//! `REKINDLE_SEEDS=2000:8000` runs another range of seeds than the one that is always run.

mod support;

use std::time::Duration;

use rekindle::broadcast::Event;
use rekindle::ids::Role;
use rekindle::sdp::Kind;
use support::{Browser, Conditions, Id, Offer, OfferOptions, Random, Reading, World, ms};

/// After the last record was read everybody who goes on trying has keys within this time, besides
/// some attempts of the page.
const BACK: Duration = Duration::from_secs(2);
/// The same on a network that loses nothing, besides three attempts: an answer that is on its way
/// when the next attempt begins spoils it. On one that delivers out of order it is five: a Finished
/// that comes before the ChangeCipherSpec is as good as lost, and what is sent again after a timeout
/// comes when the page has given that attempt up.
const BACK_WITHOUT_LOSS: Duration = Duration::from_millis(600);

/// What a seed makes of a restart.
#[derive(Debug)]
struct Plan {
    viewers: Vec<usize>,
    browsers: Vec<Browser>,
    network: Conditions,
    late_copies: (f64, Duration),
    handshake_time: Duration,
    down: Duration,
    reading: Reading,
    /// A second kill, so long after the first start.
    again: Option<Duration>,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let one_of = |random: &mut Random, choices: &[u64]| {
            ms(choices[random.below(choices.len() as u64) as usize])
        };
        let lossy = random.chance(0.5);
        let delay = one_of(random, &[0, 1, 5, 20, 50, 80]);
        let records = one_of(random, &[0, 1, 5, 20, 100, 400]);
        let channels = 1 + random.below(3) as usize;
        Self {
            viewers: (0..channels).map(|_| random.below(4) as usize).collect(),
            browsers: vec![
                if random.chance(0.7) {
                    Browser::Chromium
                } else {
                    Browser::Firefox
                };
                16
            ],
            network: Conditions {
                delay,
                jitter: one_of(random, &[0, 1, 10, 40]),
                loss: if lossy {
                    0.02 + random.below(10) as f64 / 100.0
                } else {
                    0.0
                },
                duplicate: if random.chance(0.5) { 0.1 } else { 0.0 },
                ..Conditions::default()
            },
            late_copies: if random.chance(0.6) {
                (0.3, one_of(random, &[100, 600, 1500, 3000]))
            } else {
                (0.0, Duration::ZERO)
            },
            handshake_time: one_of(random, &[0, 1, 5, 15]),
            down: one_of(random, &[0, 1, 20, 100, 700]),
            reading: match random.below(4) {
                0 => Reading::AtOnce,
                1 => Reading::AnyOrder(ms(1 + random.below(2500))),
                _ => Reading::OneByOne(records),
            },
            again: random.chance(0.3).then(|| ms(random.below(1200))),
        }
    }

    /// How long a page waits for an attempt: some round trips, the first of them for ICE where the
    /// browser goes to another port.
    fn patience(&self) -> Duration {
        let round_trip = 2 * (self.network.delay + self.network.jitter);
        (4 * round_trip).max(ms(500))
    }

    fn loses_nothing(&self) -> bool {
        self.network.loss == 0.0
    }
}

struct Broadcast {
    publisher: Id,
    viewers: Vec<Id>,
}

/// The world before the restart: all are connected, and media flows.
fn begin(seed: u64, plan: &Plan, random: &mut Random) -> (World, Vec<Broadcast>) {
    let mut world = World::new(seed);
    world.journal = Some(vec![format!("seed {seed}: {plan:?}")]);
    let mut broadcasts = Vec::new();
    for (n, viewers) in plan.viewers.iter().enumerate() {
        let channel = format!("channel{n}");
        let publisher = world.publish_with(&channel, OfferOptions::new(Role::Publisher), None);
        world.run_until_connected(&[publisher]);
        let viewers: Vec<Id> = (0..*viewers).map(|_| world.watch(&channel)).collect();
        world.run_until_connected(&viewers);
        broadcasts.push(Broadcast { publisher, viewers });
    }
    for (id, browser) in world.all().into_iter().zip(&plan.browsers) {
        let client = world.client_mut(id);
        client.manner.browser = *browser;
        client.manner.offer = Offer::only_12(random.chance(0.3));
        // A ClientHello of several datagrams.
        client.manner.mtu = if random.chance(0.3) { 300 } else { 1200 };
        client.remembers = true;
        client.patience = plan.patience();
    }
    world.run(ms(200));
    (world, broadcasts)
}

/// One restart; panics where something is not as it must be.
fn restart(seed: u64) {
    let mut random = Random::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let plan = Plan::new(&mut random);
    let (mut world, broadcasts) = begin(seed, &plan, &mut random);
    world.network.default = plan.network;
    world.network.late_copies = plan.late_copies;
    world.reading = plan.reading;
    world.handshake_time = plan.handshake_time;
    world.run(ms(random.below(400)));
    world.restart(plan.down);
    if let Some(pause) = plan.again {
        world.run(pause);
        world.restart(plan.down);
    }
    let all = world.all();
    world.run_until("all records are read", World::has_read_all);
    let read = world.now;
    // The last answer of the process before may be on its way still, so that the browser alone does
    // not know.
    world.run_until("all have keys of this process", |world| {
        world.snapshot().connected == all.len()
            && all.iter().all(|id| world.client(*id).is_connected())
    });
    let took = world.now - read;
    let patience = plan.patience();
    let limit = if plan.loses_nothing() {
        let attempts = if plan.network.jitter.is_zero() { 3 } else { 5 };
        BACK_WITHOUT_LOSS + attempts * patience
    } else {
        BACK + 5 * patience
    };
    assert!(
        took <= limit,
        "all are back only {took:?} after the records were read"
    );
    world.note(|| "all are back".into());
    // What is still on its way spoils nothing either.
    world.network.default.loss = 0.0;
    world.run(ms(700));
    for broadcast in &broadcasts {
        for viewer in &broadcast.viewers {
            let before = world.got(*viewer, broadcast.publisher, Kind::Video);
            world.run(ms(100));
            let more = world.got(*viewer, broadcast.publisher, Kind::Video) - before;
            assert!(more > 0, "media reaches its viewer, and it can read it");
            world.assert_exact(*viewer, broadcast.publisher);
        }
    }
    assert!(
        all.iter().all(|id| world.client(*id).is_connected()),
        "and all keep their keys"
    );
    let gone = world.count(|event| matches!(event, Event::Gone { .. }));
    assert_eq!(gone, 0, "nobody is let go");
    assert_eq!(world.spoilings, [], "no attempt spoils a later one");
    assert_eq!(
        world.served_before_publishers,
        [],
        "publishers are served first"
    );
}

/// The seeds to run: those of the environment, or these.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("REKINDLE_SEEDS") else {
        return usual;
    };
    let (first, end) = text.split_once(':').expect("REKINDLE_SEEDS is FIRST:END");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// Runs all of them, and names those that fail.
fn restart_each(seeds: impl IntoIterator<Item = u64>) {
    let failed: Vec<u64> = seeds
        .into_iter()
        .filter(|seed| std::panic::catch_unwind(|| restart(*seed)).is_err())
        .collect();
    assert_eq!(failed, [0_u64; 0], "the steps of each are above");
}

#[test]
fn whatever_a_restart_is_like_everybody_who_goes_on_trying_is_back_soon() {
    restart_each(seeds(0..30));
}

// What other seeds have found, each with a cause of its own.

#[test]
fn an_attempt_that_was_over_before_its_record_came_is_not_answered_after_it() {
    restart_each([306, 396, 425, 476, 629]);
}

#[test]
fn a_page_that_renews_again_and_again_gets_no_last_flights_of_the_handshakes_before() {
    for seed in [120, 154, 194] {
        let (mut world, _, viewers) = World::broadcast(seed, 1, None);
        // The answers of several handshakes would come in any order.
        world.network.default = Conditions {
            delay: ms(20),
            jitter: ms(10),
            ..Conditions::default()
        };
        world.run(ms(500));
        for n in 0..8 {
            let now = world.now;
            world.client_mut(viewers[0]).renew(now);
            let took = world.run_until_connected(&viewers);
            assert!(took <= ms(200), "renewal {n}: {took:?}");
            world.run(ms(100));
        }
    }
}

#[test]
fn what_was_slow_once_is_not() {
    restart_each([120, 154, 180, 194, 215, 291, 633, 675, 1427]);
}

#[test]
fn an_attempt_that_comes_to_its_end_late_and_elsewhere_takes_no_newer_keys_away() {
    restart_each([3300, 3469]);
}
