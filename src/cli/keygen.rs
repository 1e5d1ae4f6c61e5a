//! `rekindle keygen`: makes a key file.

use std::path::PathBuf;

use crate::vault::KeyFile;

use super::error::CliError;

#[derive(clap::Args)]
pub(super) struct KeygenArgs {
    /// Where to write the key file; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    KeyFile::generate(&args.output)?;
    eprintln!(
        "key file written to {} (mode 0600). Whoever has it can read the server's state: keep a copy in a safe place.",
        args.output.display()
    );
    Ok(())
}
