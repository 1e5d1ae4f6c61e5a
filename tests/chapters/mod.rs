//! The documents of the book (docs/SUMMARY.md), and what stands between their fences.
#![allow(dead_code)] // Not every test file needs all of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder of the repository with this ending, as seen from its root. What tools have
/// put there is left out.
pub fn files(folder: &str, ending: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !["target", "node_modules", "dist"].contains(&&*name) {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.insert(path.strip_prefix(root()).expect("below").to_owned());
            }
        }
    }
    found
}

/// The book's documents: what stands at the root, and what is about running, packing and trusting
/// the program.
pub fn documents() -> BTreeSet<PathBuf> {
    let mut all: BTreeSet<_> = ["docs", "packaging", "threat-model"]
        .iter()
        .flat_map(|folder| files(folder, ".md"))
        .collect();
    for entry in fs::read_dir(root()).expect("the repository") {
        let path = PathBuf::from(entry.expect("an entry").file_name());
        if path.extension().is_some_and(|ending| ending == "md") {
            all.insert(path);
        }
    }
    all
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).expect("a document")
}

/// What stands between two fences.
#[derive(Debug)]
pub struct Block {
    /// The number of the first fence's line.
    pub line: usize,
    /// What the first fence says that it is.
    pub language: String,
    /// Its lines, without the indentation that the fence has.
    pub text: String,
}

impl Block {
    /// By which a block is known.
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// All blocks of a document.
pub fn blocks(document: impl AsRef<Path>) -> Vec<Block> {
    let text = read(document);
    let mut lines = text.lines().zip(1..);
    let mut found = Vec::new();
    while let Some((fence, line)) = lines.next() {
        let Some(language) = fence.trim_start().strip_prefix("```") else {
            continue;
        };
        let indentation = fence.len() - fence.trim_start().len();
        let inside = lines.by_ref().map(|(line, _)| line);
        let text = inside
            .take_while(|line| line.trim() != "```")
            .map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default()))
            .collect();
        found.push(Block {
            line,
            language: language.to_owned(),
            text,
        });
    }
    found
}

/// The block of a document whose first line begins so.
#[track_caller]
pub fn block(document: &str, start: &str) -> Block {
    let mut found = blocks(document);
    found.retain(|block| block.text.starts_with(start));
    assert_eq!(found.len(), 1, "blocks of {document} with {start:?}");
    found.remove(0)
}
