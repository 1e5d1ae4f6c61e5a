//! Where a run was made, so that its figures can be compared with others.

use std::fs;

use serde::Serialize;

use super::program::Program;

/// The machine and what was built for it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The server's version; with another server, this program's.
    pub rekindle: String,
    /// How this program was built.
    pub profile: &'static str,
    pub features: &'static str,
    pub compiler: String,
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub architecture: &'static str,
    /// Load of the machine over the last minute before the run.
    pub load: String,
}

impl Machine {
    /// `server`: the program that is measured, where it is one of ours.
    pub(super) fn here(server: Option<&Program>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
            value.unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse::<u64>().ok());
        Self {
            rekindle: server
                .map_or(env!("CARGO_PKG_VERSION"), Program::version)
                .to_owned(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            features: match server {
                Some(server) if server.has_full_state() => "full-state",
                _ => "default",
            },
            compiler: format!("rustc {}", rustc_version_runtime::version()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or_default() / 1024,
            architecture: std::env::consts::ARCH,
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}
