//! How many connections there may be, of HTTP and of media over TCP, of all and of one address.

use crate::net;

use super::listen;
use super::serving::OPERATORS;

/// Connections beyond one for each peer.
const SPARE_CONNECTIONS: usize = 1024;
/// Connections of one address beyond two for each session: pages that are being loaded, and
/// sessions that are being started.
const SPARE_PER_ADDRESS: usize = 64;
/// Connections to services that are asked and told, and to name servers.
const ASKED: usize = 80;
/// Descriptors beyond connections: both listeners may be refusing some.
const SPARE_FILES: usize = 64 + OPERATORS + 2 * listen::REFUSALS + ASKED;
/// Where there are not even so many descriptors, some connections fail.
const FEWEST: usize = 16;

/// See the module.
pub(super) struct Places {
    pub http: listen::Limits,
    pub media: net::tcp::Limits,
}

impl Places {
    /// Raises the limit of open files as far as it is needed. Where the system does not allow that,
    /// HTTP and media share what there is. `sessions`: of one address, 0 for any number.
    pub(super) fn new(
        max_peers: usize,
        sessions: usize,
        behind_proxy: bool,
        ice_tcp: bool,
    ) -> Self {
        let kinds = 1 + usize::from(ice_tcp);
        let wanted = max_peers.saturating_add(SPARE_CONNECTIONS);
        let files = wanted.saturating_mul(kinds).saturating_add(SPARE_FILES);
        let files = listen::raise_open_files(files as u64);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let connections = share(files, kinds, wanted);
        if connections < max_peers {
            tracing::warn!(
                connections,
                max_peers,
                "the limit of open files leaves fewer connections than peers; see `ulimit -n`"
            );
        }
        let per_address = match sessions {
            0 => 0,
            sessions => sessions.saturating_mul(2).saturating_add(SPARE_PER_ADDRESS),
        };
        Self {
            http: listen::Limits {
                connections,
                // A proxy's connections are those of all clients.
                per_address: if behind_proxy { 0 } else { per_address },
            },
            // Media comes past the proxy.
            media: net::tcp::Limits {
                connections,
                per_address,
            },
        }
    }
}

/// How many connections of each kind there may be, of those that are wanted.
fn share(files: usize, kinds: usize, wanted: usize) -> usize {
    let most = files.saturating_sub(SPARE_FILES) / kinds;
    wanted.min(most.max(FEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_descriptors_are_few_http_and_media_share_them() {
        assert_eq!(share(1 << 20, 2, 11_024), 11_024);
        assert_eq!(share(4096, 1, 11_024), 4096 - SPARE_FILES);
        let each = share(4096, 2, 11_024);
        assert_eq!(each, (4096 - SPARE_FILES) / 2);
        assert_eq!(share(100, 2, 11_024), FEWEST);
    }

    #[test]
    fn behind_a_proxy_media_of_one_address_is_limited_still() {
        let places = Places::new(10, 5, true, true);
        assert_eq!(places.http.per_address, 0);
        assert_eq!(places.media.per_address, 74);
        let places = Places::new(10, 0, false, true);
        assert_eq!((places.http.per_address, places.media.per_address), (0, 0));
    }
}
