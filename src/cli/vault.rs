//! The commands for the state folder: `audit` and `rekey`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::vault::{audit, rekey};

/// `rekindle audit`. Exit code 0: clean; 1: findings; 2: could not look.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// A state folder, one of its files, or `-` for what `age -d` made of a file, on the standard input
    target: PathBuf,
    /// Key file that opens it; without one, only what shows from outside is looked at
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Path inside the state folder that a single file had, such as peers/NAME.age, where it cannot be told
    #[arg(long, value_name = "PATH")]
    name: Option<String>,
    /// Show values instead of short hashes of them
    #[arg(long)]
    reveal: bool,
    /// Show every field of every file
    #[arg(long)]
    detail: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl AuditArgs {
    pub(super) fn run(self) -> ExitCode {
        audit::run(&audit::Options {
            target: self.target,
            key_file: self.key_file,
            name: self.name,
            reveal: self.reveal,
            detail: self.detail,
            json: self.json,
        })
    }
}

/// `rekindle rekey`.
#[derive(Args, Debug)]
pub(super) struct RekeyArgs {
    /// The state folder
    dir: PathBuf,
    /// Key file that opens it now
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Key file that is to open it
    #[arg(long, value_name = "FILE")]
    new_key_file: PathBuf,
}

impl RekeyArgs {
    pub(super) fn run(self) -> ExitCode {
        rekey::run(&rekey::Options {
            dir: self.dir,
            key_file: self.key_file,
            new_key_file: self.new_key_file,
        })
    }
}
