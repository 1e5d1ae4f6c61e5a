//! Tokens. Each is a text or a file, given in the environment, on the command line or in the
//! configuration file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use secrecy::{ExposeSecret, SecretString};

use super::super::error::CliError;
use crate::server::Token;

/// Where an option's value came from; the greater one has precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Source {
    File,
    Environment,
    Flag,
}

pub(in crate::cli) fn source(matches: &ArgMatches, id: &str) -> Source {
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Source::Flag,
        _ => Source::Environment,
    }
}

pub(in crate::cli) fn file_source(matches: &ArgMatches, id: &str) -> Source {
    source(matches, &format!("{id}_file"))
}

/// A token as text, or the path of a file that has it.
pub(in crate::cli) struct TokenSources {
    pub text: Option<SecretString>,
    pub path: Option<PathBuf>,
    pub text_from: Source,
    pub path_from: Source,
}

impl TokenSources {
    pub(in crate::cli) fn in_file(text: Option<SecretString>, path: Option<PathBuf>) -> Self {
        Self {
            text,
            path,
            text_from: Source::File,
            path_from: Source::File,
        }
    }
}

/// What the source with the highest precedence names, as text or as a file; both in one source
/// contradict each other.
fn foremost(
    given: TokenSources,
    file: TokenSources,
    what: &'static str,
) -> Result<TokenSources, CliError> {
    let mut chosen = if given.text.is_some() || given.path.is_some() {
        given
    } else {
        file
    };
    if chosen.text.is_some() && chosen.path.is_some() {
        if chosen.text_from == chosen.path_from {
            return Err(CliError::TokenTwice { what });
        }
        if chosen.text_from > chosen.path_from {
            chosen.path = None
        } else {
            chosen.text = None
        }
    }
    Ok(chosen)
}

/// The token as text, for who shows it to a server.
pub(in crate::cli) fn shown(
    given: TokenSources,
    file: TokenSources,
    what: &'static str,
) -> Result<Option<SecretString>, CliError> {
    let chosen = foremost(given, file, what)?;
    match (chosen.text, chosen.path) {
        (Some(text), _) => Ok(Some(text)),
        (None, Some(path)) => {
            let line = Token::line(&path).map_err(|source| CliError::Token { what, source })?;
            Ok(Some(SecretString::from(line.as_str())))
        }
        (None, None) => Ok(None),
    }
}

/// The token that the foremost source names.
pub(super) fn token(
    given: TokenSources,
    file: TokenSources,
    what: &'static str,
    warnings: &mut Vec<String>,
) -> Result<Option<Token>, CliError> {
    let chosen = foremost(given, file, what)?;
    let refused = |source| CliError::Token { what, source };
    let token = match (chosen.text, chosen.path) {
        (Some(text), _) => {
            if chosen.text_from == Source::Flag {
                warnings.push(format!(
                    "the {what} is on the command line, where every user of this machine can read \
                     it; prefer a file or the environment"
                ));
            }
            Token::new(text.expose_secret()).map_err(refused)?
        }
        (None, Some(path)) => {
            if others_can_read(&path) {
                warnings.push(readable_by_others(&format!("file of the {what}"), &path));
            }
            Token::read(&path).map_err(refused)?
        }
        (None, None) => return Ok(None),
    };
    if token.is_short() {
        warnings.push(format!(
            "the {what} is short and could be guessed; use {} characters or more, such as `openssl \
             rand -hex 16` prints",
            Token::ADVISED_LENGTH
        ));
    }
    Ok(Some(token))
}

pub(in crate::cli) fn readable_by_others(what: &str, path: &Path) -> String {
    let path = path.display();
    format!(
        "the {what} {path} can be read by other users of this machine; `chmod 600 {path}` keeps it \
         to you"
    )
}

pub(in crate::cli) fn others_can_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| rekindle_secrets::is_exposed(path, &meta))
}
