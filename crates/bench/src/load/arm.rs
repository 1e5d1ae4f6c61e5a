//! What is measured in turns: servers of our own, or one that runs already.

use std::path::PathBuf;

use super::turn::{self, Turn};
use super::{LoadSettings, Program, affinity};
use crate::error::BenchError;
use crate::server::Server;
use crate::target::Target;

/// What a run is about.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// Programs that are started, each with each number of media threads.
    Own {
        /// A name and a path of each.
        programs: Vec<(String, PathBuf)>,
        /// Numbers of threads to pass on; as the program has it where empty.
        threads: Vec<usize>,
        /// Options for all of them.
        options: Vec<String>,
    },
    /// A server that runs.
    Other {
        target: Target,
        url: String,
        /// What it is called.
        name: String,
        /// Its process on this machine, where that is known.
        process: Option<u32>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Arm {
    pub name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Own {
        program: PathBuf,
        options: Vec<String>,
    },
    Other {
        target: Target,
        process: Option<u32>,
    },
}

/// The arms of a run, and the first program of ours.
///
/// # Errors
/// [`BenchError::Program`] where one does not run.
pub(crate) fn arms(
    subject: &Subject,
    notes: &mut Vec<String>,
) -> Result<(Vec<Arm>, Option<Program>), BenchError> {
    let (programs, threads, options) = match subject {
        Subject::Own {
            programs,
            threads,
            options,
        } => (programs, threads, options),
        Subject::Other {
            target,
            name,
            process,
            ..
        } => {
            if process.is_none() {
                notes.push(
                    "The server's process is not known: give --server-pid to have its CPU time \
                     and memory."
                        .to_owned(),
                );
            }
            let what = What::Other {
                target: target.clone(),
                process: *process,
            };
            let name = name.clone();
            return Ok((vec![Arm { name, what }], None));
        }
    };
    let mut first = None;
    let mut arms = Vec::new();
    for (name, path) in programs {
        let program = Program::ask(path)?;
        let mut own = |name: String, more: Option<String>| {
            let options = options.iter().cloned().chain(more).collect();
            let what = What::Own {
                program: path.clone(),
                options,
            };
            arms.push(Arm { name, what });
        };
        if threads.is_empty() {
            own(name.clone(), None);
        } else if Program::has_option(path, "--threads") {
            for threads in threads {
                own(
                    format!("{name}, {threads} threads"),
                    Some(format!("--threads={threads}")),
                );
            }
        } else {
            notes.push(format!(
                "{name} has no option --threads, and runs as it is."
            ));
            own(name.clone(), None);
        }
        first.get_or_insert(program);
    }
    Ok((arms, first))
}

impl Arm {
    /// One turn.
    ///
    /// # Errors
    /// Where the server does not start, or takes no clients.
    pub(crate) fn turn(
        &self,
        settings: &LoadSettings,
        viewers: usize,
        seed: u64,
    ) -> Result<Turn, BenchError> {
        let cores = &settings.cores.server;
        let cannot = BenchError::system("cannot move the server to its cores");
        match &self.what {
            What::Own { program, options } => {
                let mut options = options.clone();
                options.push(format!("--max-peers={}", viewers.max(10_000) + 16));
                let mut server = Server::new(program, settings.folder.as_deref(), &options)?;
                affinity::on(cores, || server.spawn()).map_err(cannot)??;
                server.wait_until_up()?;
                let target = server.http().map(Target::own).ok_or_else(|| {
                    BenchError::Server("it did not say where it listens".to_owned())
                })?;
                turn::run(settings, target, server.process(), viewers, seed)
            }
            What::Other { target, process } => {
                if let Some(process) = process {
                    affinity::pin_process(*process, cores).map_err(cannot)?;
                }
                turn::run(settings, target.clone(), *process, viewers, seed)
            }
        }
    }
}
