use std::net::Ipv4Addr;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A resolver that knows some hosts.
fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    match name {
        "localhost" => Ok(vec![ip("::1"), ip("127.0.0.1"), ip("127.0.0.1")]),
        "six.example.org" => Ok(vec![ip("2001:db8::1")]),
        "both.example.org" => Ok(vec![ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2")]),
        "useless.example.org" => Ok(vec![ip("0.0.0.0"), ip("224.0.0.1")]),
        "empty.example.org" => Ok(vec![]),
        _ => Err(io::Error::other("no such host")),
    }
}

fn listen(text: &str) -> String {
    let address = text.parse::<Listen>().expect(text);
    let found = address.resolve(LOOPBACK, &lookup);
    found.map_or_else(|error| error.to_string(), |address| address.to_string())
}

#[test]
fn where_to_listen_is_an_address_a_name_or_a_port_alone() {
    for (text, address) in [
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("six.example.org:1", "[2001:db8::1]:1"),
        // A port alone never opens what the option's default keeps closed.
        ("8080", "127.0.0.1:8080"),
        (":8080", "127.0.0.1:8080"),
        ("0", "127.0.0.1:0"),
    ] {
        assert_eq!(listen(text), address, "{text}");
    }
    let unknown = listen("nowhere.example.org:80");
    assert!(
        unknown.contains("nowhere.example.org") && unknown.contains("no such host"),
        "{unknown}"
    );
    assert!(listen("empty.example.org:80").contains("empty.example.org"));
}

#[test]
fn what_is_no_place_to_listen_is_refused_with_an_example() {
    for (text, example) in [
        ("", "localhost:8080"),
        ("http://localhost:8080", "localhost:8080"),
        ("local host:80", "127.0.0.1:8080"),
        ("localhost", "localhost:8080"),
        ("127.0.0.1", "127.0.0.1:8080"),
        ("[::1]", "[::1]:8080"),
        ("::1", "[::1]:8080"),
        ("::1:8080", "[::1]:8080"),
        ("127.0.0.1:65536", "0 to 65535"),
        ("localhost:http", "0 to 65535"),
        ("70000", "0 to 65535"),
        ("-1", "127.0.0.1:8080"),
        (":", "127.0.0.1:8080"),
        // The system's resolver would take these for 127.0.0.1 and 0.0.31.144.
        ("127.1:80", "127.0.0.1:8080"),
        ("0x1f90:80", "127.0.0.1:8080"),
        ("192.0.2.300:80", "127.0.0.1:8080"),
    ] {
        let error = text.parse::<Listen>().expect_err(text).to_string();
        assert!(
            error.contains(example) && error.contains(&format!("{text:?}")),
            "{error}"
        );
    }
}

#[test]
fn a_host_is_an_address_or_a_name_and_has_no_port() {
    let resolved = |text: &str, ipv6_too| {
        let host = text.parse::<Host>().expect(text);
        host.resolve(ipv6_too, &lookup)
            .map_err(|error| error.to_string())
    };
    assert_eq!(resolved("192.0.2.7", false), Ok(vec![ip("192.0.2.7")]));
    assert_eq!(
        resolved(" [2001:db8::7] ", true),
        Ok(vec![ip("2001:db8::7")])
    );
    let all = [ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2")];
    assert_eq!(resolved("both.example.org", true), Ok(all.to_vec()));
    assert_eq!(resolved("both.example.org", false), Ok(all[1..].to_vec()));
    for name in [
        "six.example.org",
        "useless.example.org",
        "empty.example.org",
    ] {
        let error = resolved(name, false).expect_err(name);
        assert!(error.contains(name), "{error}");
    }
    for (text, part) in [
        ("example.org:8189", "--udp"),
        ("192.0.2.7:8189", "--udp"),
        ("8189", "media.example.org"),
        ("192.0.2.300", "203.0.113.7"),
        ("https://example.org/", "media.example.org"),
        ("-example.org", "media.example.org"),
        ("", "media.example.org"),
    ] {
        let error = text.parse::<Host>().expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}
