use super::*;

pub(crate) fn reading(down: u64, over: Option<f64>) -> Reading {
    Reading {
        kill: 1,
        gap_ms: over.map(|over| over + down as f64),
        over_ms: over,
        ..Reading::default()
    }
}

/// A row whose limits are 100 + 150 and 160 + 250 ms, with one reading a point, 25 ms apart.
pub(crate) fn row(overs: &[f64]) -> Row {
    let mut row = Row {
        arm: Arm::Rehandshake,
        client: Browser::Chromium,
        version: None,
        rtt_ms: 50,
        calm_ms: 40.0,
        points: Vec::new(),
    };
    for (place, over) in overs.iter().enumerate() {
        let down = 25 * place as u64;
        row.take(down, reading(down, Some(*over)));
    }
    row
}

#[test]
fn a_row_is_held_against_calm_and_round_trips() {
    let summary = row(&[100.0, 250.0, 410.0]).summary().expect("measured");
    assert_eq!(
        (summary.median_limit_ms, summary.worst_limit_ms),
        (250.0, 410.0)
    );
    assert_eq!((summary.median_ms, summary.worst_ms), (250.0, 410.0));
    assert_eq!(summary.verdict(), "met");
    assert_eq!(
        row(&[251.0, 250.0, 251.0])
            .summary()
            .expect("measured")
            .verdict(),
        "missed by the median"
    );
    assert_eq!(
        row(&[411.0, 1.0, 1.0])
            .summary()
            .expect("measured")
            .verdict(),
        "missed by the worst"
    );
    assert_eq!(
        row(&[411.0, 411.0]).summary().expect("measured").verdict(),
        "missed"
    );
    assert_eq!(row(&[]).summary(), None);
}

#[test]
fn what_was_seen_once_of_three_times_is_a_hiccup_and_what_was_seen_again_is_not() {
    let mut once = row(&[411.0, 1.0, 1.0]);
    assert_eq!(once.beyond(), [0]);
    once.take(0, reading(0, Some(100.0)));
    once.take(0, reading(0, Some(90.0)));
    let summary = once.summary().expect("measured");
    assert_eq!(summary.verdict(), "met but for hiccups");
    assert_eq!((summary.worst_ms, summary.worst_typical_ms), (411.0, 100.0));
    let mut thrice = row(&[411.0, 1.0, 1.0]);
    thrice.take(0, reading(0, Some(500.0)));
    thrice.take(0, reading(0, None));
    let summary = thrice.summary().expect("measured");
    assert_eq!((summary.points_beyond, summary.points_beyond_again), (1, 1));
    assert_eq!(summary.verdict(), "missed by the worst");

    let result = SweepResult::of(Grid::NATIVE, 1, vec![once, thrice], 122, 10, true);
    assert_eq!((result.points_measured, result.points_missing), (6, 116));
    let named: Vec<(u64, String)> = result
        .worst
        .iter()
        .map(|n| (n.down_ms, n.repeated()))
        .collect();
    assert_eq!(named[0], (0, "3 of 3".to_owned()));
    assert_eq!(named[1], (0, "1 of 3".to_owned()));
    assert_eq!(named[2], (25, "within".to_owned()));
    assert_eq!(result.worst[0].gap_ms, None, "no media came any more");
    assert!(!result.has_arms());
}
