//! The words of the program that the book's prose names: each command and option is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::chapters::{documents, files, read};
use super::help::{commands, options};

/// Options of other programs that the book names.
const OTHERS: [(&str, &str); 9] = [
    ("--allow-loopback-peers", "coturn"),
    ("--auto-compaction-retention", "etcd"),
    ("--build-arg", "buildah"),
    ("--cfg", "rustc"),
    ("--client-cert-auth", "etcd"),
    ("--features", "cargo"),
    ("--isolation", "buildah"),
    ("--session-fields", "decode.py"),
    ("--ulimit", "podman"),
];
/// What begins with the program's name, and is none of its commands: names in the vault's
/// cryptography.
const LABELS: [&str; 4] = ["file v1", "node v1", "session id v1", "vault v1"];

/// What stands between backticks, outside of blocks, and is no command of another program.
fn quoted(document: &Path) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in read(document).lines() {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        if !code && !fence {
            let quoted = line.split('`').skip(1).step_by(2);
            let ours =
                quoted.filter(|words| words.starts_with('-') || words.starts_with("rekindle"));
            found.extend(ours.map(str::to_owned));
        }
    }
    found
}

/// The long options among these words.
fn named(words: &str) -> impl Iterator<Item = &str> {
    let option = |c: char| c == '-' || c.is_ascii_alphanumeric();
    words
        .split([' ', '"', '=', '['])
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(move |word| &word[..word.find(|c| !option(c)).unwrap_or(word.len())])
}

#[test]
fn the_prose_names_commands_and_options_that_there_are() {
    let of: BTreeMap<_, _> = commands()
        .into_iter()
        .map(|name| (name.clone(), options(&name)))
        .collect();
    let all: BTreeSet<_> = of.values().flatten().cloned().collect();
    let bench: String = files("crates/bench/src", ".rs").iter().map(read).collect();
    let of_the_benchmark =
        |option: &str| bench.contains(&format!("{}: ", option[2..].replace('-', "_")));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        // It tells of options that were.
        if document == Path::new("CHANGELOG.md") {
            continue;
        }
        for words in quoted(&document) {
            let mut known = &all;
            if let Some(rest) = words.strip_prefix("rekindle ") {
                let command = rest.split(' ').next().unwrap_or_default();
                match of.get(command) {
                    // What follows is for the server.
                    Some(_) if command == "supervise" => {}
                    Some(options) => known = options,
                    None if command.starts_with("--") || LABELS.contains(&rest) => {}
                    None => wrong.push(format!("{}: {words}", document.display())),
                }
            }
            for option in named(&words) {
                seen += 1;
                let is_other = OTHERS.iter().any(|(name, _)| *name == option);
                if !known.contains(option) && !is_other && !of_the_benchmark(option) {
                    wrong.push(format!("{}: {option} in {words}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 150, "only {seen} options");
}
