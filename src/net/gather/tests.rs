use super::*;

const MS: Duration = Duration::from_millis(1);

fn after(cost: Duration) -> Gather {
    let t = Instant::now();
    let mut gather = Gather::default();
    (0..40).for_each(|_| gather.sent(t, t + cost));
    gather
}

#[test]
fn where_sending_takes_next_to_nothing_nothing_waits() {
    let t = Instant::now();
    assert_eq!(Gather::default().due(t), t);
    assert_eq!(after(LITTLE).due(t), t);
}

#[test]
fn what_is_dear_to_send_waits_a_little() {
    let t = Instant::now();
    let due = after(MS).due(t);
    assert!(due > t + 2 * MS && due <= t + 4 * MS);
}

#[test]
fn nothing_waits_longer_than_4_ms() {
    let t = Instant::now();
    assert_eq!(after(1000 * MS).due(t), t + 4 * MS);
}
