use super::*;
use crate::sweep::Grid;
use crate::sweep::result::tests::{reading, row};

/// Limits are 250 ms for the median and 410 for the worst.
fn sweep() -> SweepResult {
    let grid: Grid = "0..75:25".parse().expect("a grid");
    let mut one = row(&[80.0, 251.4, 500.0]);
    one.take(50, reading(50, Some(90.0)));
    one.take(50, reading(50, None));
    SweepResult::of(grid, 7, vec![one], 4, 5, true)
}

#[test]
fn a_map_without_colours_has_figures_and_marks() {
    let text = write(&sweep(), Screen::PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.contains(&"down, ms           0    25    50    75"),
        "{text}"
    );
    assert!(
        lines.contains(&"chromium 50 ms    80   251+  500!    ."),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
    assert!(
        text.contains("CUT SHORT: 1 of 4 points are missing"),
        "{text}"
    );
    assert!(text.contains("shuffled by seed 7"), "{text}");
    assert!(
        text.contains(
            "chromium, round trip 50 ms, down 50 ms: 500, 90, lost ms over the down time (no \
             media any more; limit 410); repeated: 2 of 3"
        ),
        "{text}"
    );
}

#[test]
fn a_terminal_gets_a_colour_for_each_shade() {
    let screen = Screen {
        colours: true,
        columns: 80,
    };
    let text = write(&sweep(), screen);
    assert!(
        text.contains("\x1b[48;5;22;38;5;15m   80 \x1b[0m"),
        "{text:?}"
    );
    assert!(
        text.contains("\x1b[48;5;160;38;5;15m  500!\x1b[0m"),
        "{text:?}"
    );
    assert_eq!(shade(102.5, 410.0), 0);
    assert_eq!(
        (
            shade(410.0, 410.0),
            shade(410.1, 410.0),
            shade(f64::INFINITY, 410.0)
        ),
        (5, 6, 6)
    );
}

#[test]
fn a_long_row_is_cut_into_parts_of_the_same_length_that_fit() {
    let all: Vec<f64> = (0..61).map(f64::from).collect();
    let sweep = SweepResult::of(Grid::NATIVE, 1, vec![row(&all)], 61, 61, false);
    for columns in [80, 100, 120] {
        let screen = Screen {
            colours: false,
            columns,
        };
        let text = write(&sweep, screen);
        let heads: Vec<usize> = text
            .lines()
            .filter(|line| line.starts_with("down, ms"))
            .map(str::len)
            .collect();
        assert!(heads.iter().all(|length| *length <= columns), "{heads:?}");
        assert!(
            heads.len() > 1
                && heads.iter().all(|length| *length + 2 * CELL > heads[0]
                    || *length == *heads.last().expect("one")),
            "{heads:?}"
        );
        assert!(!text.contains("CUT SHORT"), "{text}");
    }
}
