//! What says where another server is, and who is told when that changes.

use std::sync::Mutex;

use super::*;

#[test]
fn a_node_is_an_origin_and_a_base_path() {
    for (text, url, origin) in [
        (
            "https://b.example.org",
            "https://b.example.org",
            "https://b.example.org",
        ),
        (
            "https://B.example.org/",
            "https://b.example.org",
            "https://b.example.org",
        ),
        (
            "http://192.0.2.7:8080/media/",
            "http://192.0.2.7:8080/media",
            "http://192.0.2.7:8080",
        ),
        (
            "http://[::1]:8080/a/b",
            "http://[::1]:8080/a/b",
            "http://[::1]:8080",
        ),
    ] {
        let node: Node = text.parse().expect(text);
        assert_eq!((node.url(), node.origin()), (url, origin));
        assert!(node.media().is_empty());
    }
}

#[test]
fn what_names_no_server_is_refused_with_an_example() {
    for bad in [
        "",
        "b.example.org",
        "b.example.org:8080",
        "/media",
        "ftp://b.example.org",
        "https://",
        "https://b.example.org?x=1",
        "https://b.example.org/a b",
        "https://b.example.org/../a",
        "https://user@b.example.org",
        "https://b.example.org:",
        "https://b.example.org:99999",
        "https://b.example.org;script-src",
        "https://a.example,b.example",
        "https://*",
    ] {
        let error = bad.parse::<Node>().expect_err(bad).to_string();
        assert!(error.contains("https://b.example.org"), "{error}");
    }
}

#[tokio::test]
async fn who_follows_is_told_of_each_change_and_of_nothing_else() {
    let node = |url: &str| url.parse::<Node>().expect("a node");
    let nodes = Nodes::new(vec![node("https://a.example")]);
    let told = Mutex::new(Vec::new());
    let settle = async || {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    };
    let follow = nodes.follow(|list| {
        let urls: Vec<String> = list.iter().map(|node| node.url().to_owned()).collect();
        told.lock().expect("whole").push(urls);
    });
    let change = async {
        settle().await;
        nodes.set(vec![node("https://a.example")]);
        settle().await;
        assert!(told.lock().expect("whole").is_empty(), "it is the same");
        nodes.set(vec![
            node("https://a.example"),
            node("http://b.example:1/x"),
        ]);
        settle().await;
        nodes.set(Vec::new());
        settle().await;
    };
    tokio::select! {
        () = follow => unreachable!("the list is there"),
        () = change => {}
    }
    let told = told.into_inner().expect("whole");
    assert_eq!(
        told,
        [vec!["https://a.example", "http://b.example:1/x"], vec![]]
    );
}

#[test]
fn the_pages_policy_names_the_origins_alone() {
    let nodes = Nodes::new(Vec::new());
    assert_eq!(nodes.sources(), "");
    nodes.set(vec![
        "https://a.example/media".parse().expect("a node"),
        "http://b.example:1".parse().expect("a node"),
    ]);
    assert_eq!(nodes.sources(), " https://a.example http://b.example:1");
}
