//! How many handshakes there may be at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle_ids::Role;

/// How many handshakes are under way, of all peers together. Each takes memory (13 KB of Rust's
/// heap) until it is over, and time of a processor.
pub(super) struct Load {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Without a limit, until told otherwise.
impl Default for Load {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Load {
    /// A place that nobody else wants.
    #[cfg(test)]
    pub fn for_tests() -> Admitted {
        Arc::new(Self::default()).admit(Role::Viewer).expect("room")
    }

    /// So many viewers' handshakes may be under way.
    pub(super) fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Lets one more begin, if there is room. Publishers have room of their own, as much again: all
    /// their viewers wait for them.
    pub(super) fn admit(self: &Arc<Self>, role: Role) -> Option<Admitted> {
        let most = self.most.load(Ordering::Relaxed);
        let room = match role {
            Role::Viewer => most,
            Role::Publisher => most.saturating_mul(2),
        };
        // In one step: several threads may begin handshakes at once.
        let counted =
            self.under_way
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |under_way| {
                    (under_way < room).then_some(under_way + 1)
                });
        counted.ok().map(|_| Admitted(self.clone()))
    }
}

/// A place among the handshakes that are under way, free again when dropped.
pub(crate) struct Admitted(Arc<Load>);

impl Admitted {
    /// Whether others are turned away for want of places.
    pub(crate) fn is_contested(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) >= self.0.most.load(Ordering::Relaxed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
