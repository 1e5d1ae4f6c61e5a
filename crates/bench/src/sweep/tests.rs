use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::{Axes, DtlsVersions};

fn settings() -> Settings {
    Settings {
        axes: Axes::default(),
        servers: vec!["rekindle".into()],
        arms: Some(vec![Arm::Rehandshake]),
        turns: None,
        kills: None,
        steady: Duration::ZERO,
        client: None,
        dtls: vec![DtlsVersions::Both],
        fps: None,
        bitrate: None,
        retry: Duration::ZERO,
        seed: 1,
        folder: None,
        against: None,
        token: None,
        browsers: Vec::new(),
        browser_scripts: PathBuf::new(),
        sweep: Some(Sweep::Usual),
        vault_peers: 0,
        json: None,
        html: None,
    }
}

/// Two clients, of which the second is beyond any limit at one down time.
struct Played {
    slow: u64,
    killed: Rc<RefCell<Vec<u64>>>,
    /// After so many kills somebody presses Ctrl-C.
    stops_after: usize,
}

impl Broadcast for Played {
    fn calm(&mut self, stop: &Stop) -> Result<Option<Vec<f64>>, BenchError> {
        Ok((!stop.is_asked()).then(|| vec![20.0, 30.0]))
    }

    fn kill(&mut self, down: u64, stop: &Stop) -> Result<Option<Vec<Reading>>, BenchError> {
        if self.killed.borrow().len() == self.stops_after {
            stop.ask();
            return Ok(None);
        }
        self.killed.borrow_mut().push(down);
        let reading = |over: f64| Reading {
            gap_ms: Some(over + down as f64),
            over_ms: Some(over),
            ..Reading::default()
        };
        let second = if down == self.slow { 5000.0 } else { 50.0 };
        Ok(Some(vec![reading(40.0), reading(second)]))
    }

    fn version(&self) -> Option<String> {
        None
    }
}

/// Plays a sweep over 0..200:50 at one round trip, and gives the down times in the order of the
/// kills, whether it came to its end, and the result.
fn play(stops_after: usize) -> (Vec<u64>, bool, SweepResult) {
    let settings = settings();
    let stop = Stop::default();
    let killed = Rc::new(RefCell::new(Vec::new()));
    let strip = Strip {
        rtt: 50,
        clients: vec![Browser::Chromium, Browser::Firefox],
        arms: vec![Arm::Rehandshake],
    };
    let grid: Grid = "0..200:50".parse().expect("a grid");
    let mut run = Run {
        settings: &settings,
        stop: &stop,
        random: Random::new(1),
        progress: Progress::new((5, 5000)),
        each_ms: NATIVE_MS,
        rows: Vec::new(),
        kills: 0,
    };
    let played = Played {
        slow: 100,
        killed: killed.clone(),
        stops_after,
    };
    let ended = run
        .strip_with(&strip, &grid, vec![Box::new(played)])
        .expect("no error");
    let result = SweepResult::of(grid, 1, run.rows, 10, run.kills, stop.is_asked());
    (killed.take(), ended, result)
}

#[test]
fn every_down_time_is_tried_once_and_what_is_beyond_the_limit_twice_more_at_the_end() {
    let (killed, ended, result) = play(usize::MAX);
    assert!(ended);
    let mut first = killed[..5].to_vec();
    assert_ne!(first, [0, 50, 100, 150, 200], "the order is shuffled");
    first.sort_unstable();
    assert_eq!(first, [0, 50, 100, 150, 200]);
    assert_eq!(killed[5..], [100, 100]);
    assert_eq!(
        (result.kills, result.points_measured, result.points_missing),
        (7, 10, 0)
    );
    assert!(!result.cut_short);
    let (chromium, firefox) = (&result.rows[0], &result.rows[1]);
    assert_eq!((chromium.row.calm_ms, firefox.row.calm_ms), (20.0, 30.0));
    assert_eq!(chromium.summary.expect("measured").verdict(), "met");
    assert_eq!(
        firefox.summary.expect("measured").verdict(),
        "missed by the worst"
    );
    let worst = &result.worst[0];
    assert_eq!(
        (worst.client, worst.down_ms, worst.repeated()),
        (Browser::Firefox, 100, "3 of 3".to_owned())
    );
}

#[test]
fn a_sweep_that_is_cut_short_says_what_it_has_and_how_many_points_are_missing() {
    let (killed, ended, result) = play(2);
    assert!(!ended);
    assert_eq!(killed.len(), 2);
    assert!(result.cut_short);
    assert_eq!(
        (result.kills, result.points_measured, result.points_missing),
        (2, 4, 6)
    );
    assert_eq!(result.rows[0].row.points.len(), 2);
    assert!(result.rows[0].summary.is_some());
}

#[test]
fn one_that_is_cut_short_before_the_first_kill_has_an_empty_report() {
    let (_, ended, result) = play(0);
    assert!(!ended);
    assert_eq!((result.points_measured, result.points_missing), (0, 10));
    assert!(result.worst.is_empty() && result.rows[0].summary.is_none());
}

#[test]
fn native_clients_share_kills_and_real_browsers_have_the_machine_for_themselves() {
    let arms = [Arm::Rehandshake, Arm::FullState];
    let mut settings = settings();
    let native = strips(&settings, &arms, &mut Random::new(1));
    assert_eq!(native.len(), 4, "a strip a round trip");
    assert!(
        native
            .iter()
            .all(|strip| strip.clients.len() == 2 && strip.arms == arms)
    );
    let mut rtts: Vec<u64> = native.iter().map(|strip| strip.rtt).collect();
    rtts.sort_unstable();
    assert_eq!(rtts, RTTS_MS);

    settings.axes.rtt = Some(vec![50]);
    settings.browsers = vec![Browser::Chromium, Browser::Firefox];
    let real = strips(&settings, &arms, &mut Random::new(1));
    assert_eq!(real.len(), 4, "each browser in each arm");
    assert!(
        real.iter()
            .all(|strip| strip.rtt == 50 && strip.clients.len() == 1 && strip.arms.len() == 1)
    );
}
