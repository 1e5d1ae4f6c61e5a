//! Landlock and capabilities belong to a thread, so those tests run in one of their own. A filter
//! of system calls that ends the process needs a process: the tests start themselves again as one.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::thread;

use tempfile::TempDir;

use super::*;

/// Which part the process started by [`run_child`] plays.
const PART: &str = "REKINDLE_TEST_PART";

fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(test)
        .join()
        .expect("the thread's own message says more")
}

/// Runs [`child`] in a process of its own.
fn run_child(part: &str) -> Output {
    Command::new(std::env::current_exe().expect("own path"))
        .args([
            "--exact",
            "hardening::tests::child",
            "--ignored",
            "--nocapture",
        ])
        .env(PART, part)
        .output()
        .expect("the test program starts")
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn child() {
    let part = std::env::var(PART).expect("only for the other tests");
    let folder = TempDir::new().expect("a folder");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let mut report = early();
    if part == "early" {
        print!(
            "{}",
            fs::read_to_string("/proc/thread-self/status").expect("status")
        );
        print!(
            "{}",
            fs::read_to_string("/proc/self/limits").expect("limits")
        );
        println!("{:?}", rustix::process::dumpable_behavior());
        println!(
            "umask {:o}",
            rustix::process::umask(rustix::fs::Mode::empty()).bits()
        );
        return;
    }
    let connects = part.starts_with("store");
    syscalls::confine(connects, &mut report).expect("a filter");
    match part.as_str() {
        "work" => work(&folder, &socket),
        "panic" => panic!("on purpose"),
        "program" => drop(Command::new("/bin/true").status()),
        "store" => drop(TcpStream::connect("127.0.0.1:1")),
        "store, datagrams" => drop(UdpSocket::bind("127.0.0.1:0")),
        "store, local" => drop(std::os::unix::net::UnixStream::connect("/nowhere")),
        "store, listening" => drop(TcpListener::bind("127.0.0.1:0")),
        "socket" => drop(UdpSocket::bind("127.0.0.1:0")),
        "connect" => drop(TcpStream::connect("127.0.0.1:1")),
        "mode" => drop(rustix::fs::chmod(folder.path(), rustix::fs::Mode::RWXU)),
        "dumpable" => drop(rustix::process::set_dumpable_behavior(
            rustix::process::DumpableBehavior::Dumpable,
        )),
        "limit" => drop(rustix::process::setrlimit(
            rustix::process::Resource::Core,
            rustix::process::Rlimit {
                current: None,
                maximum: None,
            },
        )),
        "signal" => drop(rustix::process::kill_process(
            rustix::process::getpid(),
            rustix::process::Signal::USR1,
        )),
        "descriptors" => drop(rustix::io::dup(&socket)),
        other => panic!("no part {other}"),
    }
    println!("still here");
}

/// What a server at work does.
fn work(folder: &TempDir, socket: &UdpSocket) {
    let path = folder.path().join("a");
    let mut file = fs::File::create(&path).expect("create");
    file.write_all(b"text").expect("write");
    file.sync_all().expect("sync");
    fs::rename(&path, folder.path().join("b")).expect("rename");
    fs::create_dir(folder.path().join("c")).expect("mkdir");
    fs::remove_file(folder.path().join("b")).expect("remove");
    let own = socket.local_addr().expect("address");
    let sum: usize = (0..4)
        .map(|_| {
            let socket = socket.try_clone().expect("dup");
            thread::spawn(move || {
                socket.send_to(b"x", own).expect("send");
                vec![1_u8; 1 << 22]
                    .iter()
                    .map(|&b| usize::from(b))
                    .sum::<usize>()
            })
        })
        .map(|t| t.join().expect("thread"))
        .sum();
    assert_eq!(sum, 4 << 22);
    let mut buffer = [0; 4];
    assert_eq!(socket.recv(&mut buffer).expect("receive"), 1);
    assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
}

#[test]
fn a_server_at_work_makes_no_forbidden_call() {
    let output = run_child("work");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("still here"));
}

#[test]
fn a_server_with_a_store_may_connect_and_nothing_else() {
    let output = run_child("store");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_forbidden_call_ends_the_process_with_sigsys() {
    for part in [
        "program",
        "socket",
        "connect",
        "mode",
        "dumpable",
        "limit",
        "signal",
        "descriptors",
        "store, datagrams",
        "store, local",
        "store, listening",
    ] {
        let output = run_child(part);
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGSYS),
            "{part}: {output:?}"
        );
        assert!(!output.status.core_dumped(), "{part}");
        assert!(
            !String::from_utf8_lossy(&output.stdout).contains("still here"),
            "{part}"
        );
    }
}

#[test]
fn a_panic_under_the_filter_still_says_what_went_wrong() {
    let output = run_child("panic");
    assert_eq!(output.status.signal(), None, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("on purpose"));
}

#[test]
fn early_closes_the_process() {
    let output = run_child("early");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let fields = |start: &str| -> Vec<&str> {
        let line = text
            .lines()
            .find(|l| l.starts_with(start))
            .unwrap_or_else(|| panic!("no line {start} in {text}"));
        line[start.len()..].split_whitespace().collect()
    };
    assert_eq!(fields("NoNewPrivs:"), ["1"]);
    assert_eq!(fields("Max core file size"), ["0", "0", "bytes"]);
    assert_eq!(fields("umask"), ["77"]);
    assert!(text.contains("Ok(NotDumpable)"), "{text}");
    // Either no allocation can fail for a limit, or nothing is locked.
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let capabilities = u64::from_str_radix(fields("CapEff:")[0], 16).expect("hexadecimal");
    let unlimited =
        fields("Max locked memory")[0] == "unlimited" || capabilities & CAP_IPC_LOCK != 0;
    assert_eq!(fields("VmLck:")[0] != "0", unlimited);
}

#[test]
fn the_filter_can_be_made_for_both_processors() {
    for arch in [
        seccompiler::TargetArch::x86_64,
        seccompiler::TargetArch::aarch64,
    ] {
        for program in syscalls::programs(arch, false).expect("a filter") {
            // The kernel takes no longer ones (BPF_MAXINSNS).
            assert!((5..4096).contains(&program.len()));
        }
    }
}

#[test]
fn a_sandbox_around_some_of_the_threads_is_refused() {
    // The test harness has threads.
    let result = alone(|| sandbox(&nowhere()).map(drop));
    assert!(
        matches!(result, Err(SandboxError::Threads(2..))),
        "{result:?}"
    );
}

fn nowhere() -> Options<'static> {
    Options {
        state_dir: Some(Path::new("/nowhere")),
        static_dir: None,
        key_file: None,
        token_files: &[],
        connects: &[],
        tls_files: &[],
        acme_dir: None,
    }
}

#[test]
fn no_capability_is_left() {
    let status = alone(|| {
        let mut report = Report::default();
        process::give_up_capabilities(&mut report).expect("capabilities");
        fs::read_to_string("/proc/thread-self/status").expect("status")
    });
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        let line = status.lines().find(|l| l.starts_with(set)).expect("a line");
        let left = u64::from_str_radix(line[set.len()..].trim(), 16).expect("hexadecimal");
        // Where locked memory takes it, CAP_IPC_LOCK stays.
        assert_eq!(left & !(1 << 14), 0, "{set}");
    }
}

/// A vault, a folder to serve, and a file that is neither's.
struct World {
    root: PathBuf,
    state: PathBuf,
    page: PathBuf,
    outside: PathBuf,
}

impl World {
    fn new(root: &Path) -> Self {
        let [state, page] = ["state", "static"].map(|n| root.join(n));
        let outside = root.join("rekindle-key.txt");
        for folder in [
            &state,
            &page,
            &state.join("peers"),
            &state.join("set-aside"),
        ] {
            fs::create_dir(folder).expect("mkdir");
        }
        for folder in [
            "keys",
            "live",
            "archive",
            "crowded",
            "mount",
            "mount/..first",
        ] {
            fs::create_dir(root.join(folder)).expect("mkdir");
        }
        for file in [
            "archive/privkey1.pem",
            "archive/cert1.pem",
            "crowded/key.pem",
        ] {
            fs::write(root.join(file), "first").expect("write");
        }
        fs::write(root.join("mount/..first/tls.key"), "first").expect("write");
        symlink("..first", root.join("mount/..data")).expect("link");
        symlink("..data/tls.key", root.join("mount/tls.key")).expect("link");
        fs::write(root.join("live/README"), "").expect("write");
        fs::write(root.join("crowded/passwords"), "").expect("write");
        symlink("../archive/privkey1.pem", root.join("live/privkey.pem")).expect("link");
        for secret in [&outside, &root.join("other-secret"), &root.join("keys/key")] {
            fs::write(secret, "secret").expect("write");
        }
        fs::write(page.join("index.html"), "page").expect("write");
        Self {
            root: root.into(),
            state,
            page,
            outside,
        }
    }

    /// `None` where the kernel has no or only an old Landlock, except in CI.
    fn confined<T: Send + 'static>(test: impl FnOnce(Self) -> T + Send + 'static) -> Option<T> {
        Self::confined_with(None, test)
    }

    /// The same with a key file, by its path in the world, that may be read again.
    fn confined_with<T: Send + 'static>(
        key_file: Option<&str>,
        test: impl FnOnce(Self) -> T + Send + 'static,
    ) -> Option<T> {
        Self::confined_with_all(key_file, None, &[], test)
    }

    /// The same with a TLS key, and ports that may be connected to.
    fn confined_with_all<T: Send + 'static>(
        key_file: Option<&str>,
        tls: Option<&str>,
        connects: &[u16],
        test: impl FnOnce(Self) -> T + Send + 'static,
    ) -> Option<T> {
        let folder = TempDir::new().expect("a folder");
        let world = Self::new(folder.path());
        let key_file = key_file.map(|path| folder.path().join(path));
        let tls = tls.map(|path| folder.path().join(path));
        let connects = connects.to_vec();
        alone(move || {
            let mut report = Report::default();
            let tls: Vec<&Path> = tls.iter().map(PathBuf::as_path).collect();
            let options = Options {
                state_dir: Some(&world.state),
                static_dir: Some(&world.page),
                key_file: key_file.as_deref(),
                token_files: &[],
                connects: &connects,
                tls_files: &tls,
                acme_dir: None,
            };
            files::confine(&options, &mut report).expect("rules");
            let lacking = report.all_lacking().next().map(str::to_owned);
            match lacking {
                None => Some(test(world)),
                Some(what) if std::env::var_os("CI").is_none() => {
                    eprintln!("skipped: {what}");
                    None
                }
                Some(what) => panic!("{what}"),
            }
        })
    }
}

fn denied<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn the_vault_stays_usable() {
    World::confined(|world| {
        let temporary = world.state.join("peers/.tmp-1");
        let file = world.state.join("peers/a.age");
        fs::write(&temporary, "record").expect("create");
        fs::rename(&temporary, &file).expect("rename");
        fs::File::open(world.state.join("peers"))
            .and_then(|f| f.sync_all())
            .expect("sync the folder");
        assert_eq!(fs::read_to_string(&file).expect("read"), "record");
        assert_eq!(
            fs::read_dir(world.state.join("peers"))
                .expect("list")
                .count(),
            1
        );
        fs::rename(&file, world.state.join("set-aside/a.age")).expect("set aside");
        fs::remove_file(world.state.join("set-aside/a.age")).expect("remove");
        // A link and a folder in the way can be set aside too.
        symlink("/etc/passwd", world.state.join("peers/b.age")).expect("link");
        fs::rename(
            world.state.join("peers/b.age"),
            world.state.join("set-aside/b.age"),
        )
        .expect("set aside");
        fs::create_dir(world.state.join("peers/c.age")).expect("mkdir");
        fs::rename(
            world.state.join("peers/c.age"),
            world.state.join("set-aside/c.age"),
        )
        .expect("set aside");
    });
}

#[test]
fn no_file_outside_the_vault_can_be_reached() {
    World::confined(|world| {
        for path in [
            &world.outside,
            Path::new("/etc/passwd"),
            Path::new("/proc/self/mem"),
        ] {
            assert!(denied(fs::File::open(path)), "{path:?}");
        }
        assert!(denied(
            fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&world.outside)
        ));
        assert!(denied(fs::read_dir(&world.root)));
        assert!(denied(fs::remove_file(&world.outside)));
        assert!(denied(fs::write(world.root.join("new"), "")));
        assert!(denied(fs::read(world.state.join("../rekindle-key.txt"))));
        fs::write(world.state.join("a"), "").expect("create");
        // No moving in or out; the kernel may call that another device.
        assert!(fs::rename(world.state.join("a"), world.root.join("a")).is_err());
        assert!(fs::rename(&world.outside, world.state.join("b")).is_err());
        // A link in the vault leads nowhere.
        symlink(&world.outside, world.state.join("link")).expect("link");
        assert!(denied(fs::read(world.state.join("link"))));
    });
}

#[test]
fn the_page_can_be_read_and_no_more() {
    World::confined(|world| {
        let page = world.page.join("index.html");
        assert_eq!(fs::read_to_string(&page).expect("read"), "page");
        assert!(denied(fs::write(&page, "mine")));
        assert!(denied(fs::write(world.page.join("new"), "")));
        assert!(denied(fs::remove_file(&page)));
    });
}

#[test]
fn a_key_file_among_others_can_be_read_again_and_they_cannot() {
    World::confined_with(Some("rekindle-key.txt"), |world| {
        assert_eq!(fs::read_to_string(&world.outside).expect("read"), "secret");
        assert!(denied(fs::write(&world.outside, "mine")));
        assert!(denied(fs::read(world.root.join("other-secret"))));
        assert!(denied(fs::read_dir(&world.root)));
    });
}

#[test]
fn a_key_file_in_a_folder_of_its_own_can_be_replaced_by_another() {
    let (go, waiting) = std::sync::mpsc::channel::<PathBuf>();
    let (done, replaced) = std::sync::mpsc::channel();
    // The operator, who is not shut in.
    let operator = thread::spawn(move || {
        while let Ok(folder) = waiting.recv() {
            fs::write(folder.join("key.new"), "another").expect("write");
            fs::rename(folder.join("key.new"), folder.join("key")).expect("rename");
            done.send(()).expect("somebody waits");
        }
    });
    World::confined_with(Some("keys/key"), move |world| {
        let key = world.root.join("keys/key");
        assert_eq!(fs::read_to_string(&key).expect("read"), "secret");
        go.send(world.root.join("keys"))
            .expect("the operator is there");
        replaced.recv().expect("replaced");
        assert_eq!(fs::read_to_string(&key).expect("read"), "another");
        assert!(denied(fs::write(&key, "mine")));
        assert!(denied(fs::read(&world.outside)));
    });
    operator.join().expect("the operator");
}

#[test]
fn a_renewed_tls_key_behind_a_link_can_be_read_and_nothing_beside_its_folder() {
    let (go, waiting) = std::sync::mpsc::channel::<PathBuf>();
    let (done, replaced) = std::sync::mpsc::channel();
    // The tool that renews, which is not shut in.
    let tool = thread::spawn(move || {
        while let Ok(root) = waiting.recv() {
            fs::write(root.join("archive/privkey2.pem"), "second").expect("write");
            symlink("../archive/privkey2.pem", root.join("live/new")).expect("link");
            fs::rename(root.join("live/new"), root.join("live/privkey.pem")).expect("rename");
            done.send(()).expect("somebody waits");
        }
    });
    World::confined_with_all(None, Some("live/privkey.pem"), &[], move |world| {
        let key = world.root.join("live/privkey.pem");
        assert_eq!(fs::read_to_string(&key).expect("read"), "first");
        go.send(world.root.clone()).expect("the tool is there");
        replaced.recv().expect("replaced");
        assert_eq!(fs::read_to_string(&key).expect("read"), "second");
        assert!(denied(fs::write(&key, "mine")));
        assert!(denied(fs::read(&world.outside)));
    });
    tool.join().expect("the tool");
}

#[test]
fn a_tls_key_that_kubernetes_mounts_can_be_read_when_it_has_put_another_folder_in_place() {
    let (go, waiting) = std::sync::mpsc::channel::<PathBuf>();
    let (done, replaced) = std::sync::mpsc::channel();
    let kubelet = thread::spawn(move || {
        while let Ok(mount) = waiting.recv() {
            fs::create_dir(mount.join("..second")).expect("mkdir");
            fs::write(mount.join("..second/tls.key"), "second").expect("write");
            symlink("..second", mount.join("..new")).expect("link");
            fs::rename(mount.join("..new"), mount.join("..data")).expect("rename");
            done.send(()).expect("somebody waits");
        }
    });
    World::confined_with_all(None, Some("mount/tls.key"), &[], move |world| {
        let key = world.root.join("mount/tls.key");
        assert_eq!(fs::read_to_string(&key).expect("read"), "first");
        go.send(world.root.join("mount"))
            .expect("the kubelet is there");
        replaced.recv().expect("replaced");
        assert_eq!(fs::read_to_string(&key).expect("read"), "second");
        assert!(denied(fs::read(&world.outside)));
    });
    kubelet.join().expect("the kubelet");
}

#[test]
fn a_tls_key_among_other_things_can_be_read_and_its_renewal_is_said_to_be_out_of_reach() {
    let said = alone(|| {
        let folder = TempDir::new().expect("a folder");
        let world = World::new(folder.path());
        let key = world.root.join("crowded/key.pem");
        let mut report = Report::default();
        let options = Options {
            state_dir: Some(&world.state),
            tls_files: &[&key],
            acme_dir: None,
            ..nowhere()
        };
        files::confine(&options, &mut report).expect("rules");
        let said: Vec<String> = report.all_lacking().map(str::to_owned).collect();
        let confined = denied(fs::read(&world.outside));
        assert!(fs::read(&key).is_ok());
        assert!(!confined || denied(fs::read(world.root.join("crowded/passwords"))));
        said
    });
    assert!(
        said.iter().any(|what| what.contains("crowded/key.pem")),
        "{said:?}"
    );
}

#[test]
fn no_program_can_be_started_and_no_tcp_connection_made() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    TcpStream::connect(address).expect("it listens");
    World::confined(move |_| {
        assert!(denied(Command::new("/bin/true").status()));
        assert!(denied(TcpStream::connect(address)));
        assert!(denied(TcpListener::bind("127.0.0.1:0")));
    });
}

#[test]
fn with_services_that_are_asked_only_their_ports_can_be_connected_to() {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("bind");
    let (asked, other) = (listen(), listen());
    let [asked_at, other_at] = [&asked, &other].map(|one| one.local_addr().expect("address"));
    World::confined_with_all(None, None, &[asked_at.port()], move |_| {
        TcpStream::connect(asked_at).expect("it may");
        assert!(denied(TcpStream::connect(other_at)));
        assert!(denied(TcpListener::bind("127.0.0.1:0")));
    });
}

#[test]
fn a_state_folder_that_is_not_there_is_an_error() {
    let result = alone(|| files::confine(&nowhere(), &mut Report::default()));
    assert!(
        matches!(result, Err(SandboxError::Folder { .. })),
        "{result:?}"
    );
}
