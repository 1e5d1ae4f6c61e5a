//! The commands and options of the program, by its own help.

use std::collections::BTreeSet;

use super::running::{output, rekindle, said};

/// What the program prints.
pub fn printed(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("temporary folder");
    let output = output(rekindle(folder.path()).args(arguments));
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The commands as `rekindle --help` lists them; "" is the program without any.
pub fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split("Commands:").nth(1).expect("a list of commands");
    let list = list.split("Options:").next().expect("options behind it");
    // Names are indented by two, what continues a line by more.
    let names = list
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    let commands: Vec<_> = std::iter::once("")
        .chain(names)
        .map(str::to_owned)
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    commands
}

/// The long options that a command's help lists.
pub fn options(command: &str) -> BTreeSet<String> {
    let arguments: Vec<_> = [command, "--help"]
        .into_iter()
        .filter(|argument| !argument.is_empty())
        .collect();
    let options: BTreeSet<_> = printed(&arguments)
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| {
            let option = &line[line.find("--")?..];
            let end = option.find(|c: char| c != '-' && !c.is_ascii_alphanumeric());
            Some(option[..end.unwrap_or(option.len())].to_owned())
        })
        .collect();
    assert!(options.contains("--help"), "{command:?}: {options:?}");
    options
}
