use super::*;

fn arrivals(seed: u64, way: Conditions) -> (Vec<(Duration, u32)>, Network<u32>) {
    let start = Instant::now();
    let mut network = Network::new(Random::new(seed));
    for n in 0..1000 {
        network.send(start + Duration::from_millis(n.into()), &way, n);
    }
    let mut arrivals = Vec::new();
    while let Some(at) = network.next() {
        assert_eq!(network.arrive(at - Duration::from_nanos(1)), None);
        arrivals.push((at - start, network.arrive(at).expect("it is there")));
    }
    (arrivals, network)
}

#[test]
fn a_calm_way_delays_and_nothing_else() {
    let delay = Duration::from_millis(7);
    let (arrivals, _) = arrivals(1, Conditions::delayed(delay));
    let expected = (0..1000).map(|n: u32| (Duration::from_millis(n.into()) + delay, n));
    assert_eq!(arrivals, expected.collect::<Vec<_>>());
}

#[test]
fn a_bad_way_loses_repeats_and_reorders_as_its_seed_says() {
    let way = Conditions {
        jitter: Duration::from_millis(5),
        loss: 0.1,
        duplicate: 0.05,
        late_copy: (0.02, Duration::from_secs(1)),
        ..Conditions::delayed(Duration::from_millis(7))
    };
    let (first, network) = arrivals(7, way);
    assert!((60..140).contains(&network.lost), "{}", network.lost);
    assert!(
        (35..110).contains(&network.duplicated),
        "{}",
        network.duplicated
    );
    assert_eq!(first.len() as u64, 1000 - network.lost + network.duplicated);
    assert!(!first.is_sorted_by_key(|(_, n)| *n));
    assert_eq!(first, arrivals(7, way).0);
    assert_ne!(first, arrivals(8, way).0);
}
