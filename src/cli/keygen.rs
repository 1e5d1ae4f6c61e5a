//! `rekindle keygen`: makes a key file.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::vault::{KeyError, KeyFile};

use super::error::CliError;

#[derive(clap::Args)]
pub(super) struct KeygenArgs {
    /// Where to write the key file; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    make_folder(&args.output).map_err(|cause| KeyError::Io {
        what: "make the folder of",
        path: args.output.clone(),
        cause,
    })?;
    KeyFile::generate(&args.output)?;
    eprintln!(
        "key file written to {} (mode 0600). Whoever has it can read the server's state: keep a copy in a safe place.",
        args.output.display()
    );
    Ok(())
}

/// Makes the file's folder where it is missing, for its owner only, and durable: a key in a folder that a crash takes away is lost.
fn make_folder(file: &Path) -> io::Result<()> {
    let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
    else {
        return Ok(());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        // One that may only be passed through is not one that was made here.
        let Ok(above) = File::open(above) else { break };
        above.sync_all()?;
    }
    Ok(())
}
