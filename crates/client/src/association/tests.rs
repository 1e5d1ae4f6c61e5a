use super::*;

#[test]
fn a_client_hello_is_repeated_at_the_times_that_browsers_have() {
    let certificate = Certificate::new();
    for (only_12, rto_ms) in [(false, 50), (true, 50), (false, 200)] {
        let options = Options {
            only_12,
            mtu: 1200,
            rto: Duration::from_millis(rto_ms),
        };
        let begun = Instant::now();
        let mut association = Association::new(&certificate, options, None, begun);
        assert!(!association.outgoing().is_empty(), "the first one");
        let mut sent = Vec::new();
        for ms in 1..=(20 * rto_ms) {
            association.drive(begun + Duration::from_millis(ms), None);
            if !association.outgoing().is_empty() {
                sent.push(ms / rto_ms);
                assert_eq!(ms % rto_ms, 0, "{ms} ms");
            }
        }
        assert_eq!(sent, [1, 3, 7, 15], "in first timeouts");
    }
}
