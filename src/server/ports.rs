//! The ports: bound here, or passed by a service manager that keeps them.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::net;
use crate::service::Passed;

use super::{RunError, listen};

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
