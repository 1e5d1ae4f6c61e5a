//! The two ports: bound here, or passed by a service manager that keeps them.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::net;
use crate::service::Passed;

use super::{RunError, listen};

/// Both ports, open. Whatever arrives waits in the kernel until it is read.
#[derive(Debug)]
pub struct Ports {
    /// Listens for HTTP.
    pub http: TcpListener,
    /// Receives media.
    pub media: UdpSocket,
}

impl Ports {
    /// The passed sockets; missing ones are bound now.
    ///
    /// # Errors
    /// [`RunError::Http`] and [`RunError::Media`] with the system's error.
    pub fn open(passed: Passed, http: SocketAddr, media: SocketAddr) -> Result<Self, RunError> {
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
        Ok(Self {
            http: listener,
            media: socket,
        })
    }
}
