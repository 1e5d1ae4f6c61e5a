//! docs/ARCHITECTURE.md names files and functions; they exist.

use std::fs;
use std::path::Path;

#[test]
fn every_file_and_function_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).expect("the document");
    let mut wrong = Vec::new();
    let mut functions = 0;
    // What stands between backticks, every second piece.
    for name in text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/'))
    {
        let (path, function) = name
            .split_once(": ")
            .map_or((name, None), |(path, function)| (path, Some(function)));
        if !path.starts_with(|c: char| c.is_ascii_lowercase()) || path.contains([' ', '*', '\n']) {
            continue;
        }
        let Some(function) = function else {
            if !root.join(path).exists() {
                wrong.push(format!("there is no {path}"));
            }
            continue;
        };
        functions += 1;
        let source = fs::read_to_string(root.join(path)).unwrap_or_default();
        // In Rust, and in JavaScript.
        let forms = [
            format!("fn {function}("),
            format!("fn {function}<"),
            format!("function {function}("),
        ];
        if !forms.iter().any(|form| source.contains(form)) {
            wrong.push(format!("there is no {function} in {path}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        functions > 20,
        "only {functions} functions were found: has the way of writing them changed?"
    );
}
