//! The UDP socket and the loop that drives the sans-IO core.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::broadcast::{Event, Join, Refusal, Snapshot};
use crate::sdp::Codec;
use crate::vault::{Role, Ufrag};

/// A handle to the media loop, for the HTTP side. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

/// The media loop has ended; the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media loop has ended")]
pub struct Stopped;

impl Handle {
    /// See [`crate::broadcast::Broadcast::reserve`].
    ///
    /// # Errors
    /// The outer one where the loop has ended, the inner one where the peer cannot join now.
    pub async fn reserve(
        &self,
        role: Role,
        channel: &str,
        ufrag: &Ufrag,
    ) -> Result<Result<Vec<Codec>, Refusal>, Stopped> {
        let _ = (role, channel, ufrag);
        Err(Stopped)
    }

    /// See [`crate::broadcast::Broadcast::join`].
    ///
    /// # Errors
    /// As for [`Handle::reserve`].
    pub async fn join(&self, join: Join) -> Result<Result<(), Refusal>, Stopped> {
        let _ = join;
        Err(Stopped)
    }

    /// See [`crate::broadcast::Broadcast::leave`].
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn leave(&self, ufrag: &Ufrag) -> Result<bool, Stopped> {
        let _ = ufrag;
        Err(Stopped)
    }

    /// Counts at this moment.
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        Err(Stopped)
    }
}

/// Where the loop's events come out, for the HTTP side and the vault's writer.
pub type Events = mpsc::UnboundedReceiver<Event>;

/// The address the media port is bound to.
pub type MediaAddr = SocketAddr;
