//! What the book has cargo and node do is what `test.sh` does, or takes hours: it is not done once
//! more. But what it names is there.

use std::path::Path;

use super::chapters::{documents, files, read, root};

/// Every command with this word in front, of blocks and between backticks, as words.
fn commands(program: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for document in documents() {
        let text = read(&document);
        let start = format!("{program} ");
        for piece in text.split(['`', '\n', ';', '&', '|', '$']) {
            let piece = piece.trim();
            let piece = piece.split("  #").next().unwrap_or_default();
            if piece.starts_with(&start) {
                let words = piece.split(' ').map(str::to_owned).collect();
                found.push((document.display().to_string(), words));
            }
        }
    }
    found
}

/// Names of features and packages that some Cargo.toml has.
fn manifests() -> String {
    let crates = files("crates", "Cargo.toml");
    read("Cargo.toml") + &crates.iter().map(read).collect::<String>()
}

#[test]
fn cargo_is_given_names_that_exist() {
    let manifests = manifests();
    let sources: Vec<_> = [".rs"]
        .iter()
        .flat_map(|end| {
            [
                files("tests", end),
                files("benches", end),
                files("crates", end),
            ]
        })
        .flatten()
        .map(|path| path.display().to_string())
        .collect();
    // A program of its own: a file, or a folder with a main.rs.
    let is_target = |folder: &str, name: &str| {
        let file = format!("{folder}/{name}.rs");
        let main = format!("{folder}/{name}/main.rs");
        sources
            .iter()
            .any(|path| path.ends_with(&file) || path.ends_with(&main))
    };
    let mut seen = 0;
    for (document, words) in commands("cargo") {
        for pair in words.windows(2) {
            let name = pair[1].trim_matches('"');
            let there = match &*pair[0] {
                "--test" => is_target("tests", name),
                "--bench" => is_target("benches", name),
                "-p" => manifests.contains(&format!("\nname = \"{name}\"\n")),
                "--features" => manifests.contains(&format!("\n{name} = [")),
                // A filter.
                "test" if !name.starts_with('-') => {
                    sources.iter().any(|path| path.contains(name))
                        || root().join("src").join(name).exists()
                }
                _ => continue,
            };
            seen += 1;
            assert!(
                there,
                "{document}: {words:?} names {name:?}, which is not there"
            );
        }
    }
    assert!(seen > 15, "only {seen} names");
}

#[test]
fn node_is_given_files_that_exist() {
    let mut seen = 0;
    for (document, words) in commands("node") {
        for file in words.iter().filter(|word| word.ends_with(".js")) {
            seen += 1;
            let document = Path::new(&document).parent().expect("a folder");
            let there = ["", "tests/browser", "tests/clients"]
                .iter()
                .any(|folder| root().join(folder).join(file).exists())
                || root().join(document).join(file).exists();
            assert!(there, "{}: {file}", document.display());
        }
    }
    assert!(seen > 5, "only {seen} files");
}
