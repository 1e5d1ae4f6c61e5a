//! Names of the hosts that are asked, looked up when they are needed and again when their time is
//! over.
//!
//! Name servers are asked over TCP alone, which all of them speak (RFC 7766 §5): the sandbox allows
//! no datagram socket, and a connection to their port where a name must be looked up. What is to be
//! read from files (`/etc/hosts`, `/etc/resolv.conf`) is read before the sandbox is there.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name as DnsName;
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use hyper_util::client::legacy::connect::dns::Name;
use resolv_conf::Config;
use tower_service::Service;

/// The port of name servers (RFC 1035 §4.2).
pub(super) const PORT: u16 = 53;
const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most answers that are remembered: each is of a host that an operator has named, under a few search
/// domains.
const REMEMBERED: u64 = 256;

/// Finds the addresses of names as the system's files say.
#[derive(Clone)]
pub struct Names(Arc<System>);

struct System {
    hosts: Arc<Hosts>,
    /// The names in it, in lower case.
    known: HashSet<String>,
    config: ResolverConfig,
    options: ResolverOpts,
    /// Made at the first lookup, since it needs a runtime.
    resolver: OnceLock<TokioResolver>,
}

impl Names {
    /// By this system's files. Without them nothing but addresses and `localhost` is found.
    pub fn system() -> Self {
        let read = |path| fs::read(path).unwrap_or_default();
        Self::of(&read(HOSTS), &read(RESOLV_CONF))
    }

    fn of(hosts: &[u8], resolv_conf: &[u8]) -> Self {
        // Lines that cannot be read are passed over, as the C library does.
        let (conf, _) = Config::parse_with_errors(resolv_conf);
        let servers = conf.nameservers.iter().map(|ip| {
            let mut server = NameServerConfig::tcp(ip.into());
            // As the C library does: the next server may know more.
            server.trust_negative_responses = false;
            server
        });
        let search = conf.get_last_search_or_domain();
        let search = search.filter_map(|name| DnsName::from_str_relaxed(name).ok());
        let config = ResolverConfig::from_parts(None, search.collect(), servers.collect());
        let mut options = ResolverOpts::default();
        options.ndots = conf.ndots as usize;
        options.timeout = Duration::from_secs(conf.timeout.into());
        options.attempts = conf.attempts as usize;
        options.cache_size = REMEMBERED;
        options.use_hosts_file = ResolveHosts::Never;
        let mut table = Hosts::default();
        // An error is that of a line that is no text; the lines before it count.
        let _ = table.read_hosts_conf(hosts);
        Self(Arc::new(System {
            hosts: Arc::new(table),
            known: names_in(hosts),
            config,
            options,
            resolver: OnceLock::new(),
        }))
    }

    /// Whether a name server must be asked for this host.
    pub(super) fn must_ask(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = host == "localhost" || host.ends_with(".localhost");
        host.parse::<IpAddr>().is_err() && !is_local && !self.0.known.contains(&host)
    }

    async fn look_up(self, host: String) -> Result<Vec<SocketAddr>, NetError> {
        let found = self.0.resolver()?.lookup_ip(host).await?;
        // The port is the URL's.
        Ok(found.iter().map(|ip| SocketAddr::new(ip, 0)).collect())
    }
}

impl System {
    fn resolver(&self) -> Result<&TokioResolver, NetError> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        let (config, options) = (self.config.clone(), self.options.clone());
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options);
        let mut resolver = builder.build()?;
        resolver.set_hosts(self.hosts.clone());
        Ok(self.resolver.get_or_init(|| resolver))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(..)")
    }
}

/// The names in a file like `/etc/hosts`, in lower case.
fn names_in(hosts: &[u8]) -> HashSet<String> {
    let text = String::from_utf8_lossy(hosts);
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(str::to_ascii_lowercase)
        .collect()
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NetError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        let host = name.as_str().to_owned();
        Box::pin(async move { Ok(names.look_up(host).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_file_knows_are_asked_for() {
        let names = Names::of(
            b"127.0.0.1 here\n192.0.2.7\tHook.Example  alias # not.this\n",
            b"nameserver 192.0.2.53\n",
        );
        for known in [
            "192.0.2.1",
            "::1",
            "localhost",
            "a.localhost",
            "here",
            "hook.example",
            "ALIAS.",
        ] {
            assert!(!names.must_ask(known), "{known}");
        }
        for unknown in ["example.org", "not.this", "hook", "#"] {
            assert!(names.must_ask(unknown), "{unknown}");
        }
    }

    #[tokio::test]
    async fn the_hosts_file_needs_no_server() {
        let names = Names::of(b"192.0.2.7 hook.example\n2001:db8::7 hook.example\n", b"");
        let mut found = names.look_up("hook.example".into()).await.expect("found");
        found.sort_unstable();
        let known: [SocketAddr; 2] =
            ["192.0.2.7:0", "[2001:db8::7]:0"].map(|text| text.parse().expect("an address"));
        assert_eq!(found, known);
    }
}
