use super::*;

fn options() -> Options {
    Options {
        node: "a".into(),
        ..Options::default()
    }
}

fn parse(text: &str) -> Result<Address, AddressError> {
    Address::new(text, options())
}

#[test]
fn an_address_has_members_and_a_prefix() {
    let address = parse("etcd://a:2379,10.0.0.2,[::1]:77,[fe80::1]/some/prefix/").expect("parses");
    assert_eq!(
        address.members,
        ["a:2379", "10.0.0.2:2379", "[::1]:77", "[fe80::1]:2379"]
    );
    assert_eq!((address.tls, &*address.prefix), (false, "some/prefix/"));
    assert_eq!(
        address.to_string(),
        "etcd://a:2379,10.0.0.2:2379,[::1]:77,[fe80::1]:2379/some/prefix"
    );
    let short = parse("etcd://a").expect("parses");
    assert_eq!(short.to_string(), "etcd://a:2379/rekindle");
    assert_eq!(parse(&short.to_string()), Ok(short));
}

#[test]
fn what_is_no_address_is_refused_with_its_reason() {
    use AddressError::{Credentials, Host, Prefix, Scheme};
    for (text, error) in [
        ("/var/lib/rekindle", Scheme),
        ("http://a:2379/x", Scheme),
        ("etcd://user:secret@a:2379/x", Credentials),
        ("etcd:///x", Host(String::new())),
        ("etcd://a:2379,,b/x", Host(String::new())),
        ("etcd://a:0/x", Host("a:0".into())),
        ("etcd://a:99999/x", Host("a:99999".into())),
        ("etcd://a:x/x", Host("a:x".into())),
        ("etcd://::1:2379/x", Host("::1:2379".into())),
        ("etcd://[a]:2379/x", Host("[a]:2379".into())),
        ("etcd://a/x//y", Prefix("x//y".into())),
        ("etcd://a/x/../y", Prefix("x/../y".into())),
        ("etcd://a/x?y", Prefix("x?y".into())),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    assert_eq!(
        Address::new("etcds://a/x", options()),
        Err(AddressError::NoCa)
    );
    let ca = Options {
        ca: Some("ca.pem".into()),
        ..options()
    };
    assert_eq!(
        Address::new("etcd://a/x", ca.clone()),
        Err(AddressError::NoTls)
    );
    assert!(Address::new("etcds://a/x", ca).is_ok());
    for name in ["", "a/b", "..", "a b", &"a".repeat(254)] {
        let node = Options {
            node: name.into(),
            ..options()
        };
        assert_eq!(
            Address::new("etcd://a/x", node),
            Err(AddressError::Node(name.into()))
        );
    }
    let no_time = Options {
        limit: Duration::ZERO,
        ..options()
    };
    assert_eq!(
        Address::new("etcd://a/x", no_time),
        Err(AddressError::Times)
    );
}
