//! The log: to standard error, by default without personal data.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::args::LogFormat;
use super::error::CliError;

/// How to log.
pub(super) struct LogSettings {
    /// An [`EnvFilter`] in text.
    pub filter: String,
    /// The form of a line; text on a terminal and JSON elsewhere, where nothing is said.
    pub format: Option<LogFormat>,
}

/// Starts logging for the whole process.
pub(super) fn start(settings: &LogSettings) -> Result<(), CliError> {
    let filter = parse(&settings.filter)?;
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours(terminal, std::env::var_os("NO_COLOR").as_deref()));
    // A logger that is set already (by a test) serves as well.
    let _ = match form(settings.format, terminal) {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// People read a terminal; elsewhere a program takes the log.
fn form(given: Option<LogFormat>, terminal: bool) -> LogFormat {
    given.unwrap_or(match terminal {
        true => LogFormat::Text,
        false => LogFormat::Json,
    })
}

/// Whether lines are coloured: on a terminal, unless NO_COLOR (<https://no-color.org>) says
/// otherwise.
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

/// A bare level applies to this crate's own lines; other crates stay at warnings, since we cannot
/// judge what they log at lower levels (packets, addresses, key material). A filter is used
/// unchanged.
fn parse(text: &str) -> Result<EnvFilter, CliError> {
    let is_level = text.parse::<tracing::Level>().is_ok();
    let directives = if is_level {
        format!("warn,rekindle={text}")
    } else {
        text.to_owned()
    };
    EnvFilter::try_new(&directives).map_err(|error| CliError::Log(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_takes_the_colours_from_a_terminal() {
        assert!(colours(true, None) && colours(true, Some(OsStr::new(""))));
        assert!(!colours(true, Some(OsStr::new("1"))) && !colours(false, None));
    }

    #[test]
    fn lines_are_for_people_on_a_terminal_and_for_programs_elsewhere() {
        assert_eq!(form(None, true), LogFormat::Text);
        assert_eq!(form(None, false), LogFormat::Json);
        assert_eq!(form(Some(LogFormat::Text), false), LogFormat::Text);
    }

    #[test]
    fn a_level_is_for_this_program_only() {
        let filter = parse("debug").expect("a level").to_string();
        assert!(
            filter.contains("rekindle=debug") && filter.contains("warn"),
            "{filter}"
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(parse("rekindle=loud=very").is_err());
    }
}
