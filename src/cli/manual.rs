//! `rekindle completions` and `rekindle man`: what shells and `man` know of the commands, out of the
//! same definitions as the commands themselves.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_mangen::Man;
use time::OffsetDateTime;

use super::error::CliError;

#[derive(clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<(), CliError> {
        let name = command.get_name().to_owned();
        // The generator does not say that it could not write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        let mut out = io::stdout().lock();
        out.write_all(&script)
            .and_then(|()| out.flush())
            .map_err(CliError::Completions)
    }
}

#[derive(clap::Args)]
pub(super) struct ManArgs {
    /// The folder to write them into; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManArgs {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<(), CliError> {
        command = command.disable_help_subcommand(true);
        command.build();
        let date = today();
        fs::create_dir_all(&self.folder)
            .and_then(|()| {
                write(&command, &self.folder, &date)?;
                command
                    .get_subcommands()
                    .try_for_each(|command| write(command, &self.folder, &date))
            })
            .map_err(|source| CliError::ManualPages {
                path: self.folder.clone(),
                source,
            })
    }
}

/// Writes the page of one command.
fn write(command: &clap::Command, folder: &Path, date: &str) -> io::Result<()> {
    let page = Man::new(command.clone())
        .date(date)
        .source(concat!("rekindle ", env!("CARGO_PKG_VERSION")))
        .manual("rekindle");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8(text)
        .map_err(io::Error::other)?
        // The generator's heading for what stands behind the options.
        .replace("\n.SH EXTRA\n", "\n.SH NOTES\n")
        // mandoc warns of a break beside an empty line.
        .replace("\n.br\n\n.br\n", "\n.sp\n");
    fs::write(folder.join(page.get_filename()), text)
}

/// The date of the pages in UTC: that of SOURCE_DATE_EPOCH where it is set, so that a package that
/// is built twice is the same.
fn today() -> String {
    std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds.parse().ok()?).ok())
        .unwrap_or_else(OffsetDateTime::now_utc)
        .date()
        .to_string()
}
