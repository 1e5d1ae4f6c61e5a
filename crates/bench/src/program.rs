//! The server's program: its path, and its features.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BenchError;

/// Part of its version in a build that has the mode.
const FULL_STATE: &str = "with full-state mode";
/// What precedes the name of its DTLS library.
const LIBRARY: &str = "(DTLS: ";

/// The given program; otherwise the one beside this one, where a build puts it.
///
/// # Errors
/// Where the system does not report this program's path.
pub(super) fn path(given: Option<PathBuf>) -> Result<PathBuf, BenchError> {
    match given {
        // Servers run in folders of their own.
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe().map(|own| own.with_file_name("rekindle")),
    }
    .map_err(BenchError::system(
        "cannot tell where the server's program is; give --server",
    ))
}

/// The same for several; at least one.
///
/// # Errors
/// As for [`path`].
pub(super) fn paths(given: Vec<PathBuf>) -> Result<Vec<PathBuf>, BenchError> {
    if given.is_empty() {
        return Ok(vec![path(None)?]);
    }
    given.into_iter().map(|given| path(Some(given))).collect()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Program {
    version: String,
    library: String,
    has_full_state: bool,
}

impl Program {
    /// Asks the program.
    ///
    /// # Errors
    /// [`BenchError::Program`] where it does not run, or is not rekindle.
    pub(super) fn ask(path: &Path) -> Result<Self, BenchError> {
        let unfit = |why: String| BenchError::Program {
            path: path.to_owned(),
            why,
        };
        let output = Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| unfit(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        Self::read(&said).ok_or_else(|| unfit("it does not say that it is rekindle".to_owned()))
    }

    fn read(said: &str) -> Option<Self> {
        let rest = said.trim().strip_prefix("rekindle ")?;
        let (version, more) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            version: version.to_owned(),
            library: more
                .strip_prefix(LIBRARY)
                .and_then(|more| Some(more.split_once(')')?.0))
                .unwrap_or_default()
                .to_owned(),
            has_full_state: more.ends_with(FULL_STATE),
        })
    }

    /// Whether the program's server has an option of this name.
    pub(super) fn has_option(path: &Path, option: &str) -> bool {
        let mut command = Command::new(path);
        command.args(["serve", "--help"]).stdin(Stdio::null());
        let help = command.output().map(|output| output.stdout);
        let help = help.unwrap_or_default();
        String::from_utf8_lossy(&help)
            .split_ascii_whitespace()
            .any(|word| word == option)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The DTLS library; empty where it is not reported.
    pub(super) fn library(&self) -> &str {
        &self.library
    }

    pub(super) fn has_full_state(&self) -> bool {
        self.has_full_state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_which_version_and_library_it_has_and_whether_it_has_full_state_mode() {
        let read = |said| Program::read(said).map(|p| (p.version, p.library, p.has_full_state));
        assert_eq!(
            read("rekindle 0.1.0 (DTLS: dimpl)\n"),
            Some(("0.1.0".to_owned(), "dimpl".to_owned(), false))
        );
        assert_eq!(
            read("rekindle 0.1.0 (DTLS: dimpl) with full-state mode\n"),
            Some(("0.1.0".to_owned(), "dimpl".to_owned(), true))
        );
        assert_eq!(read("rekindle-bench 0.1.0\n"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_the_remedy() {
        let error = Program::ask(Path::new("/nowhere/rekindle")).expect_err("refused");
        let said = error.to_string();
        assert!(
            said.contains("/nowhere/rekindle") && said.contains("--server"),
            "{said}"
        );
    }
}
