//! Errors that end a benchmark, each in one line with a remedy.

use std::io;
use std::path::PathBuf;

/// Why a benchmark could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    /// The system does not provide what a run needs.
    #[error("{what}: {source}")]
    System {
        /// The operation.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A server of the benchmark did not start.
    #[error("a server did not start: {0}")]
    Server(String),
    /// There is no program to start servers with.
    #[error(
        "the server's program {path} does not run ({why}); build it with `cargo build --release`, \
         or name it with --server",
        path = path.display()
    )]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// The server's program has no full-state mode.
    #[error(
        "the server's program {path} has no full-state mode; build one with `cargo build --release \
         --features full-state`, or leave full-state out of --arms",
        path = path.display()
    )]
    NoFullState {
        /// The program.
        path: PathBuf,
    },
    /// The clients did not reach the measurement.
    #[error("{0}")]
    Clients(String),
    /// The other server's URL is unusable.
    #[error("--against {url}: {why}")]
    Against {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// Browsers cannot be driven here.
    #[error("--browser: {0}")]
    Browser(String),
    /// The result cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Output {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl BenchError {
    /// For `map_err`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
