//! The threat model names a test for each of its claims. They must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests of the tree: functions under a `test` attribute that are not ignored.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("crates"), &mut files);
    sources(&root().join("tests"), &mut files);
    files
        .iter()
        .flat_map(|path| names_of_tests(&fs::read_to_string(path).expect("readable")))
        .collect()
}

fn names_of_tests(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut pending = false;
    for line in source.lines().map(str::trim_start) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            pending = true;
        } else if line.starts_with("#[ignore") {
            pending = false;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| pending) {
            pending = false;
            names.extend(rest.split(['(', '<']).next().map(str::to_owned));
        }
    }
    names
}

/// What stands between single backticks, outside of blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Names of tests are sentences.
fn looks_like_a_test(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(word) && name.matches('_').count() >= 3
}

/// What is wrong with a page.
fn faults(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut column = None;
    let mut code = false;
    for line in page.lines() {
        code ^= line.starts_with("```");
        if code {
            continue;
        }
        for name in quoted(line)
            .into_iter()
            .filter(|name| looks_like_a_test(name) && !tests.contains(*name))
        {
            faults.push(format!("there is no test {name}"));
        }
        if !line.starts_with('|') {
            column = None;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if column.is_none() {
            column = cells
                .iter()
                .position(|cell| cell.eq_ignore_ascii_case("shown by"))
                .or(Some(usize::MAX));
            continue;
        }
        let Some(shown_by) = column.and_then(|at| cells.get(at)) else {
            continue;
        };
        if shown_by.chars().all(|c| c == '-' || c == ' ') {
            continue;
        }
        let evidence = quoted(shown_by);
        let exists =
            |name: &&str| tests.contains(*name) || name.contains('/') && root().join(name).exists();
        if evidence.is_empty() || !evidence.iter().all(exists) {
            faults.push(format!("nothing that exists shows this: {line}"));
        }
    }
    faults
}

#[test]
fn every_claim_names_a_test_that_exists() {
    let tests = tests();
    assert!(tests.len() > 300, "{}", tests.len());
    let mut pages = vec![root().join("SECURITY.md")];
    for entry in fs::read_dir(root().join("threat-model")).expect("a folder") {
        let path = entry.expect("an entry").path();
        pages.extend(
            Some(path).filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    assert!(pages.len() >= 4, "{pages:?}");
    for page in pages {
        let faults = faults(&fs::read_to_string(&page).expect("readable"), &tests);
        assert!(faults.is_empty(), "{}: {faults:#?}", page.display());
    }
}

#[test]
fn every_crate_that_the_program_is_built_on_is_accounted_for() {
    let page = fs::read_to_string(root().join("threat-model/dependencies.md")).expect("readable");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let first_cells = rows
        .iter()
        .filter_map(|row| row.trim_matches('|').split('|').next());
    let named: BTreeSet<&str> = first_cells.flat_map(quoted).collect();
    let mut manifests = vec![root().join("Cargo.toml")];
    for entry in fs::read_dir(root().join("crates")).expect("a folder") {
        manifests.push(entry.expect("an entry").path().join("Cargo.toml"));
    }
    let mut crates = BTreeSet::new();
    for manifest in manifests {
        let manifest = fs::read_to_string(manifest).expect("readable");
        let section = manifest
            .split("\n[dependencies]\n")
            .nth(1)
            .expect("a section");
        let section = section.split("\n[").next().expect("a section");
        let names = section
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("optional = true"))
            .filter_map(|line| {
                line.split_once(" = ")
                    .map(|(name, _)| name.trim().to_owned())
            });
        // The crates of this workspace are no dependencies.
        crates.extend(names.filter(|name| !name.starts_with("rekindle-")));
    }
    assert!(crates.len() > 25, "{crates:?}");
    let missing: Vec<_> = crates
        .iter()
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "not in threat-model/dependencies.md: {missing:?}"
    );
}

/// The words after `--test`, and all that looks like a file of this tree.
#[test]
fn what_the_commands_of_the_security_page_name_is_there() {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("readable");
    let commands: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    let words: Vec<&str> = commands.iter().flat_map(|line| line.split(' ')).collect();
    let mut named = 0;
    for pair in words.windows(2).filter(|pair| pair[0] == "--test") {
        let (file, folder) = (
            format!("tests/{}.rs", pair[1]),
            format!("tests/{}/main.rs", pair[1]),
        );
        assert!(
            root().join(&file).exists() || root().join(&folder).exists(),
            "{file}"
        );
        // Without their hooks these two are empty, and would pass.
        let hooks = commands
            .iter()
            .position(|line| line.contains("RUSTC_WORKSPACE_WRAPPER=$PWD/tests/with_hooks.sh"));
        let run = commands
            .iter()
            .position(|line| line.contains(&format!("--test {} ", pair[1])));
        let needs_hooks = ["canary", "full_state_kills"].contains(&pair[1]);
        assert!(
            !needs_hooks || hooks.is_some() && hooks < run,
            "{} is run without hooks",
            pair[1]
        );
        named += 1;
    }
    let inside = |word: &str| word.rsplit_once("$PWD/").map(|(_, path)| path.to_owned());
    let paths = words
        .iter()
        .map(|word| inside(word).unwrap_or_else(|| word.trim_start_matches('@').to_owned()));
    for path in paths.filter(|path| {
        ["src/", "tests/", "threat-model/"]
            .iter()
            .any(|start| path.starts_with(start))
    }) {
        assert!(root().join(&path).exists(), "{path}");
        named += 1;
    }
    assert!(named >= 8, "{named}");
}

#[test]
fn a_claim_without_a_test_is_noticed() {
    let tests = BTreeSet::from(["a_test_that_is_there".to_owned()]);
    let good = "| claim | shown by |\n|---|---|\n\
                | x | `a_test_that_is_there`, `tests/threat_model.rs` |\n";
    assert_eq!(faults(good, &tests), [""; 0]);
    for bad in [
        good.replace("a_test_that_is_there", "a_test_that_is_not_there"),
        good.replace("threat_model.rs", "none.rs"),
        good.replace(
            "`a_test_that_is_there`, `tests/threat_model.rs`",
            "it is so",
        ),
        "As `a_test_of_another_name` shows.".to_owned(),
    ] {
        assert!(!faults(&bad, &tests).is_empty(), "{bad}");
    }
    let source = "#[test]\nfn one() {}\n#[test]\n#[ignore]\nfn two() {}\n#[tokio::test]\n\
                  async fn three() {}\nfn four() {}\n";
    assert_eq!(names_of_tests(source), ["one", "three"]);
}
