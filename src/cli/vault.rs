//! The commands for the vault: `audit`, `rekey` and `export`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::audit_report;
use super::error::CliError;
use super::etcd::{Copy, EtcdArgs};
use crate::vault::audit::Verdict;
use crate::vault::rekey::{self, Outcome};
use crate::vault::shared;
use crate::vault::{KeyFile, VaultError, audit};

/// `rekindle audit`. Exit code 0: clean; 1: findings; 2: the audit was not possible.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// A state folder, one of its files, or `-` for what `age -d` made of a file, on the standard
    /// input
    #[arg(required_unless_present = "vault")]
    target: Option<PathBuf>,
    /// A vault in etcd, such as etcd://a:2379,b:2379/prefix
    #[arg(long, value_name = "ADDRESS", conflicts_with = "target")]
    vault: Option<String>,
    #[command(flatten)]
    etcd: EtcdArgs,
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
        let report = match self.report() {
            Ok(report) => report,
            Err(error) => {
                eprintln!("rekindle: {}", audit_report::safe(&error));
                return ExitCode::from(2);
            }
        };
        let written = if self.json {
            audit_report::write_json(&report, &mut out)
        } else {
            audit_report::write_human(&report, self.detail, colour, &mut out)
        };
        match written {
            // The reader may have read enough (`| head`); the verdict stands.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("rekindle: cannot write the report: {error}");
                ExitCode::from(2)
            }
            _ => ExitCode::from(u8::from(report.verdict == Verdict::Findings)),
        }
    }

    /// A vault in etcd is audited in a folder that only this user can enter and that is removed
    /// afterwards. It holds what etcd holds: age files.
    fn report(&self) -> Result<audit::Report, String> {
        let copy = match &self.vault {
            Some(address) => {
                let store = self.etcd.open(address).map_err(|error| error.story())?;
                Some(Copy::of(&*store).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let target = match &copy {
            Some(copy) => copy.path().to_owned(),
            None => self.target.clone().unwrap_or_default(),
        };
        let options = audit::Options {
            target,
            key_file: self.key_file.clone(),
            name: self.name.clone(),
            reveal: self.reveal,
        };
        let mut report = audit::audit(&options, &mut io::stdin(), SystemTime::now())
            .map_err(|error| error.to_string())?;
        if let Some(address) = &self.vault {
            report.target.clone_from(address);
        }
        Ok(report)
    }
}

/// `rekindle export`. Exit code 0: done; 2: not.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The vault in etcd, such as etcd://a:2379,b:2379/prefix
    #[arg(long, value_name = "ADDRESS")]
    vault: String,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// The folder to make
    folder: PathBuf,
}

impl ExportArgs {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let store = self.etcd.open(&self.vault)?;
        let exported = shared::export(&*store, &self.folder)?;
        println!(
            "identity.age, {} peers and {} files of set-aside/ are in {}, encrypted as they were. \
             A server that is started on this folder does not know that others have its peers.",
            exported.peers,
            exported.set_aside,
            self.folder.display()
        );
        if exported.strange > 0 {
            println!(
                "{} keys that are no file of a vault were left out: see `etcdctl get --prefix \
                 --keys-only`.",
                exported.strange
            );
        }
        Ok(())
    }
}

/// `rekindle rekey`. Exit code 0: all done; 1: done, but some files could not be used and were set
/// aside; 2: nothing was done.
#[derive(Args, Debug)]
pub(super) struct RekeyArgs {
    /// The state folder
    #[arg(required_unless_present = "vault")]
    dir: Option<PathBuf>,
    /// A vault in etcd that no node uses, such as etcd://a:2379,b:2379/prefix
    #[arg(long, value_name = "ADDRESS", conflicts_with = "dir")]
    vault: Option<String>,
    #[command(flatten)]
    etcd: EtcdArgs,
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
                eprintln!("rekindle: {}", error.story());
                match *error {
                    CliError::Vault(VaultError::InUse(_)) => eprintln!(
                        "A server that runs takes a changed key file on SIGHUP: put the new \
                         identity in front of its key file, send the signal, and remove the old \
                         identity when `rekindle audit` shows no file under it."
                    ),
                    CliError::Vault(VaultError::Unavailable { .. } | VaultError::Full { .. })
                        if self.vault.is_some() =>
                    {
                        eprintln!(
                            "Some files may be under the new key file already: run this again \
                             with the same key files. No server starts before it is done."
                        );
                    }
                    _ => {}
                }
                ExitCode::from(2)
            }
        }
    }

    fn rekey(&self) -> Result<(Outcome, String), Box<CliError>> {
        let old = KeyFile::load(&self.key_file).map_err(|e| Box::new(e.into()))?;
        let new = KeyFile::load(&self.new_key_file).map_err(|e| Box::new(e.into()))?;
        let recipient = new.recipients().next().expect("a key file has an identity");
        let outcome = match (&self.vault, &self.dir) {
            (Some(address), _) => shared::rekey(self.etcd.open(address)?, old, new),
            (None, dir) => rekey::rekey(dir.as_deref().unwrap_or(Path::new("")), old, new),
        };
        Ok((outcome.map_err(|e| Box::new(e.into()))?, recipient))
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
