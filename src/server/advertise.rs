//! Which addresses the answers contain where none are configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses that browsers should send media to, the first preferred:
///
/// - the address of the media port, where it is bound to one;
/// - where HTTP is for this machine only: the loopback address, and then the machine's own one,
///   because Firefox offers no loopback candidate and needs the other one;
/// - otherwise the machine's own address. Behind NAT browsers do not reach that one, and
///   `--advertise` has to be given.
pub(super) fn addresses(http: IpAddr, udp: IpAddr) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    if !udp.is_unspecified() {
        addresses.push(udp);
    } else if http.is_loopback() {
        addresses.push(http);
        addresses.extend(own());
    } else if !http.is_unspecified() {
        addresses.push(http);
    } else {
        addresses.extend(own());
    }
    addresses.retain(|&address| (udp.is_ipv6() || address.is_ipv4()) && !needs_zone(address));
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    addresses
}

/// An IPv6 address that means something only together with a network interface (RFC 4007 §6), for
/// which `a=candidate` has no room (RFC 8839 §5.1).
pub(crate) fn needs_zone(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The addresses for one answer, where none are configured: first the one at which the request has
/// reached this machine. It may have several networks, and get another one while it runs.
/// `udp` is where the media port listens.
pub(super) fn answered(
    found: &[SocketAddr],
    reached: Option<IpAddr>,
    udp: SocketAddr,
) -> Vec<SocketAddr> {
    let reached = reached
        .map(|address| address.to_canonical())
        .filter(|&address| {
            let there = udp.ip().is_unspecified() && (udp.is_ipv6() || address.is_ipv4());
            there && !address.is_loopback() && !needs_zone(address)
        })
        .map(|address| SocketAddr::new(address, udp.port()));
    let others = found.iter().filter(|other| Some(**other) != reached);
    reached.into_iter().chain(others.copied()).collect()
}

/// What is wrong with the addresses that browsers are told, as far as it can be known here. `http`
/// is where HTTP listens, `proxied` says that a proxy is in front of it, `named` that addresses
/// were configured. The text contains no address, since it is logged.
pub(super) fn warning(
    http: IpAddr,
    proxied: bool,
    named: bool,
    advertised: &[IpAddr],
) -> Option<&'static str> {
    let http = http.to_canonical();
    if http.is_loopback() && !proxied {
        return None;
    }
    let all = |is: fn(IpAddr) -> bool| advertised.iter().all(|address| is(address.to_canonical()));
    if all(|address| address.is_loopback()) {
        return Some(
            "HTTP can be reached from elsewhere, but browsers are told to send media to a loopback \
             address, which means their own machine; \
             give --advertise the address at which they reach this one",
        );
    }
    let public = !proxied && !http.is_unspecified() && !is_private(http);
    // An operator who configures a private address knows the network that the browsers are in,
    // unless HTTP shows that it is another one.
    (all(is_private) && (public || !named)).then_some(
        "browsers are told to send media to a private address, which only those in the same \
         network can reach; give --advertise the \
         address at which others reach this machine, or the private one if that is what you want",
    )
}

/// Whether an address is valid only within some network: RFC 1918, RFC 6598 (carriers' NAT), RFC
/// 3927, RFC 4193, RFC 4291 §2.5.6, and loopback.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let carrier = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || carrier
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// The machine's own addresses: those that the system would send from. Connecting a UDP socket
/// sends nothing.
fn own() -> impl Iterator<Item = IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): no host has them, so only the default route
    // matches.
    const FAR: [(IpAddr, IpAddr); 2] = [
        (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        ),
        (
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        ),
    ];
    FAR.into_iter().filter_map(|(any, far)| {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(far, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn a_media_port_on_one_address_is_reached_there() {
        assert_eq!(addresses(LOOPBACK, OWN), [OWN]);
        assert_eq!(addresses(ANY, LOOPBACK), [LOOPBACK]);
    }

    #[test]
    fn a_private_server_is_reached_by_loopback_first() {
        let all = addresses(LOOPBACK, ANY);
        assert_eq!(all[0], LOOPBACK);
        assert!(
            all[1..]
                .iter()
                .all(|address| address.is_ipv4() && !address.is_loopback())
        );
    }

    #[test]
    fn media_is_reached_where_http_is() {
        assert_eq!(addresses(OWN, ANY), [OWN]);
    }

    #[test]
    fn an_address_that_needs_an_interface_is_never_given_out() {
        let link_local: IpAddr = "fe80::1".parse().expect("an address");
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert!(!addresses(link_local, any).contains(&link_local));
        assert!(!addresses(any, link_local).contains(&link_local));
    }

    #[test]
    fn the_address_that_a_request_has_reached_comes_first() {
        let socket = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let found = [socket("192.0.2.7:8189")];
        let first = |reached: &str, udp: &str| {
            let all = answered(&found, Some(socket(reached).ip()), socket(udp));
            assert_eq!(all.last(), Some(&found[0]));
            all[0].to_string()
        };
        assert_eq!(first("10.0.0.1:80", "0.0.0.0:8189"), "10.0.0.1:8189");
        assert_eq!(first("[::ffff:10.0.0.1]:80", "[::]:8189"), "10.0.0.1:8189");
        assert_eq!(first("[2001:db8::1]:80", "[::]:8189"), "[2001:db8::1]:8189");
        // Where the media port is not, or no browser elsewhere can send to.
        for (reached, udp) in [
            ("[2001:db8::1]:80", "0.0.0.0:8189"),
            ("10.0.0.1:80", "192.0.2.7:8189"),
            ("127.0.0.1:80", "0.0.0.0:8189"),
            ("[fe80::1]:80", "[::]:8189"),
        ] {
            assert_eq!(first(reached, udp), "192.0.2.7:8189", "{reached} {udp}");
        }
        let same = answered(&found, Some(found[0].ip()), socket("0.0.0.0:8189"));
        assert_eq!(same, found);
        assert_eq!(answered(&found, None, socket("0.0.0.0:8189")), found);
    }

    #[test]
    fn addresses_that_browsers_elsewhere_cannot_send_to_are_warned_about() {
        let warns = |http: &str, proxied, named, advertised: &[&str]| {
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            let advertised: Vec<IpAddr> = advertised.iter().map(|text| ip(text)).collect();
            let warning = warning(ip(http), proxied, named, &advertised);
            assert!(
                warning.is_none_or(|text| text.contains("--advertise")),
                "{warning:?}"
            );
            warning.is_some()
        };
        // For this machine only.
        assert!(!warns(
            "127.0.0.1",
            false,
            false,
            &["127.0.0.1", "10.0.0.1"]
        ));
        assert!(!warns("::1", false, true, &["127.0.0.1"]));
        // Loopback, where HTTP is for more.
        for http in ["0.0.0.0", "::", "10.0.0.1", "203.0.113.7"] {
            assert!(warns(http, false, true, &["127.0.0.1"]), "{http}");
            assert!(
                !warns(http, false, true, &["127.0.0.1", "203.0.113.7"]),
                "{http}"
            );
        }
        assert!(warns("127.0.0.1", true, false, &["127.0.0.1"]));
        // Private: found automatically, or where HTTP is public.
        for private in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.127.0.1",
            "169.254.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(warns("0.0.0.0", false, false, &[private]), "{private}");
            assert!(!warns("0.0.0.0", false, true, &[private]), "{private}");
            assert!(warns("203.0.113.7", false, true, &[private]), "{private}");
            assert!(!warns(private, false, true, &[private]), "{private}");
        }
        assert!(
            warns("127.0.0.1", true, false, &["127.0.0.1", "10.0.0.1"]),
            "behind a proxy"
        );
        for public in ["203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(
                !warns("0.0.0.0", false, false, &[public, "10.0.0.1"]),
                "{public}"
            );
        }
    }

    #[test]
    fn there_is_always_an_address_and_never_one_that_means_any() {
        for http in [
            ANY,
            LOOPBACK,
            OWN,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ] {
            let all = addresses(http, ANY);
            assert!(
                !all.is_empty()
                    && all
                        .iter()
                        .all(|address| !address.is_unspecified() && address.is_ipv4()),
                "{all:?}"
            );
        }
    }
}
