//! Ctrl-C: the first one asks a run to end and to report what it has, the next one ends everything
//! at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::children;

/// The exit code of shells for a program that was ended by SIGINT.
const CODE: i32 = 130;
/// How often a wait checks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the run is asked to end. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Handles SIGINT, SIGTERM and SIGHUP from now on. `reports`: the run can end by itself;
    /// otherwise the first signal ends it.
    ///
    /// # Errors
    /// Where the system allows no handler.
    pub(super) fn listen(reports: bool) -> io::Result<Self> {
        let stop = Self::default();
        let asked = stop.0.clone();
        let (ready, readied) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    let kinds = [
                        SignalKind::interrupt(),
                        SignalKind::terminate(),
                        SignalKind::hangup(),
                    ];
                    let (mut interrupt, mut terminate, mut hangup) = match kinds.map(signal) {
                        [Ok(a), Ok(b), Ok(c)] => {
                            let _ = ready.send(Ok(()));
                            (a, b, c)
                        }
                        [a, b, c] => {
                            let error = [a, b, c].into_iter().find_map(Result::err);
                            let _ = ready
                                .send(Err(error.unwrap_or_else(|| io::ErrorKind::Other.into())));
                            return;
                        }
                    };
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                            _ = hangup.recv() => {}
                        }
                        if asked.swap(true, Ordering::Relaxed) || !reports {
                            children::end_all(CODE);
                        }
                        eprintln!(
                            "\nstopping, and reporting what was measured; Ctrl-C again ends at once"
                        );
                    }
                });
            })?;
        readied
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(stop)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until then; false where the run was asked to end before.
    pub(super) fn sleep_until(&self, at: Instant) -> bool {
        loop {
            if self.is_asked() {
                return false;
            }
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// The same for so long.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        self.sleep_until(Instant::now() + time)
    }

    #[cfg(test)]
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_early_when_the_run_is_asked_to_end() {
        let stop = Stop::default();
        assert!(stop.sleep(Duration::from_millis(1)));
        let asks = stop.clone();
        let thread = std::thread::spawn(move || asks.ask());
        assert!(!stop.sleep(Duration::from_secs(600)));
        thread.join().expect("it asked");
    }
}
