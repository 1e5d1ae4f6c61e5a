//! The documents are a book (docs/SUMMARY.md): its links lead somewhere, it has all of them, and the
//! messages and files that they name exist.

mod chapters;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use chapters::{documents, files, read, root};

/// The lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// A line without what stands between backticks.
fn plain(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Where the links of a document lead.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| {
            let line = plain(line);
            let ends = line.split("](").skip(1);
            ends.filter_map(|rest| rest.split_once(')').map(|(to, _)| to.to_owned()))
                .collect::<Vec<_>>()
        })
        .filter(|to| !to.contains("://") && !to.starts_with("mailto:"))
        .collect()
}

/// The anchors of a document's headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// A path as seen from a document, as seen from the root.
fn resolved(document: &Path, link: &str) -> PathBuf {
    let mut path = document.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{link} leads out of the repository"),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => document.clone(),
                path => resolved(&document, path),
            };
            let there = root().join(&target).exists();
            let heading = anchor.is_empty()
                || target.extension().is_none_or(|ending| ending != "md")
                || (there && anchors(&read(&target)).contains(anchor));
            if !there || !heading {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 200, "only {seen} links were found");
}

#[test]
fn the_book_has_every_document_once() {
    let summary = Path::new("docs/SUMMARY.md");
    let named: Vec<_> = links(&read(summary))
        .iter()
        .map(|link| resolved(summary, link))
        .collect();
    let mut expected = documents();
    expected.remove(summary);
    let once: BTreeSet<_> = named.iter().cloned().collect();
    assert_eq!(once, expected);
    assert_eq!(once.len(), named.len(), "a chapter is named twice");
}

/// All source with text in it, as the program says it: a string that goes on in the next line is
/// one.
fn said() -> String {
    let mut all = String::new();
    for (folder, ending) in [("src", ".rs"), ("crates", ".rs"), ("static", ".js")] {
        for path in files(folder, ending) {
            let text = read(&path);
            let mut pieces = text.split("\\\n");
            all += pieces.next().unwrap_or_default();
            for piece in pieces {
                all += piece.trim_start();
            }
        }
    }
    all
}

#[test]
fn every_message_that_troubleshooting_quotes_is_one_of_the_program() {
    let said = said();
    let text = read(Path::new("docs/troubleshooting.md"));
    let messages: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .collect();
    for message in &messages {
        // An ellipsis stands for what differs.
        for piece in message.split('…').map(str::trim).filter(|p| p.len() > 2) {
            assert!(
                said.contains(piece),
                "nobody says {piece:?}, of {message:?}"
            );
        }
        assert!(message.len() > 15, "{message:?} is no message");
    }
    assert!(messages.len() > 60, "only {} messages", messages.len());
}

#[test]
fn files_that_documents_name_exist() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = read(&document);
        let names = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2));
        for name in names {
            let ours = [
                "benches/",
                "crates/",
                "docs/",
                "fuzz/",
                "packaging/",
                "src/",
                "static/",
                "tests/",
            ]
            .iter()
            .any(|start| name.starts_with(start));
            let path = name.split(": ").next().unwrap_or_default();
            // Commands, patterns and what is built there are no files of ours.
            if ours
                && !path.contains([' ', '*', '<'])
                && !path.contains("node_modules")
                && !root().join(path).exists()
            {
                wrong.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
