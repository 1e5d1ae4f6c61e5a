//! What docs/etcd.md has its readers do, as it stands there.

mod chapters;
#[path = "recipes/steps.rs"]
mod recipes;
mod running;

use std::thread::spawn;

use recipes::{Recipe, shell};
use rekindle_testing::etcd::Etcd;
use running::{PUBLISH, Server, WATCH, said, until};

const DOCUMENT: &str = "docs/etcd.md";
const START: &str = "$ apt install protobuf-compiler";
const MEMBERS: &str = "10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379";

/// The book's first recipe with a node's options, in a folder with a key file.
fn node(etcd: &Etcd) -> Recipe {
    let members = etcd.hosts().join(",");
    let mut recipe = Recipe::new(DOCUMENT, START, &[(MEMBERS, &members)]);
    let key = recipe.folder().join("etc/key.txt");
    let made = shell(
        recipe.folder(),
        &format!("rekindle keygen -o {}", key.display()),
    );
    assert!(made.status.success(), "{}", said(&made));
    recipe.next("apt install");
    recipe.next("cargo build --release --features etcd");
    recipe
}

/// `etcdctl` at this etcd, and not at the one that it would look for.
fn at(etcd: &Etcd) -> String {
    format!("etcdctl --endpoints={}", etcd.hosts().join(","))
}

#[test]
fn a_node_begins_with_a_user_of_its_own() {
    let etcd = Etcd::start();
    let mut first = node(&etcd);
    let password = first.write("etcd-password", "secret-of-a-node\n");
    let start = "$ etcdctl role add rekindle";
    let mut user = first.also(DOCUMENT, start, &[("etcdctl", &at(&etcd))]);
    user.run("etcdctl --endpoints");
    user.run("etcdctl --endpoints");
    user.ends();
    for arguments in [&["user", "add", "root:root"][..], &["auth", "enable"]] {
        etcd.control(arguments);
    }
    let password = password.to_str().expect("text");
    let shown = ["--etcd-user", "rekindle", "--etcd-password-file", password];
    let server = first.serve_with("rekindle serve --vault", &shown);
    first.ends();
    server.join("/whip/main", PUBLISH);
    assert_eq!(server.get("/readyz").status(), 200);
    assert_eq!(server.terminate().0, Some(0));
}

/// A page: once it is told that its session is not here, it goes on there.
fn page(here: &Server, there: &Server, session: &str) -> std::thread::JoinHandle<()> {
    let path = format!("{session}/events");
    let mut events = here.events(&path);
    assert!(events.next().is_some());
    let there = there.url(&path);
    spawn(move || {
        let gone = std::iter::from_fn(|| events.next()).find(|(name, _)| name == "gone");
        assert_eq!(gone.expect("told").1["reason"], "unknown-session");
        ureq::get(&there).call().expect("it is there");
    })
}

/// A line with one sign in the place of each number.
fn without_numbers(line: &str) -> String {
    let parts = line.split(|c: char| c.is_ascii_digit());
    let parts: Vec<_> = parts.collect();
    let mut text = parts.join("#");
    while text.contains("##") {
        text = text.replace("##", "#");
    }
    text
}

#[test]
fn a_node_is_drained_and_says_how_far_it_is() {
    let etcd = Etcd::start();
    let mut recipe = node(&etcd);
    let token = recipe.write("admin-token", "a-token-of-more-than-thirty-two-characters");
    let token = token.to_str().expect("text");
    let admin = ["--admin", "0", "--admin-token-file", token];
    let mut a = recipe.serve_with("rekindle serve --vault", &admin);
    let admin = a.ready["admin"].as_str().expect("an address").to_owned();
    let b = {
        let others = [
            (MEMBERS, &*etcd.hosts().join(",")),
            ("--node a", "--node b"),
            ("a.example", "b.example"),
        ];
        let mut recipe = recipe.also(DOCUMENT, START, &others);
        recipe.next("apt install");
        recipe.next("cargo build");
        recipe.serve("rekindle serve --vault")
    };
    let sessions = [a.join("/whip/news", PUBLISH), a.join("/whep/news", WATCH)];
    let path = format!("{}/events", sessions[0]);
    until("a knows b", || {
        let (_, hello) = a.events(&path).next().expect("an event");
        hello["nodes"][0]["url"] == "https://b.example.org"
    });
    let pages = sessions.map(|session| page(&a, &b, &session));

    let drain = [("--admin 9189", &*format!("--admin {admin}"))];
    let mut recipe = recipe.also(DOCUMENT, "$ rekindle drain", &drain);
    let step = recipe.next("rekindle drain");
    recipe.ends();
    let said = recipe.output(&step);
    let said: Vec<_> = said.lines().map(without_numbers).collect();
    let shown: Vec<_> = step
        .prints
        .iter()
        .map(|line| without_numbers(line))
        .collect();
    assert_eq!(said[0], shown[0]);
    // Nobody is here any more who would have to go as a client without a page.
    let whole = shown.last().expect("a line");
    let (went, end) = whole.split_once("; without a page").expect("both");
    let last = said.last().expect("a line");
    assert!(last.starts_with(went), "{last}");
    assert!(
        last.ends_with(end.rsplit(". ").next().expect("an end")),
        "{last}"
    );
    for line in &said[1..said.len() - 1] {
        assert_eq!(*line, shown[1]);
    }
    assert_eq!(a.ends(), Some(3));
    for page in pages {
        page.join().expect("a page that went on");
    }
}

#[test]
fn a_vault_in_etcd_is_looked_at() {
    let etcd = Etcd::start();
    let mut first = node(&etcd);
    let server = first.serve("rekindle serve --vault");
    server.join("/whip/main", PUBLISH);
    drop(server);
    let key = first.folder().join("etc/key.txt");
    let others = [
        ("etcd://...", &*etcd.address("rekindle")),
        ("--key-file KEY", &*format!("--key-file {}", key.display())),
        ("etcdctl", &at(&etcd)),
    ];
    let mut recipe = first.also(DOCUMENT, "$ rekindle export", &others);
    recipe.run("rekindle export");
    assert!(first.folder().join("copy/identity.age").exists());
    assert!(recipe.run("rekindle audit").contains("identity.age"));
    let keys = recipe.run("etcdctl");
    recipe.ends();
    for part in [
        "rekindle/identity.age",
        "rekindle/peers/",
        "rekindle/owners/",
    ] {
        assert!(keys.contains(part), "{keys}");
    }
}
