//! Recipes of the book, run as they stand: only what must be another here than at the reader's is
//! put in the place of what stands there (folders, ports, addresses, tokens).

#![allow(dead_code)] // Not every test program needs all of it.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;

use super::chapters::{block, root};
use super::running::{self, Server, output, said};

/// A command of the book, and what it prints there.
#[derive(Debug)]
pub struct Step {
    pub command: String,
    pub prints: Vec<String>,
}

/// A console block, and a folder in which it runs.
pub struct Recipe {
    folder: Rc<tempfile::TempDir>,
    steps: VecDeque<Step>,
}

impl Recipe {
    /// The block of a document that begins so. `/etc/rekindle` and `/var/lib/rekindle` are in the
    /// folder; of the others each must stand in the block.
    pub fn new(document: &str, start: &str, others: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).expect("made");
        fs::set_permissions(&etc, fs::Permissions::from_mode(0o700)).expect("set");
        Self::read(Rc::new(folder), document, start, others)
    }

    /// Another one in the same folder.
    pub fn also(&self, document: &str, start: &str, others: &[(&str, &str)]) -> Self {
        Self::read(self.folder.clone(), document, start, others)
    }

    fn read(
        folder: Rc<tempfile::TempDir>,
        document: &str,
        start: &str,
        others: &[(&str, &str)],
    ) -> Self {
        let block = block(document, start);
        assert_eq!(block.language, "console", "{document}");
        let mut text = block.text;
        for (from, to) in others {
            assert!(text.contains(from), "{from:?} is not in {text}");
            text = text.replace(from, to);
        }
        for (from, to) in [("/etc/rekindle", "etc"), ("/var/lib/rekindle", "state")] {
            text = text.replace(from, &folder.path().join(to).display().to_string());
        }
        Self {
            folder,
            steps: steps(&text),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A folder of `/etc/rekindle`, that its owner alone can enter.
    pub fn mkdir(&self, name: &str) {
        let path = self.folder().join("etc").join(name);
        fs::create_dir_all(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("set");
    }

    /// A file of `/etc/rekindle`, that its owner alone can read.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder().join("etc").join(name);
        if let Some((folder, _)) = name.split_once('/') {
            self.mkdir(folder);
        }
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        path
    }

    /// What stands in the commands that are left, and is known only now.
    #[track_caller]
    pub fn replace(&mut self, from: &str, to: &str) {
        let mut seen = false;
        for Step { command, .. } in &mut self.steps {
            seen |= command.contains(from);
            *command = command.replace(from, to);
        }
        assert!(seen, "{from:?} is not in {:?}", self.steps);
    }

    /// The next command, which must begin so.
    #[track_caller]
    pub fn next(&mut self, start: &str) -> Step {
        let step = self.steps.pop_front().expect("another command");
        assert!(step.command.starts_with(start), "{step:?}");
        step
    }

    /// Runs the next command to its end, which must be a good one. Returns what it printed.
    #[track_caller]
    pub fn run(&mut self, start: &str) -> String {
        let step = self.next(start);
        self.output(&step)
    }

    /// Runs a command to its end, which must be a good one. Returns what it printed.
    #[track_caller]
    pub fn output(&self, step: &Step) -> String {
        let done = shell(self.folder(), &step.command);
        assert!(done.status.success(), "{step:?}: {}", said(&done));
        String::from_utf8(done.stdout).expect("text")
    }

    /// The next command shows a file: what it prints.
    #[track_caller]
    pub fn printed(&mut self, start: &str) -> String {
        self.next(start).prints.join("\n") + "\n"
    }

    /// The next command starts a server, and is the last one, or goes on beside the others.
    #[track_caller]
    pub fn serve(&mut self, start: &str) -> Server {
        self.serve_with(start, &[])
    }

    /// The same, with what the recipe leaves to its reader (`...`).
    #[track_caller]
    pub fn serve_with(&mut self, start: &str, more: &[&str]) -> Server {
        let step = self.next(start);
        let command = step.command.trim_end_matches(" &").trim_end_matches(" ...");
        // A shell that has one command only becomes that command.
        let script = format!("{command} \"$@\"");
        let mut shell = in_shell(self.folder());
        shell.args(["-c", &script, "bash"]).args(more);
        Server::try_start_as(&mut shell).unwrap_or_else(|said| panic!("{command}: {said}"))
    }

    /// Nothing of the recipe is left.
    #[track_caller]
    pub fn ends(&self) {
        assert!(self.steps.is_empty(), "{:?}", self.steps);
    }
}

/// What stands behind a prompt is a command; what follows it with an indentation belongs to it, and
/// what follows without one is what it prints.
fn steps(text: &str) -> VecDeque<Step> {
    let mut found: VecDeque<Step> = VecDeque::new();
    for line in text.lines() {
        let prompt = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
        match (prompt, found.back_mut()) {
            (Some(command), _) => found.push_back(Step {
                command: without_comment(command).to_owned(),
                prints: Vec::new(),
            }),
            (None, Some(step)) if line.starts_with(' ') => {
                step.command.push('\n');
                step.command.push_str(without_comment(line));
            }
            (None, Some(step)) => step.prints.push(line.to_owned()),
            (None, None) => panic!("output without a command: {line:?}"),
        }
    }
    found
}

/// Without what the book says of it at its end.
fn without_comment(line: &str) -> &str {
    line.split("  # ").next().unwrap_or_default().trim_end()
}

/// A shell in this folder, which finds the program as one finds what is installed.
fn in_shell(folder: &Path) -> Command {
    let mut command = running::rekindle(folder);
    let program = Path::new(command.get_program());
    let mut path = program.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let cleared: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = Command::new("bash");
    command.current_dir(folder).env("PATH", path);
    for (name, value) in cleared {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // Where a recipe names no ports: others have those that are the program's own.
    command.envs([
        ("REKINDLE_HTTP", "127.0.0.1:0"),
        ("REKINDLE_UDP", "127.0.0.1:0"),
    ]);
    command
}

/// Runs a script in this folder to its end.
pub fn shell(folder: &Path, script: &str) -> Output {
    output(in_shell(folder).args(["-euo", "pipefail", "-c", script]))
}

/// Whether a program is there; says so if not. CI has all of them (test.sh).
pub fn have(program: &str) -> bool {
    let found = shell(root(), &format!("command -v {program}"))
        .status
        .success();
    assert!(
        found || std::env::var_os("CI").is_none_or(|value| value != "true"),
        "CI needs {program}"
    );
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}
