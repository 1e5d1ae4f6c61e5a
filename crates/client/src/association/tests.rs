use super::*;

#[test]
fn a_client_hello_is_repeated_at_the_times_that_browsers_have() {
    let certificate = Certificate::new();
    let cases = [
        (Offer::Both, 50),
        (Offer::Only12, 50),
        (Offer::Both, 200),
        #[cfg(feature = "boring")]
        (Offer::BoringSsl(rekindle_boring::Groups::Any), 50),
        #[cfg(feature = "boring")]
        (Offer::BoringSsl(rekindle_boring::Groups::Any), 200),
    ];
    for (offer, rto_ms) in cases {
        let options = Options {
            offer,
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

#[cfg(feature = "boring")]
#[test]
fn boringssl_agrees_on_the_post_quantum_group_where_it_offers_it() {
    use rekindle_boring::{Association as Server, Context, Group, Groups, Side};

    let (own, other) = (Certificate::new(), Certificate::new());
    let rto = Duration::from_millis(50);
    for (groups, agreed) in [
        (Groups::Any, Group::X25519MlKem768),
        (Groups::Classical, Group::X25519),
    ] {
        let now = Instant::now();
        let options = Options {
            offer: Offer::BoringSsl(groups),
            mtu: 1200,
            rto,
        };
        let settings = Context::new(&other.der, &other.key, rto, Groups::Any).expect("settings");
        let mut client = Association::new(&own, options, None, now);
        let mut server = Server::new(&settings, Side::Server, now).expect("a server");
        let mut completed = None;
        for _ in 0..10 {
            let mut out = Vec::new();
            for datagram in client.outgoing() {
                let result = server.drive(now, Some(&datagram), &mut out);
                completed = result.expect("no error").or(completed);
            }
            for datagram in out {
                client.drive(now, Some(&datagram));
            }
        }
        let completed = completed.expect("complete");
        assert_eq!(completed.group, agreed);
        assert_eq!(completed.certificate, own.der);
        let (material, _) = client.exported.clone().expect("keys");
        assert_eq!(material, *completed.material);
        assert!(
            client
                .keys(&other.sha256())
                .is_some_and(|keys| keys.is_ok())
        );
    }
}
