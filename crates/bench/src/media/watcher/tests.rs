use super::*;

#[test]
fn what_came_late_is_not_missing_and_what_came_twice_is_counted() {
    let mut tally = Tally::default();
    assert!(tally.take(10) && tally.take(13) && tally.take(11));
    assert!(!tally.take(11));
    assert_eq!(tally.absent.iter().copied().collect::<Vec<_>>(), [12]);
    assert_eq!(tally.repeated, 1);
}

#[test]
fn packets_that_were_never_heard_of_are_missing_too() {
    let mut viewer = Watcher::new();
    assert_eq!(viewer.missing(Kind::Video, 5..9), 4);
    for index in [5, 8] {
        viewer.video.take(index);
    }
    assert_eq!(viewer.missing(Kind::Video, 5..9), 2);
    assert_eq!(viewer.missing(Kind::Video, 5..20), 13);
    assert_eq!(viewer.missing(Kind::Video, 8..9), 0);
    assert_eq!(viewer.missing(Kind::Video, 30..31), 1);
}
