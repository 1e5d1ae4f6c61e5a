//! Counts of connections to the HTTPS port.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ProtocolVersion;

/// Why a connection has no TLS.
#[derive(Clone, Copy)]
pub(in crate::server) enum Cause {
    /// The client and the server did not agree, or the client disconnected.
    Error,
    /// It took too long.
    Timeout,
    /// The client sent HTTP.
    PlainHttp,
}

/// The counts.
#[derive(Debug, Default)]
pub(in crate::server) struct TlsCounts {
    completed: [AtomicU64; 2],
    failed: [AtomicU64; 3],
}

impl TlsCounts {
    pub(super) fn complete(&self, version: Option<ProtocolVersion>) {
        let is_newer = version == Some(ProtocolVersion::TLSv1_3);
        self.completed[usize::from(is_newer)].fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::server) fn fail(&self, cause: Cause) {
        self.failed[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// By version.
    pub(in crate::server) fn completed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["1.2", "1.3"].into_iter().zip(read(&self.completed))
    }

    /// By cause.
    pub(in crate::server) fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let causes = ["error", "timeout", "plain-http"];
        causes.into_iter().zip(read(&self.failed))
    }
}

fn read(counts: &[AtomicU64]) -> impl Iterator<Item = u64> {
    counts.iter().map(|count| count.load(Ordering::Relaxed))
}
