//! Threads that do the expensive part of handshakes beside the media loop.
//! || The loop gives them jobs of the core and takes back the results; while they have enough to
//! do, it does handshakes itself, in its turns. On one core there are no such threads, and the loop
//! does all handshakes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;
use std::{io, thread};

use mio::Waker;

use crate::broadcast::{Broadcast, Finished, Job};
use crate::ids::Role;
use crate::peer::Transmit;

/// Waiting jobs for each thread: about as many as it does while the loop forwards media. More would
/// only delay a publisher's turn.
const AHEAD: usize = 4;
/// Most jobs taken back before the loop looks at its clock: with many threads they finish quickly,
/// and media waits meanwhile.
const AT_ONCE: usize = 16;

/// Jobs that wait for a thread.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_over: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when there is a job, or there will be no more.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; `None` when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_over {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// See the module. Dropping it ends the threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    finished: mpsc::Receiver<Finished>,
    /// How many jobs may be out at once, and how many are.
    room: usize,
    out: usize,
    /// Whether finished jobs may be left that were not taken back.
    is_behind: bool,
}

impl Pool {
    /// Starts this many threads, which wake the loop when a job is done.
    ///
    /// # Errors
    /// The system's error where it has no threads left.
    pub(super) fn start(threads: usize, waker: &Arc<Waker>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (done, finished) = mpsc::channel();
        let this = Self {
            shared: shared.clone(),
            finished,
            room: threads * (1 + AHEAD),
            out: 0,
            is_behind: false,
        };
        for n in 0..threads {
            let (shared, done, waker) = (shared.clone(), done.clone(), waker.clone());
            thread::Builder::new()
                .name(format!("dtls-{n}"))
                .spawn(move || work(&shared, &done, &waker))?;
        }
        Ok(this)
    }

    /// Whether [`Pool::exchange`] is to be called again soon: no thread wakes the loop for this.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Passes the results of some jobs to the core, and takes as many new jobs as the threads need.
    pub(super) fn exchange(&mut self, now: Instant, core: &mut Broadcast, out: &mut Vec<Transmit>) {
        let before = self.out;
        for finished in self.finished.try_iter().take(AT_ONCE) {
            self.out -= 1;
            core.job_done(now, finished, out);
        }
        self.is_behind = before - self.out == AT_ONCE;
        // One job is left to the loop: to give it away and be woken for it costs a third of the
        // work, and gains nothing where it is the only one.
        while self.out < self.room
            && core.waiting_handshakes() > 1
            && let Some(job) = core.poll_job(now)
        {
            self.out += 1;
            let mut queue = self.shared.lock();
            match job.role() {
                // All its viewers wait for it.
                Role::Publisher => queue.jobs.push_front(job),
                Role::Viewer => queue.jobs.push_back(job),
            }
            drop(queue);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_over = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.changed.notify_all();
    }
}

fn work(shared: &Shared, done: &mpsc::Sender<Finished>, waker: &Waker) {
    while let Some(job) = shared.next() {
        if done.send(job.run()).is_err() || waker.wake().is_err() {
            return;
        }
    }
}
