//! Manual pages and completions name what the program takes, and the programs that read them take
//! them.

mod help;
mod running;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use help::{commands, options, printed};
use running::{output, rekindle, said};

/// Whether a program is there; says so if not. CI has all of them (test.sh).
fn have(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok();
    assert!(
        found || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI needs the Debian package {program}"
    );
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

fn pages(folder: &Path) {
    let output = output(rekindle(folder).args(["man", "pages/man1"]));
    assert!(output.status.success(), "{}", said(&output));
}

fn page(folder: &Path, command: &str) -> String {
    let dash = if command.is_empty() { "" } else { "-" };
    let path = folder.join(format!("pages/man1/rekindle{dash}{command}.1"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_command_has_a_manual_page_with_all_of_its_options() {
    let folder = tempfile::tempdir().expect("temporary folder");
    pages(folder.path());
    for command in commands() {
        // roff writes a dash that is one as \-.
        let page = page(folder.path(), &command).replace("\\-", "-");
        for option in options(&command) {
            assert!(page.contains(&option), "{option} is not in {command:?}");
        }
    }
}

#[test]
fn a_manual_page_says_which_variables_stand_for_the_options_and_has_the_date_it_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let made = output(
        rekindle(folder.path())
            .args(["man", "pages/man1"])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .env("REKINDLE_PUBLISH_TOKEN", "secret-of-the-test"),
    );
    assert!(made.status.success(), "{}", said(&made));
    let page = page(folder.path(), "serve");
    assert!(page.contains("2023-11-14"), "{page}");
    assert!(page.contains("REKINDLE_PUBLISH_TOKEN_FILE"), "{page}");
    assert!(!page.contains("secret-of-the-test"));
}

#[test]
fn manual_pages_have_nothing_that_groff_or_mandoc_warns_of() {
    if !have("groff") || !have("mandoc") {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    pages(folder.path());
    for entry in fs::read_dir(folder.path().join("pages/man1")).expect("pages") {
        let path = entry.expect("a page").path();
        for (program, options) in [
            ("groff", &["-man", "-Tutf8", "-ww", "-z"][..]),
            ("mandoc", &["-T", "lint", "-W", "warning"]),
        ] {
            let output = output(Command::new(program).args(options).arg(&path));
            let said = said(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
}

#[test]
fn completions_name_each_command_and_its_options_and_the_shells_take_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
            for option in options(&command) {
                // fish names long options without their dashes.
                let name = match shell {
                    "fish" => format!("-l {}", &option[2..]),
                    _ => option,
                };
                assert!(script.contains(&name), "{shell}: {command} {name}");
            }
        }
        if have(shell) {
            let path = folder.path().join(shell);
            fs::write(&path, script).expect("written");
            let output = output(Command::new(shell).arg("-n").arg(&path));
            assert!(output.status.success(), "{}", said(&output));
            assert_eq!(said(&output), "", "{shell}");
        }
    }
}

#[test]
fn bash_completes_an_option_of_a_command() {
    let script = printed(&["completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(rekindle audit --key) COMP_CWORD=2\n\
         _rekindle rekindle --key audit\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = output(Command::new("bash").args(["--norc", "-c", &asked]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--key-file\n");
}
