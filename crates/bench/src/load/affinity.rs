//! Which cores the server and the clients run on.

use std::fs;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// With fewer cores, server and clients share them unless others are requested.
const ENOUGH: usize = 4;

/// Numbers of cores; empty where the system places the threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cores {
    pub server: Vec<usize>,
    pub clients: Vec<usize>,
}

impl Cores {
    /// The requested cores; otherwise a quarter of the cores for the clients, where there are
    /// enough.
    pub(crate) fn plan(server: Option<Vec<usize>>, clients: Option<Vec<usize>>) -> Self {
        if server.is_some() || clients.is_some() {
            return Self {
                server: server.unwrap_or_default(),
                clients: clients.unwrap_or_default(),
            };
        }
        Self::split(own())
    }

    fn split(mut all: Vec<usize>) -> Self {
        if all.len() < ENOUGH {
            return Self::default();
        }
        let clients = all.split_off(all.len() - all.len() / 4);
        Self {
            server: all,
            clients,
        }
    }

    /// How many threads read the viewers' sockets.
    pub(crate) fn client_threads(&self) -> usize {
        self.clients.len().max(1)
    }
}

/// The cores that this thread may run on.
fn own() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    let known = cores.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU);
    known.for_each(|cpu| set.set(*cpu));
    set
}

/// Restricts this thread, and those that it starts, to these cores, if any are named.
///
/// # Errors
/// Where the system has no such cores.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    Ok(sched_setaffinity(None, &set_of(cores))?)
}

/// Runs `work` while this thread, and all that it starts, is restricted to these cores.
///
/// # Errors
/// As [`pin`].
pub(crate) fn on<T>(cores: &[usize], work: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(cores)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Moves all threads of another process to these cores, if any are named.
///
/// # Errors
/// Where the system does not allow that.
pub(crate) fn pin_process(process: u32, cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    for thread in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
        let id = id.and_then(Pid::from_raw);
        sched_setaffinity(id, &set_of(cores))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_a_quarter_of_the_cores_where_there_are_enough() {
        assert_eq!(Cores::split(vec![0, 1]), Cores::default());
        let eight = Cores::split((0..8).collect());
        assert_eq!(eight.server, [0, 1, 2, 3, 4, 5]);
        assert_eq!(eight.clients, [6, 7]);
        assert_eq!(Cores::split(vec![3, 5, 7, 9]).clients, [9]);
    }

    #[test]
    fn a_thread_comes_back_to_the_cores_that_it_had() {
        let before = own();
        let inside = on(&before[..1], own).expect("a core of our own");
        assert_eq!(inside, before[..1]);
        assert_eq!(own(), before);
    }
}
