//! Which addresses go into the answers where nobody named them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses that browsers should send media to, the first preferred:
///
/// - the address of the media port, where it is bound to one;
/// - where HTTP is for this machine only: the loopback address, and then the machine's own one, because Firefox offers no loopback
///   candidate and needs the other;
/// - where HTTP is bound to one address: that one;
/// - otherwise the machine's own address. Behind NAT that is not what browsers reach, and `--advertise` has to say it.
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
    addresses.retain(|address| udp.is_ipv6() || address.is_ipv4());
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    addresses
}

/// The machine's own addresses: those that the system would send from. A UDP socket that is connected sends nothing.
fn own() -> impl Iterator<Item = IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): no host has them, so only the default route matches.
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
                !all.is_empty() && all.iter().all(|address| !address.is_unspecified() && address.is_ipv4()),
                "{all:?}"
            );
        }
    }
}
