//! The limit of handshakes under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle_ids::Role;

/// Counts the handshakes under way, of all peers together. Each takes memory (13 KB of Rust's heap)
/// until it is over, and processor time.
pub(super) struct Load {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Without a limit, until one is set.
impl Default for Load {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Load {
    /// A place without contention.
    #[cfg(test)]
    pub fn for_tests() -> Admitted {
        Arc::new(Self::default()).admit(Role::Viewer).expect("room")
    }

    /// Sets how many viewers' handshakes may be under way.
    pub(super) fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Admits one more handshake, if there is room. Publishers have as much room again of their
    /// own: all their viewers wait for them.
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

/// A place among the handshakes under way, free again when dropped.
pub(crate) struct Admitted(Arc<Load>);

impl Admitted {
    /// Whether handshakes are refused because the limit is reached.
    pub(crate) fn is_contested(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) >= self.0.most.load(Ordering::Relaxed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
