//! The commands for the state folder: `audit` and `rekey`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::audit_report;
use crate::vault::audit::Verdict;
use crate::vault::rekey::{self, Outcome};
use crate::vault::{KeyError, KeyFile, VaultError, audit};

/// `rekindle audit`. Exit code 0: clean; 1: findings; 2: could not look.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// A state folder, one of its files, or `-` for what `age -d` made of a file, on the standard
    /// input
    target: PathBuf,
    /// Key file that opens it; without one, only what shows from outside is looked at
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Path inside the state folder that a single file had, such as peers/NAME.age, where it cannot
    /// be told
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
        let mut out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let options = audit::Options {
            target: self.target,
            key_file: self.key_file,
            name: self.name,
            reveal: self.reveal,
        };
        let report = match audit::audit(&options, &mut io::stdin(), SystemTime::now()) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("rekindle: {}", audit_report::safe(&error.to_string()));
                return ExitCode::from(2);
            }
        };
        let written = if self.json {
            audit_report::write_json(&report, &mut out)
        } else {
            audit_report::write_human(&report, self.detail, colour, &mut out)
        };
        match written {
            // Whoever reads may have read enough (`| head`); the verdict stands.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("rekindle: cannot write the report: {error}");
                ExitCode::from(2)
            }
            _ => ExitCode::from(u8::from(report.verdict == Verdict::Findings)),
        }
    }
}

/// `rekindle rekey`. Exit code 0: all done; 1: done, but some files could not be used and were set
/// aside; 2: nothing was done.
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
        match self.rekey() {
            Ok((outcome, recipient)) => {
                let _ = self.report(&mut io::stdout().lock(), outcome, &recipient);
                ExitCode::from(u8::from(outcome.unusable > 0))
            }
            Err(error) => {
                eprintln!("rekindle: {error}");
                if matches!(*error, NotRekeyed::Vault(VaultError::InUse(_))) {
                    eprintln!(
                        "A server that runs takes a changed key file on SIGHUP: put the new \
                         identity in front of its key file, send the signal, and remove the old \
                         identity when `rekindle audit` shows no file under it."
                    );
                }
                ExitCode::from(2)
            }
        }
    }

    fn rekey(&self) -> Result<(Outcome, String), Box<NotRekeyed>> {
        let old = KeyFile::load(&self.key_file).map_err(|e| Box::new(e.into()))?;
        let new = KeyFile::load(&self.new_key_file).map_err(|e| Box::new(e.into()))?;
        let recipient = new.recipients().next().expect("a key file has an identity");
        let outcome = rekey::rekey(&self.dir, old, new).map_err(|e| Box::new(e.into()))?;
        Ok((outcome, recipient))
    }

    fn report(&self, out: &mut dyn Write, outcome: Outcome, recipient: &str) -> io::Result<()> {
        let Outcome {
            peers,
            unusable,
            set_aside,
            ..
        } = outcome;
        writeln!(
            out,
            "identity.age and {peers} peers are now encrypted to {recipient}."
        )?;
        if unusable > 0 {
            writeln!(
                out,
                "{unusable} files could not be used and were moved to set-aside/: see `rekindle \
                 audit`."
            )?;
        }
        if set_aside > 0 {
            writeln!(
                out,
                "{set_aside} files in set-aside/ stay under the keys they were under: look at \
                 them, delete them."
            )?;
        }
        writeln!(
            out,
            "{} opens nothing here any more. It still opens backups and whatever the disk has kept \
             of the old files.",
            self.key_file.display()
        )
    }
}

/// Why nothing was re-encrypted.
#[derive(Debug, thiserror::Error)]
enum NotRekeyed {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}
