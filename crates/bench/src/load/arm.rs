//! What takes turns: servers of our own, and servers that already run.

use std::path::PathBuf;

use super::turn::{self, Turn};
use super::{LoadSettings, Program, affinity};
use crate::error::BenchError;
use crate::server::Server;
use crate::target::Target;

/// What is measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    /// Programs to start: a name and a path of each.
    pub programs: Vec<(String, PathBuf)>,
    /// Numbers of media threads to start each with; its own default where empty.
    pub threads: Vec<usize>,
    /// Options for all of them.
    pub options: Vec<String>,
    /// Servers that already run.
    pub others: Vec<Other>,
}

/// A server that already runs.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub name: String,
    pub target: Target,
    pub url: String,
    /// Its process on this machine, where it is known.
    pub process: Option<u32>,
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
    Other(Other),
}

/// The arms of a run, and the first program of ours.
///
/// # Errors
/// [`BenchError::Program`] where one does not run.
pub(crate) fn arms(
    subject: &Subject,
    notes: &mut Vec<String>,
) -> Result<(Vec<Arm>, Option<Program>), BenchError> {
    let mut first = None;
    let mut arms = Vec::new();
    for (name, path) in &subject.programs {
        let program = Program::ask(path)?;
        let mut own = |name: String, more: Option<String>| {
            let options = subject.options.iter().cloned().chain(more).collect();
            let what = What::Own {
                program: path.clone(),
                options,
            };
            arms.push(Arm { name, what });
        };
        if subject.threads.is_empty() {
            own(name.clone(), None);
        } else if Program::has_option(path, "--threads") {
            for threads in &subject.threads {
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
    for other in &subject.others {
        if other.process.is_none() {
            notes.push(format!(
                "The process of {} is not known; --server-pid has its CPU time and memory told.",
                other.name
            ));
        }
        arms.push(Arm {
            name: other.name.clone(),
            what: What::Other(other.clone()),
        });
    }
    Ok((arms, first))
}

impl Arm {
    /// One turn.
    ///
    /// # Errors
    /// Where the server does not start, or accepts no clients.
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
            What::Other(other) => {
                if let Some(process) = other.process {
                    affinity::pin_process(process, cores).map_err(cannot)?;
                }
                turn::run(settings, other.target.clone(), other.process, viewers, seed)
            }
        }
    }
}
