//! How far a sweep is: a bar on a terminal, a line every so often elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines.
const LINE: Duration = Duration::from_secs(10);

/// See the module. What is still to be done is counted in milliseconds, since kills take longer the
/// longer the server is down.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    done: (u64, u64),
    all: (u64, u64),
    told: Option<Instant>,
    what: String,
}

impl Progress {
    /// `all`: kills, and the milliseconds that they will take at a guess.
    pub(super) fn new(all: (u64, u64)) -> Self {
        let progress = Self {
            bar: std::io::stderr().is_terminal().then(|| {
                let bar = ProgressBar::with_draw_target(Some(all.0), ProgressDrawTarget::stderr());
                if let Ok(style) =
                    ProgressStyle::with_template("{bar:30} {pos}/{len} kills, {elapsed}  {msg}")
                {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }),
            began: Instant::now(),
            done: (0, 0),
            all,
            told: None,
            what: String::new(),
        };
        if progress.bar.is_none() {
            eprintln!(
                "sweep: {} kills, about {}; Ctrl-C ends it early, with a report",
                all.0,
                words(Duration::from_millis(all.1))
            );
        }
        progress
    }

    /// What is being done now.
    pub(super) fn doing(&mut self, what: String) {
        self.what = what;
        self.show(false);
    }

    /// More has to be done than was known.
    pub(super) fn more(&mut self, kills: u64, ms: u64) {
        self.all.0 += kills;
        self.all.1 += ms;
        self.show(false);
    }

    /// One more kill is done.
    pub(super) fn done(&mut self, ms: u64) {
        self.done.0 += 1;
        self.done.1 += ms;
        self.show(true);
    }

    fn show(&mut self, counts: bool) {
        let left = left(self.began.elapsed(), self.done.1, self.all.1);
        let text = left.map_or_else(
            || self.what.clone(),
            |left| format!("{} left  {}", words(left), self.what),
        );
        if let Some(bar) = &self.bar {
            bar.set_length(self.all.0);
            bar.set_position(self.done.0);
            bar.set_message(text);
        } else if counts && self.told.is_none_or(|at| at.elapsed() >= LINE) {
            self.told = Some(Instant::now());
            eprintln!("sweep: {} of {} kills, {text}", self.done.0, self.all.0);
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long the rest will take, when it goes on as it went so far.
fn left(elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
    let rest = all.saturating_sub(done);
    (done > 0).then(|| elapsed.mul_f64(rest as f64 / done as f64))
}

/// Minutes and seconds.
fn words(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_from_what_has_been_done() {
        let s = Duration::from_secs;
        assert_eq!(left(s(60), 1000, 4000), Some(s(180)));
        assert_eq!(left(s(60), 4000, 4000), Some(s(0)));
        assert_eq!(left(s(1), 0, 4000), None);
        assert_eq!(
            (words(s(59)), words(s(61))),
            ("59 s".to_owned(), "1 min 01 s".to_owned())
        );
    }
}
