use super::*;

#[test]
fn what_came_late_is_not_missing_and_what_came_twice_is_counted() {
    let mut tally = Tally::default();
    assert!(tally.take(10) && tally.take(13) && tally.take(11));
    assert!(!tally.take(11));
    assert_eq!(tally.absent.iter().copied().collect::<Vec<_>>(), [12]);
    assert_eq!(tally.repeated, 1);
}
