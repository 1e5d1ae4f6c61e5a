use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn each_browser_has_its_own_timeouts() {
    use Browser::{Chromium, Firefox};
    assert_eq!(
        [0, 20, 100].map(|rtt| first_rto(Chromium, rtt * MS)),
        [50 * MS, 50 * MS, 200 * MS]
    );
    assert_eq!(
        [0, 20, 100].map(|rtt| first_rto(Firefox, rtt * MS)),
        [50 * MS; 3]
    );
    assert_eq!(
        [0, 1, 2].map(|before| check_pause(Chromium, before)),
        [50 * MS; 3]
    );
    let pauses = [0, 1, 2, 6, 30].map(|before| check_pause(Firefox, before));
    assert_eq!(pauses, [100 * MS, 200 * MS, 400 * MS, 2500 * MS, 2500 * MS]);
}
