//! A STUN check without a client around it.

use std::net::UdpSocket;

use rekindle_client::ice::{self, Credentials};

/// See the module.
pub(crate) struct Check {
    credentials: Credentials,
    transaction: [u8; 12],
    request: Vec<u8>,
}

impl Check {
    /// A check that names a peer by the server's credentials for it.
    pub(super) fn new(ufrag: &str, pwd: &str, transaction: [u8; 12]) -> Self {
        let credentials = Credentials {
            own_ufrag: "bench".to_owned(),
            own_pwd: String::new(),
            server_ufrag: ufrag.to_owned(),
            server_pwd: pwd.to_owned(),
        };
        Self {
            request: ice::check(&credentials, pwd, transaction),
            credentials,
            transaction,
        }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether a datagram that came to this socket is its authentic answer.
    pub(super) fn is_answered_by(&self, data: &[u8], socket: &UdpSocket) -> bool {
        let own = socket.local_addr().ok();
        own.and_then(|own| ice::success(&self.credentials, own, data)) == Some(self.transaction)
    }
}
