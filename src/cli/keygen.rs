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
    let folder = args.output.parent().unwrap_or(Path::new(""));
    make_folder(folder).map_err(|cause| KeyError::Io {
        what: "make the folder of",
        path: args.output.clone(),
        cause,
    })?;
    KeyFile::generate(&args.output)?;
    eprintln!(
        "key file written to {} (mode 0600). Whoever has it can read the server's state: keep a \
         copy in a safe place.",
        args.output.display()
    );
    Ok(())
}

/// Creates a missing folder and its missing parents, for its owner only, and makes them durable: a
/// key in a folder that a crash removes is lost.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_folder(above)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let above = match above.as_os_str().is_empty() {
        true => Path::new("."),
        false => above,
    };
    // A folder that may only be passed through existed before, and cannot be opened.
    if let Ok(above) = File::open(above) {
        above.sync_all()?;
    }
    Ok(())
}
