use super::*;

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
