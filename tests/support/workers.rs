//! The threads that do handshakes beside the server's loop, in the world's time.

use std::time::{Duration, Instant};

use rekindle::broadcast::Job;

use super::Random;

/// Jobs that are out at once.
const ROOM: usize = 4;
/// Longest time that one takes.
const LONGEST: Duration = Duration::from_millis(2);

/// They do jobs in an order of their own. Half of all worlds have none, and the server does all
/// handshakes itself; with `REKINDLE_TEST_WORKERS=other` it is the other half.
pub struct Workers {
    room: usize,
    out: Vec<(Instant, Job)>,
    random: Random,
}

impl Workers {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x0b5e_55ed);
        let are_other = std::env::var("REKINDLE_TEST_WORKERS").is_ok_and(|which| which == "other");
        let room = match (random.below(2) == 1) != are_other {
            true => ROOM,
            false => 0,
        };
        Self {
            room,
            out: Vec::new(),
            random,
        }
    }

    /// The process is killed.
    pub fn kill(&mut self) {
        self.out.clear();
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.room > 0
    }

    pub fn has_room(&self) -> bool {
        self.out.len() < self.room
    }

    /// Begins with a job.
    pub fn begin(&mut self, now: Instant, job: Job) {
        let takes = LONGEST.mul_f64(self.random.below(1000) as f64 / 1000.0);
        self.out.push((now + takes, job));
    }

    /// When one is done next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.out.iter().map(|(at, _)| *at).min()
    }

    /// One that is done by now, whichever.
    pub fn take(&mut self, now: Instant) -> Option<Job> {
        let done: Vec<usize> = (0..self.out.len())
            .filter(|place| self.out[*place].0 <= now)
            .collect();
        let place = *done.get(self.random.below(done.len().max(1) as u64) as usize)?;
        Some(self.out.swap_remove(place).1)
    }
}
