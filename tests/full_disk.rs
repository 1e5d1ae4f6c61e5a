//! A server whose disk is full: newcomers get a 503, those who are here go on, also across a
//! restart.

mod live;
mod running;
mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use live::{Live, broadcast, offered, path, renew, run_until_connected, run_until_more_video};
use rekindle::ids::Role;
use running::{Server, assert_problem, header, rekindle};

/// A file system of 256 KiB as state folder, in a mount namespace that lasts until this is dropped.
struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None`, said plainly, where neither root nor a user namespace can be had; in CI it must be.
    fn new(folder: &Path) -> Option<Self> {
        std::fs::create_dir(folder.join("rekindle-state")).expect("made");
        let script = "mount -t tmpfs -o size=256k,mode=0700 tmpfs rekindle-state && echo mounted \
                      && exec sleep 600";
        let mut holder = Command::new("unshare")
            .args(Self::user_namespace("--user", "--map-root-user"))
            .args(["--mount", "sh", "-c", script])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("a pipe");
        let _ = BufReader::new(stdout).read_line(&mut line);
        let disk = Self {
            holder,
            folder: folder.to_owned(),
        };
        if line == "mounted\n" {
            return Some(disk);
        }
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "CI needs a small file system"
        );
        println!("skipped: no file system can be mounted here");
        None
    }

    fn user_namespace<'a>(first: &'a str, second: &'a str) -> Vec<&'a str> {
        if rustix::process::geteuid().is_root() {
            vec![]
        } else {
            vec![first, second]
        }
    }

    /// A command that runs where the file system is.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string(), "--mount"])
            .args(Self::user_namespace("--user", "--preserve-credentials"))
            // Entered from inside, where the file system is mounted.
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .args([self.folder.as_os_str(), program.as_ref()]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REKINDLE_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// The server, with room for many joins a second.
    fn rekindle(&self) -> Command {
        let program = rekindle(&self.folder).get_program().to_owned();
        let mut command = self.command(program.to_str().expect("text"));
        command.args(["--join-rate", "0"]);
        command
    }

    fn sh(&self, script: &str) {
        let done = self
            .command("sh")
            .args(["-c", script])
            .stderr(Stdio::null())
            .status();
        done.expect("it runs");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[track_caller]
fn refused(server: &Server) {
    let answer = server.offer(&path(Role::Viewer, "news"), &offered(Role::Viewer, 1).sdp);
    assert_eq!(header(&answer, "retry-after"), "10");
    assert_problem(answer, 503, "disk-full");
}

#[test]
fn on_a_full_disk_newcomers_get_a_503_and_those_who_are_here_go_on_across_a_restart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Some(disk) = SmallDisk::new(folder.path()) else {
        return;
    };
    let server = Server::start_as(&mut disk.rekindle());
    let (mut publisher, mut viewer) = broadcast(&server, "news", 400);

    // Peers join until there is no room for one more.
    let mut sessions = Vec::new();
    loop {
        assert!(sessions.len() < 100, "the disk is never full");
        let answer = server.offer(
            "/whep/news",
            &offered(Role::Viewer, 500 + sessions.len() as u64).sdp,
        );
        if answer.status() != 201 {
            assert_problem(answer, 503, "disk-full");
            break;
        }
        sessions.push(header(&answer, "location").to_owned());
    }
    assert!(sessions.len() > 5, "{}", sessions.len());
    for _ in 0..10 {
        refused(&server);
        run_until_more_video(&mut [&mut publisher, &mut viewer], 5);
    }

    // Not a byte is left: the number of the next boot cannot be written either.
    disk.sh("cat /dev/zero > rekindle-state/filler");
    let server = server.kill_and_start_again_as(&mut disk.rekindle());
    assert_eq!(server.ready["boot"], 2);
    server.wait_for_log("no room left", 1);
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);
    refused(&server);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);

    // A browser whose new address cannot be written down goes on too, and is only warned of.
    viewer.move_to_another_port();
    renew(&mut [&mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 20);
    server.wait_for_log("could not be saved", 1);

    // With room again, peers come again.
    disk.sh("rm rekindle-state/filler");
    for session in &sessions {
        assert_eq!(server.delete(session).status(), 200);
    }
    let mut newcomer = Live::join(&server, Role::Viewer, "news", 600);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut newcomer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut newcomer], 20);
    let server = server.kill_and_start_again_as(&mut disk.rekindle());
    assert_eq!(server.ready["boot"], 3);
    renew(&mut [&mut publisher, &mut viewer, &mut newcomer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut newcomer], 20);
}
