//! `rekindle audit` as a reviewer runs it, on the vault of a real server: exit codes, what is shown
//! and what is hidden, colour.

mod running;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use running::{PUBLISH, Server, WATCH, output, rekindle, said};
use serde_json::Value;

const KEY: &str = "rekindle-key.txt";
const STATE: &str = "rekindle-state";

/// A folder with the vault of a server that was killed, and its key file.
struct Scene {
    folder: tempfile::TempDir,
    /// Files of the publisher and of the viewer.
    peers: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let server = Server::start(folder.path(), &[]);
        let peers = [("/whip/news", PUBLISH), ("/whep/news", WATCH)].map(|(path, sdp)| {
            let session = server.join(path, sdp);
            let ufrag = session
                .trim_start_matches("/session/")
                .split('-')
                .next()
                .expect("a fragment");
            format!("{STATE}/peers/{ufrag}.age")
        });
        server.kill();
        Self { folder, peers }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn audit(&self, arguments: &[&str]) -> Output {
        output(rekindle(self.folder.path()).arg("audit").args(arguments))
    }

    /// Of the vault, with its key file: the exit code, and the report, which must be as its schema
    /// says.
    fn report(&self) -> (Option<i32>, Value) {
        let audited = self.audit(&[STATE, "--key-file", KEY, "--json"]);
        let report = serde_json::from_slice(&audited.stdout).expect("JSON");
        rekindle_testing::schema::must_fit(&report);
        (audited.status.code(), report)
    }

    /// The plaintext of a file, as the stock program gives it, into an audit of `-`.
    fn audit_plaintext(&self, file: &str, arguments: &[&str]) -> Option<Output> {
        let decrypted = Command::new("age")
            .args(["-d", "-i", KEY, file])
            .current_dir(self.folder.path())
            .output();
        let Ok(decrypted) = decrypted else {
            assert!(
                std::env::var_os("CI").is_none_or(|v| v != "true"),
                "CI needs the Debian package age"
            );
            println!("skipped: the program age is not installed (Debian package: age)");
            return None;
        };
        assert!(decrypted.status.success(), "{}", said(&decrypted));
        let mut command = rekindle(self.folder.path());
        command.args(["audit", "-"]).args(arguments);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the program runs");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(&decrypted.stdout)
            .expect("written");
        Some(child.wait_with_output().expect("ends"))
    }
}

fn shown(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn codes(report: &Value, list: &str) -> Vec<String> {
    let list = report[list].as_array().expect("a list").iter();
    let mut codes: Vec<_> = list
        .map(|one| one["code"].as_str().expect("text").to_owned())
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

fn private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

#[test]
fn a_clean_vault_ends_with_exit_code_0_in_every_form() {
    let scene = Scene::new();
    for arguments in [
        &[STATE, "--key-file", KEY][..],
        &[STATE],
        &[STATE, "--key-file", KEY, "--detail"],
        &[STATE, "--key-file", KEY, "--json"],
        &["rekindle-state/identity.age", "--key-file", KEY],
        &[&scene.peers[0], "--key-file", KEY, "--json", "--reveal"],
        &[&scene.peers[1]],
    ] {
        let audited = scene.audit(arguments);
        assert_eq!(
            audited.status.code(),
            Some(0),
            "{arguments:?}: {}",
            shown(&audited)
        );
        assert!(said(&audited).is_empty(), "{}", said(&audited));
    }
    for (file, arguments) in [
        ("rekindle-state/identity.age", &[][..]),
        (&*scene.peers[0], &["--key-file", KEY, "--json"]),
    ] {
        let Some(audited) = scene.audit_plaintext(file, arguments) else {
            return;
        };
        assert_eq!(audited.status.code(), Some(0), "{}", shown(&audited));
    }
    let (code, report) = scene.report();
    assert_eq!((code, &report["verdict"]), (Some(0), &"clean".into()));
    assert_eq!(report["vault"]["lock"], "free");
    assert_eq!(
        (report["findings"].clone(), report["notes"].clone()),
        (Value::Array(vec![]), Value::Array(vec![]))
    );
}

#[test]
fn whatever_is_wrong_with_a_vault_ends_with_exit_code_1_and_is_called_by_its_name() {
    let spoil = |code: &str, spoil: &dyn Fn(&Scene)| {
        let scene = Scene::new();
        spoil(&scene);
        let (exit, report) = scene.report();
        assert_eq!(
            (exit, &report["verdict"]),
            (Some(1), &"findings".into()),
            "{code}"
        );
        let found = codes(&report, "findings");
        assert!(found.contains(&code.to_owned()), "{code}: {found:?}");
        let text = scene.audit(&[STATE, "--key-file", KEY]);
        assert_eq!(text.status.code(), Some(1));
        assert!(
            shown(&text).contains(&format!("[{code}]")),
            "{}",
            shown(&text)
        );
        assert!(shown(&text).contains("FINDINGS: "), "{}", shown(&text));
    };
    let swap = |scene: &Scene| {
        let [one, other] = [0, 1].map(|n| fs::read(scene.path(&scene.peers[n])).expect("readable"));
        fs::write(scene.path(&scene.peers[0]), other).expect("swapped");
        fs::write(scene.path(&scene.peers[1]), one).expect("swapped");
    };
    spoil("name", &swap);
    spoil("mac", &swap);
    spoil("stray", &|scene| {
        fs::write(scene.path("rekindle-state/peers/notes.txt"), b"").expect("written");
    });
    spoil("temporary", &|scene| {
        fs::write(scene.path("rekindle-state/.tmp-1-1"), b"").expect("written");
        private(&scene.path("rekindle-state/.tmp-1-1"));
    });
    spoil("not-regular", &|scene| {
        fs::rename(scene.path(&scene.peers[0]), scene.path("moved")).expect("moved");
        symlink(scene.path("moved"), scene.path(&scene.peers[0])).expect("linked");
    });
    spoil("hard-link", &|scene| {
        fs::hard_link(scene.path(&scene.peers[0]), scene.path("link")).expect("linked");
    });
    spoil("cannot-open", &|scene| {
        let file = fs::read(scene.path(&scene.peers[0])).expect("readable");
        fs::write(scene.path(&scene.peers[0]), &file[..file.len() - 1]).expect("torn");
    });
    spoil("readable-by-others", &|scene| {
        fs::set_permissions(
            scene.path(&scene.peers[0]),
            fs::Permissions::from_mode(0o644),
        )
        .expect("a mode");
    });
    // identity.age of an earlier boot, and a record of a later one.
    spoil("rolled-back", &|scene| {
        let identity = scene.path("rekindle-state/identity.age");
        let earlier = fs::read(&identity).expect("readable");
        let server = Server::start(scene.folder.path(), &[]);
        // A publisher: who wants to watch has to wait until the channel's has been read.
        server.join("/whip/other", PUBLISH);
        server.kill();
        fs::write(&identity, earlier).expect("put back");
    });
}

#[test]
fn where_nothing_can_be_looked_at_the_exit_code_is_2_with_one_line_and_no_report() {
    let scene = Scene::new();
    let other = output(rekindle(scene.folder.path()).args(["keygen", "-o", "other"]));
    assert!(other.status.success());
    fs::copy(scene.path(KEY), scene.path("open")).expect("copied");
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(scene.path("strange"), "no key\n").expect("written");
    fs::create_dir(scene.path("empty")).expect("made");
    private(&scene.path("strange"));
    for (arguments, part) in [
        (&[STATE, "--key-file", "other"][..], "does not open"),
        (&[&*scene.peers[0], "--key-file", "other"], "does not open"),
        (&[STATE, "--key-file", "none"], "there is no key file"),
        (&[STATE, "--key-file", "open"], "chmod 600"),
        (&[STATE, "--key-file", "strange"], "line 1"),
        (&["nowhere", "--key-file", KEY], "cannot read nowhere"),
        (&["empty", "--key-file", KEY], "there is no vault in empty"),
        (&["."], "there is no vault in ."),
        (&["rekindle-state/peers/none.age"], "cannot read"),
    ] {
        for json in [&[][..], &["--json"]] {
            let audited = scene.audit(&[arguments, json].concat());
            assert_eq!(audited.status.code(), Some(2), "{arguments:?}");
            assert_eq!(shown(&audited), "", "no report");
            let said = said(&audited);
            assert!(
                said.starts_with("rekindle: ") && said.lines().count() == 1,
                "{said:?}"
            );
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
    assert_eq!(scene.audit(&[]).status.code(), Some(2), "no target");
    assert_eq!(scene.audit(&[STATE, "--strange"]).status.code(), Some(2));
}

#[test]
fn a_file_under_an_old_key_is_told_and_after_a_rekey_the_old_key_opens_nothing() {
    let scene = Scene::new();
    let run = |arguments: &[&str]| output(rekindle(scene.folder.path()).args(arguments));
    assert!(run(&["keygen", "-o", "new"]).status.success());
    // Both in one key file, the new one in front.
    let [new, old] =
        ["new", KEY].map(|name| fs::read_to_string(scene.path(name)).expect("readable"));
    fs::write(scene.path("both"), format!("{new}{old}")).expect("written");
    private(&scene.path("both"));
    let audit = |key: &str| {
        let audited = scene.audit(&[STATE, "--json", "--key-file", key]);
        let report: Value = serde_json::from_slice(&audited.stdout).unwrap_or_default();
        let files = report["vault"]["recipients"]
            .as_array()
            .into_iter()
            .flatten();
        let files: Vec<u64> = files
            .map(|one| one["files"].as_u64().expect("a number"))
            .collect();
        let notes = if report.is_null() {
            vec![]
        } else {
            codes(&report, "notes")
        };
        (audited.status.code(), files, notes)
    };
    assert_eq!(
        audit("both"),
        (Some(0), vec![0, 3], vec!["old-key".to_owned()])
    );
    let rekeyed = run(&["rekey", STATE, "--key-file", KEY, "--new-key-file", "new"]);
    assert_eq!(rekeyed.status.code(), Some(0), "{}", said(&rekeyed));
    assert_eq!(audit("both"), (Some(0), vec![3, 0], vec![]));
    assert_eq!(audit("new"), (Some(0), vec![3], vec![]));
    assert_eq!(audit(KEY).0, Some(2));
}

#[test]
fn a_running_server_is_told_by_its_lock_and_what_it_is_writing_is_no_finding() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let audit = || {
        let audited =
            output(rekindle(folder.path()).args(["audit", STATE, "--key-file", KEY, "--json"]));
        let report: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
        assert_eq!(report["vault"]["lock"], "held");
        (audited.status.code(), codes(&report, "findings"))
    };
    // While it writes: whatever an audit meets, it is clean.
    let written = AtomicBool::new(false);
    thread::scope(|scope| {
        let audits = scope.spawn(|| {
            while !written.load(Ordering::Relaxed) {
                assert_eq!(audit(), (Some(0), vec![]));
            }
        });
        for channel in 0..20 {
            server.join(&format!("/whip/channel{channel}"), PUBLISH);
        }
        written.store(true, Ordering::Relaxed);
        audits.join().expect("all were clean");
    });
    let temporary = folder.path().join("rekindle-state/.tmp-1-1");
    fs::write(&temporary, b"").expect("written");
    private(&temporary);
    assert_eq!(
        audit(),
        (Some(1), vec!["temporary".to_owned()]),
        "nobody is writing it"
    );
    server.kill();
}

/// Only root can give files to others.
#[test]
fn files_of_another_user_are_found_and_the_file_systems_own_folder_is_none_of_them() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: to give files to another user takes root");
        return;
    }
    let scene = Scene::new();
    let state = scene.path(STATE);
    let give = |path: &Path, user: u32| chown(path, Some(user), None).expect("given");
    give(&scene.path(&scene.peers[0]), 1);
    let (exit, report) = scene.report();
    assert_eq!(
        (exit, codes(&report, "findings")),
        (Some(1), vec!["owner".to_owned()])
    );

    // All of it is another user's now, who looks; lost+found is root's, as mkfs makes it.
    const NOBODY: u32 = 65_534;
    fs::create_dir(state.join("lost+found")).expect("made");
    fs::set_permissions(state.join("lost+found"), fs::Permissions::from_mode(0o700))
        .expect("a mode");
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    for path in [
        KEY,
        STATE,
        "rekindle-state/identity.age",
        "rekindle-state/lock",
        "rekindle-state/peers",
        "rekindle-state/set-aside",
        &scene.peers[0],
        &scene.peers[1],
    ] {
        if scene.path(path).exists() {
            give(&scene.path(path), NOBODY);
        }
    }
    let audit = || {
        // Where it can run it: the build may lie where only root can go.
        let program = scene.path("rekindle");
        fs::copy(env!("CARGO_BIN_EXE_rekindle"), &program).expect("copied");
        let mut command = Command::new(program);
        command
            .current_dir(scene.folder.path())
            .uid(NOBODY)
            .gid(NOBODY);
        let audited = output(command.args(["audit", STATE, "--key-file", KEY, "--json"]));
        let report: Value = serde_json::from_slice(&audited.stdout).unwrap_or_default();
        (audited, report)
    };
    let (audited, report) = audit();
    assert_eq!(
        audited.status.code(),
        Some(0),
        "{} {report:#}",
        said(&audited)
    );
    assert_eq!(codes(&report, "notes"), ["lost-and-found"]);
    // A folder that only looks like it, and hides what is in it from its own owner, is not passed
    // over.
    give(&state.join("lost+found"), NOBODY);
    fs::set_permissions(state.join("lost+found"), fs::Permissions::from_mode(0o000))
        .expect("a mode");
    let (audited, _) = audit();
    assert_eq!(audited.status.code(), Some(2));
    assert!(said(&audited).contains("lost+found"), "{}", said(&audited));
}

#[test]
fn values_of_a_real_vault_are_hidden_until_they_are_asked_for() {
    let scene = Scene::new();
    let secrets: Vec<&str> = [PUBLISH, WATCH]
        .iter()
        .flat_map(|sdp| sdp.lines())
        .filter_map(|line| {
            line.strip_prefix("a=ice-pwd:")
                .or_else(|| line.strip_prefix("a=fingerprint:sha-256 "))
        })
        .collect();
    assert!(secrets.len() >= 4);
    for form in [&[][..], &["--detail"], &["--json"]] {
        let whole = [&[STATE, "--key-file", KEY][..], form].concat();
        let hidden = shown(&scene.audit(&whole));
        for secret in &secrets {
            assert!(!hidden.contains(secret), "{form:?}");
        }
        if !form.is_empty() {
            let revealed = shown(&scene.audit(&[&whole[..], &["--reveal"]].concat()));
            for secret in &secrets {
                assert!(revealed.contains(secret), "{form:?}");
            }
        }
    }
}

#[test]
fn colours_are_for_terminals_only() {
    let scene = Scene::new();
    let plain = scene.audit(&[STATE, "--key-file", KEY]);
    assert!(
        !plain.stdout.contains(&0x1b),
        "a pipe gets no escape sequences"
    );
    let on_a_terminal = |environment: &str, more: &str| {
        let program = env!("CARGO_BIN_EXE_rekindle");
        let line = format!("{environment} '{program}' audit {STATE} --key-file {KEY} {more}");
        let script = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(scene.folder.path())
            .output();
        match script {
            Ok(output) => {
                assert!(output.status.success(), "{}", said(&output));
                Some(shown(&output))
            }
            Err(error) => {
                assert!(
                    std::env::var_os("CI").is_none_or(|v| v != "true"),
                    "CI needs the program script: {error}"
                );
                println!("skipped: the program script is not installed (Debian package: bsdutils)");
                None
            }
        }
    };
    let Some(coloured) = on_a_terminal("", "") else {
        return;
    };
    assert!(coloured.contains("\x1b[1;32mCLEAN"), "{coloured:?}");
    let text = |with_colours: &str| {
        let mut parts = with_colours.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
        rest.fold(first, |all, part| all + part)
            .replace("\r\n", "\n")
    };
    assert_eq!(text(&coloured), shown(&plain), "colours change no word");
    for (environment, more) in [("NO_COLOR=1", ""), ("", "--json")] {
        let without = on_a_terminal(environment, more).expect("as before");
        assert!(!without.contains('\x1b'), "{environment} {more}");
    }
}
