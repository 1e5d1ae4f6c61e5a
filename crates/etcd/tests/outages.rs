//! Members of etcd that die, hang, or refuse this client.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rekindle_etcd::{Address, AddressError, ConnectError, Etcd, Options};
use rekindle_testing::etcd;
use rekindle_vault::shared::{Change, Condition, Transaction};
use rekindle_vault::{Vault, VaultError};
use support::{
    PREFIX, World, connect, moved, nodes, now, record, save, store_within, ufrag, until,
};

#[track_caller]
fn must_be_unavailable<T: std::fmt::Debug>(outcome: Result<T, VaultError>) {
    let error = outcome.expect_err("etcd is away");
    let text = error.to_string();
    assert!(matches!(error, VaultError::Unavailable { .. }), "{text}");
    assert!(text.contains("etcd://127.0.0.1:"), "{text}");
}

#[test]
fn without_etcd_every_call_ends_in_time_and_says_so_and_all_is_well_when_it_is_back() {
    let mut world = World::new();
    let limit = Duration::from_secs(1);
    let store = store_within(&world.address(), "a", limit);
    let opened = Vault::open_shared(store, world.keys(), now()).expect("it opens");
    opened.vault.presence(b"here").expect("told");
    save(&opened, "aaaaaaaa");

    // First it hangs, then it is gone.
    for gone in [false, true] {
        match gone {
            false => world.etcd.pause(0),
            true => {
                world.etcd.resume(0);
                world.etcd.kill(0);
            }
        }
        let vault = &opened.vault;
        let name = if gone { "gonegone" } else { "hanghang" };
        let calls: [&dyn Fn(); 5] = [
            &|| must_be_unavailable(vault.save(&record(name), now())),
            &|| must_be_unavailable(vault.remove(&ufrag("aaaaaaaa"))),
            &|| must_be_unavailable(vault.nodes()),
            &|| must_be_unavailable(vault.adopt(&ufrag("aaaaaaaa"), &world.keys())),
            &|| must_be_unavailable(vault.presence(b"there")),
        ];
        for call in calls {
            let start = Instant::now();
            call();
            // `remove` may ask a second time.
            assert!(start.elapsed() < 4 * limit, "{:?}", start.elapsed());
        }
    }
    // Long enough for the lease to be lost, were it not for etcd's own clock.
    std::thread::sleep(Duration::from_secs(2));
    world.etcd.start_member(0);
    world.etcd.wait_ready(0);
    let retry = |what: &str, call: &dyn Fn() -> bool| until(what, call);
    retry("a save", &|| {
        opened.vault.save(&record("bbbbbbbb"), now()).is_ok()
    });
    retry("the node is alive", &|| {
        // What was told while it hung may have been heard.
        matches!(&nodes(&opened)[..], [(name, _)] if name == "a")
    });
    retry("a removal", &|| {
        opened.vault.remove(&ufrag("aaaaaaaa")).is_ok()
    });
    assert_eq!(world.owner("aaaaaaaa"), None);
}

#[test]
fn while_etcd_is_known_to_be_away_nobody_waits_for_long() {
    let world = World::new();
    let limit = Duration::from_secs(6);
    let store = store_within(&world.address(), "a", limit);
    let opened = Vault::open_shared(store, world.keys(), now()).expect("it opens");
    let names: Vec<_> = (0..100).map(|i| format!("peer{i:04}")).collect();
    names.iter().for_each(|name| save(&opened, name));
    world.etcd.pause(0);
    let start = Instant::now();
    must_be_unavailable(opened.vault.save(&record("aaaaaaaa"), now()));
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());

    let start = Instant::now();
    must_be_unavailable(opened.vault.save(&record("bbbbbbbb"), now()));
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    // However many there are.
    let start = Instant::now();
    let all: Vec<_> = names.iter().map(|name| ufrag(name)).collect();
    let mut removed = opened.vault.remove_each(&all);
    must_be_unavailable(removed.pop().expect("an outcome"));
    assert!(removed.is_empty(), "{removed:?}");
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());

    world.etcd.resume(0);
    until("they are removed", || {
        opened.vault.remove_each(&all).iter().all(Result::is_ok)
    });
    // Whatever was carried out without an answer.
    let left = world.etcd.keys(&format!("{PREFIX}/peers/"));
    assert!(
        left.iter().all(|name| !name.contains("/peers/peer")),
        "{left:?}"
    );
}

#[test]
fn a_lease_that_etcd_has_lost_is_made_again() {
    let world = World::new();
    let opened = world.open("a");
    opened.vault.presence(b"here").expect("told");
    let leases = String::from_utf8(world.etcd.control(&["lease", "list"])).expect("text");
    let lease = leases.lines().last().expect("one").trim().to_owned();
    world.etcd.control(&["lease", "revoke", &lease]);
    assert_eq!(nodes(&opened), []);
    // Changes go on all the while: nobody else has taken the node's place.
    save(&opened, "aaaaaaaa");
    until("it is told again", || {
        nodes(&opened) == [("a".into(), "here".into())]
    });
    // Also where the next word comes first.
    let leases = String::from_utf8(world.etcd.control(&["lease", "list"])).expect("text");
    let lease = leases.lines().last().expect("one").trim().to_owned();
    world.etcd.control(&["lease", "revoke", &lease]);
    opened.vault.presence(b"still").expect("told");
    assert_eq!(nodes(&opened), [("a".into(), "still".into())]);
}

#[test]
fn no_member_of_three_is_needed_not_even_the_leader() {
    let mut world = World::on(etcd::Etcd::start_members(3));
    let opened = world.open("a");
    opened.vault.presence(b"here").expect("told");
    let mut saved = 0;
    let mut worst = Duration::ZERO;
    let mut save_some = |count: usize| {
        for _ in 0..count {
            let start = Instant::now();
            save(&opened, &format!("peer{saved:04}"));
            worst = worst.max(start.elapsed());
            saved += 1;
        }
        worst
    };
    save_some(20);
    let leader = world.etcd.leader();
    world.etcd.kill(leader);
    println!(
        "the longest write when the leader is killed: {:?}",
        save_some(20)
    );
    world.etcd.start_member(leader);
    world.etcd.wait_ready(leader);
    // One that hangs keeps its connections.
    let leader = world.etcd.leader();
    world.etcd.pause(leader);
    println!("and when the next one hangs: {:?}", save_some(20));
    world.etcd.resume(leader);
    assert_eq!(nodes(&opened), [("a".into(), "here".into())]);

    // Two of three are missing: nothing is promised any more.
    let two: Vec<usize> = (0..3).filter(|&at| at != world.etcd.leader()).collect();
    for &at in &two {
        world.etcd.kill(at);
    }
    let short = store_within(&world.address(), "b", Duration::from_secs(1));
    let error = Vault::open_shared(short, world.keys(), now()).expect_err("no majority");
    assert!(matches!(error, VaultError::Unavailable { .. }), "{error}");
    for &at in &two {
        world.etcd.start_member(at);
    }
    for &at in &two {
        world.etcd.wait_ready(at);
    }
    let again = world.open("a");
    assert_eq!(again.reader.len(), 60);
    for name in again.reader.names() {
        let read = again.reader.read(&name).expect("readable");
        assert_eq!(read, Some(record(name.as_str())));
    }
}

#[test]
fn a_member_that_is_not_there_is_passed_over() {
    let world = World::new();
    let hosts = world.etcd.hosts();
    // Nobody listens on the first, and the second is no etcd at all.
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = other.local_addr().expect("an address");
    let address = format!("etcd://127.0.0.1:1,{silent},{}/{PREFIX}", hosts[0]);
    let store = store_within(&address, "a", Duration::from_secs(6));
    let opened = Vault::open_shared(store, world.keys(), now()).expect("it opens");
    let start = Instant::now();
    for n in 0..20 {
        save(&opened, &format!("peer{n:04}"));
    }
    // The one that has answered is asked first from then on.
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// A way to etcd on which answers are lost for as long as `deaf` says.
fn proxy(to: String, deaf: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let deaf = Arc::clone(deaf);
    // The threads end with their connections, or with the process.
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&to) else {
                continue;
            };
            let (Ok(from), Ok(mut back)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            let (mut from, mut on, mut client) = (from, server, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut on));
            let deaf = Arc::clone(&deaf);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = back.read(&mut bytes) {
                    if !deaf.load(Ordering::SeqCst) && client.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_change_whose_answer_was_lost_is_made_once_and_is_known_to_be_made() {
    let world = World::new();
    let deaf = Arc::new(AtomicBool::new(false));
    let direct = world.etcd.hosts().remove(0);
    let through = proxy(direct.clone(), &deaf);
    let address = format!("etcd://{through},{direct}/{PREFIX}");
    // One answer by the first way, and then no more.
    let lose = |conditions: &[Condition<'_>], changes: &[Change<'_>]| {
        let store = store_within(&address, "a", Duration::from_secs(10));
        deaf.store(false, Ordering::SeqCst);
        store.read(&["x"]).expect("an answer");
        deaf.store(true, Ordering::SeqCst);
        let transaction = Transaction {
            conditions,
            changes,
        };
        store.commit(&transaction).expect("by the other way")
    };
    let version = || {
        let fields = world
            .etcd
            .control(&["get", &format!("{PREFIX}/x"), "-w", "fields"]);
        let fields = String::from_utf8(fields).expect("text");
        fields
            .lines()
            .find_map(|line| line.strip_prefix("\"Version\" : ").map(str::to_owned))
    };
    let new = [Condition::Unchanged("x", 0)];
    assert!(lose(&new, &[Change::Put("x", b"one")]));
    assert_eq!(world.get("x").as_deref(), Some(&b"one"[..]));
    assert_eq!(version().as_deref(), Some("1"));
    // What was really refused stays refused.
    assert!(!lose(&new, &[Change::Put("x", b"two")]));
    assert_eq!(world.get("x").as_deref(), Some(&b"one"[..]));
    assert!(lose(&[Condition::Is("x", b"one")], &[Change::Remove("x")]));
    assert_eq!(world.get("x"), None);
}

/// Certificates for etcd and its client, by one authority; and a second authority.
fn certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let write = |name: &str, pem: String| {
        let path = dir.join(name);
        fs::write(&path, pem).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    };
    for authority in ["ca", "other"] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write(
            &format!("{authority}.pem"),
            params.self_signed(&key).expect("signed").pem(),
        );
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(names).expect("names");
            let signed = params.signed_by(&key, &issuer).expect("signed");
            write(&format!("{authority}-{name}.pem"), signed.pem());
            write(&format!("{authority}-{name}.key"), key.serialize_pem());
        }
    }
}

#[test]
fn tls_lets_in_who_has_a_certificate_and_talks_to_who_has_one() {
    let dir = tempfile::tempdir().expect("a folder");
    certificates(dir.path());
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let server = [
        format!("--cert-file={}", text("ca-server.pem")),
        format!("--key-file={}", text("ca-server.key")),
        "--client-cert-auth".into(),
        format!("--trusted-ca-file={}", text("ca.pem")),
    ];
    let control = [
        format!("--cacert={}", text("ca.pem")),
        format!("--cert={}", text("ca-client.pem")),
        format!("--key={}", text("ca-client.key")),
    ];
    let [server, control] = [&server[..], &control[..]]
        .map(|arguments| arguments.iter().map(|text| &**text).collect::<Vec<&str>>());
    let world = World::on(etcd::Etcd::start_tls(&server, &control));
    assert!(world.address().starts_with("etcds://"));
    let options = |ca: &str, client: Option<&str>| Options {
        node: "a".into(),
        ca: Some(path(ca)),
        certificate: client.map(|name| {
            let file = |end: &str| path(&format!("{name}-client.{end}"));
            (file("pem"), file("key"))
        }),
        limit: Duration::from_secs(3),
        ..Options::default()
    };
    let open =
        |options| Vault::open_shared(connect(&world.address(), options), world.keys(), now());
    for (ca, client) in [
        ("ca.pem", None),
        ("ca.pem", Some("other")),
        ("other.pem", Some("ca")),
    ] {
        let error = open(options(ca, client)).expect_err("not trusted");
        assert!(matches!(error, VaultError::Unavailable { .. }), "{error}");
    }
    let opened = open(options("ca.pem", Some("ca"))).expect("it opens");
    save(&opened, "aaaaaaaa");
    assert_eq!(world.owner("aaaaaaaa").as_deref(), Some("a"));

    // A key that others can read is none.
    fs::set_permissions(path("ca-client.key"), fs::Permissions::from_mode(0o640)).expect("set");
    let address = Address::new(&world.address(), options("ca.pem", Some("ca"))).expect("parses");
    let error = Etcd::connect(&address).err().expect("exposed");
    assert!(
        matches!(error, ConnectError::ReadableByOthers(_)),
        "{error}"
    );
    assert_eq!(
        Address::new(&world.address(), Options::default()),
        Err(AddressError::NoCa)
    );
}

#[test]
fn a_user_of_etcd_needs_its_password_and_rights_below_the_prefix_only() {
    let mut world = World::new();
    let password = world.etcd.dir().join("password");
    let control = |arguments: &[&str]| drop(world.etcd.control(arguments));
    control(&["user", "add", "root:rootpass"]);
    control(&["user", "grant-role", "root", "root"]);
    control(&["user", "add", "rekindle:first"]);
    control(&["role", "add", "vault"]);
    let prefix = format!("{PREFIX}/");
    control(&[
        "role",
        "grant-permission",
        "--prefix=true",
        "vault",
        "readwrite",
        &prefix,
    ]);
    control(&["user", "grant-role", "rekindle", "vault"]);
    control(&["auth", "enable"]);
    world.etcd.control = vec!["--user=root:rootpass".into()];

    let write = |text: &str| {
        fs::write(&password, text).expect("written");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("set");
    };
    let options = |user: bool| Options {
        node: "a".into(),
        user: user.then(|| ("rekindle".into(), password.clone())),
        limit: Duration::from_secs(3),
        ..Options::default()
    };
    let open = |address: &str, user| {
        Vault::open_shared(connect(address, options(user)), world.keys(), now())
    };
    let refused = |outcome: Result<_, VaultError>| {
        let error = outcome
            .map(|_: rekindle_vault::Opened| ())
            .expect_err("refused");
        let text = error.to_string();
        assert!(matches!(error, VaultError::Unavailable { .. }), "{text}");
        assert!(text.contains("etcd refuses this client"), "{text}");
        assert!(!text.contains("wrong"), "{text}");
    };
    write("wrong\n");
    refused(open(&world.address(), true));
    refused(open(&world.address(), false));
    write("first\n");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).expect("set");
    let address = Address::new(&world.address(), options(true)).expect("parses");
    let error = Etcd::connect(&address).err().expect("exposed");
    assert!(
        matches!(error, ConnectError::ReadableByOthers(_)),
        "{error}"
    );
    write("first\n");
    refused(open(&world.etcd.address("vaults/two"), true));
    let opened = open(&world.address(), true).expect("it opens");
    opened.vault.presence(b"here").expect("told");
    save(&opened, "aaaaaaaa");

    // Its token is worth nothing after a start of etcd, and is asked for again.
    world.etcd.kill(0);
    world.etcd.start_member(0);
    world.etcd.wait_ready(0);
    until("a save", || {
        opened
            .vault
            .save(&moved("aaaaaaaa", "192.0.2.4"), now())
            .is_ok()
    });
    until("the node is alive", || {
        nodes(&opened) == [("a".into(), "here".into())]
    });
}
