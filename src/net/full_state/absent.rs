//! Takes the place of full-state mode in a build without it.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use mio::Waker;

use crate::ids::Ufrag;
use crate::net::media_loop::MediaLoop;
use crate::net::resume::Loaded;
use crate::net::{Handle, Stopped};
use crate::peer::Transmit;
use crate::vault::{Reader, Vault};

impl Handle {
    /// No session keys are to be written again.
    ///
    /// # Errors
    /// None.
    pub async fn rewrite_sessions(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Writes nothing.
pub(in crate::net) struct Writer;

impl Writer {
    pub(in crate::net) const NONE: Self = Self;
}

/// What a process left in addition to records: nothing.
pub(in crate::net) struct Counters;

/// Session keys of an earlier process: there are none.
pub(in crate::net) enum Session {}

/// The sessions of the last process: none.
pub(in crate::net) struct Sessions;

impl Sessions {
    pub(in crate::net) fn open(
        _: &Reader,
        _: Option<Arc<Vault>>,
        loaded: &mpsc::Sender<Loaded>,
    ) -> Self {
        // Without a receiver the process is stopping.
        let _ = loaded.send(Loaded::Begun(Counters));
        Self
    }

    pub(in crate::net) fn take(&mut self, _: &Reader, _: &Ufrag) -> Option<Session> {
        None
    }

    pub(in crate::net) fn finish(self) {}
}

impl MediaLoop {
    pub(in crate::net) fn keep_sessions(
        &mut self,
        _: Option<Arc<Vault>>,
        _: &Arc<Waker>,
    ) -> io::Result<()> {
        let Writer = self.writer;
        Ok(())
    }

    pub(in crate::net) fn take_counters(&mut self, _: Counters) {}

    pub(in crate::net) fn bring(&mut self, session: Session) {
        match session {}
    }

    pub(in crate::net) fn take_sources(&mut self) {}

    pub(in crate::net) fn write_sessions(&mut self, _: Instant, _: &mut Vec<Transmit>) {}
}
