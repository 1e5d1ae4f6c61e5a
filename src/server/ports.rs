//! The ports: bound here, or passed by a service manager that keeps them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::net::{self, BindError};
use crate::service::Passed;

use super::{RunError, listen};

/// How many numbers the system may choose in vain.
const TRIES: usize = 32;

/// The ports, open. Whatever arrives waits in the kernel until it is read.
#[derive(Debug)]
pub struct Ports {
    /// Listens for HTTP.
    pub http: TcpListener,
    /// Receives media.
    pub media: UdpSocket,
    /// Listens for media over TCP, at the same number, where that is wanted.
    pub ice_tcp: Option<TcpListener>,
}

impl Ports {
    /// The passed sockets; missing ones are bound now. `ice_tcp` says that media over TCP is
    /// wanted; it is also where its socket was passed.
    ///
    /// # Errors
    /// [`RunError::Http`], [`RunError::Media`], [`RunError::IceTcp`] with the system's error;
    /// [`RunError::IceTcpElsewhere`].
    pub fn open(
        passed: Passed,
        http: SocketAddr,
        media: SocketAddr,
        ice_tcp: bool,
    ) -> Result<Self, RunError> {
        let listener = match passed.http {
            Some(socket) => socket,
            None => listen::bind(http).map_err(|source| RunError::Http {
                address: http,
                source,
            })?,
        };
        let any = media.port() == 0 && passed.media.is_none() && passed.ice_tcp.is_none();
        if ice_tcp && any {
            let (socket, tcp) = one_number(|| net::bind(media), listen::bind)?;
            return Ok(Self {
                http: listener,
                media: socket,
                ice_tcp: Some(tcp),
            });
        }
        let socket = match passed.media {
            Some(socket) => socket,
            None => net::bind(media)?,
        };
        let udp = socket.local_addr().unwrap_or(media);
        let failed = |source| RunError::IceTcp {
            address: udp,
            source,
        };
        let ice_tcp = match passed.ice_tcp {
            Some(socket) => {
                let tcp = socket.local_addr().map_err(failed)?.port();
                if tcp != udp.port() {
                    return Err(RunError::IceTcpElsewhere {
                        tcp,
                        udp: udp.port(),
                    });
                }
                Some(socket)
            }
            None if ice_tcp => Some(listen::bind(udp).map_err(failed)?),
            None => None,
        };
        Ok(Self {
            http: listener,
            media: socket,
            ice_tcp,
        })
    }
}

/// Ports of UDP and TCP with one number, which the system chooses. It chooses by UDP alone, so the
/// number may be taken in TCP, and then another one is tried.
fn one_number(
    udp: impl Fn() -> Result<UdpSocket, BindError>,
    tcp: impl Fn(SocketAddr) -> io::Result<TcpListener>,
) -> Result<(UdpSocket, TcpListener), RunError> {
    // Held meanwhile, so that the system chooses others.
    let mut taken = Vec::new();
    loop {
        let socket = udp()?;
        let address = socket.local_addr();
        match address.and_then(&tcp) {
            Ok(listener) => return Ok((socket, listener)),
            Err(source) if source.kind() == io::ErrorKind::AddrInUse && taken.len() < TRIES => {
                taken.push(socket);
            }
            Err(source) => {
                let address = socket.local_addr().unwrap_or(([0; 4], 0).into());
                return Err(RunError::IceTcp { address, source });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn where_the_system_chooses_it_chooses_until_both_ports_are_free() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let udp = || net::bind(here);
        let tries = Cell::new(0);
        let taken_thrice = |address| {
            tries.set(tries.get() + 1);
            match tries.get() {
                4.. => listen::bind(address),
                _ => Err(io::ErrorKind::AddrInUse.into()),
            }
        };
        let (socket, listener) = one_number(udp, taken_thrice).expect("a number");
        let number = |address: io::Result<SocketAddr>| address.expect("an address").port();
        assert_eq!(number(socket.local_addr()), number(listener.local_addr()));
        assert_eq!(tries.get(), 4);

        for (kind, most) in [
            (io::ErrorKind::AddrInUse, TRIES + 1),
            (io::ErrorKind::PermissionDenied, 1),
        ] {
            tries.set(0);
            let never = |_| {
                tries.set(tries.get() + 1);
                Err(kind.into())
            };
            assert!(matches!(
                one_number(udp, never),
                Err(RunError::IceTcp { .. })
            ));
            assert_eq!(tries.get(), most);
        }
    }
}
