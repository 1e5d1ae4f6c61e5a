//! Nodes that take channels from each other: a viewer is answered where it asks, and goes on
//! whichever of the nodes is killed.
#![cfg(feature = "etcd")]

mod live;
mod nodes;
mod running;
mod support;

use std::time::Duration;

use live::{Live, renew, run_for, run_until, run_until_connected, run_until_more_video};
use nodes::{Cluster, until};
use rekindle::ids::Role;
use running::{PUBLISH, Server, WATCH, header};

/// A node that takes channels from others.
fn start(cluster: &Cluster, node: &str) -> Server {
    Server::start_as(cluster.command(node).args(["--pull", "4"]))
}

/// Waits until a node is told of another one.
fn knows(server: &Server, other: &str) {
    let url = format!("http://{other}.example/");
    until("the node knows the other one", || {
        let policy = server.get("/");
        header(&policy, "content-security-policy").contains(url.trim_end_matches('/'))
    });
}

/// A publisher at one node and a viewer at another.
fn broadcast(a: &Server, b: &Server) -> (Live, Live) {
    let mut publisher = Live::join(a, Role::Publisher, "news", 1);
    run_until_connected(&mut [&mut publisher]);
    let mut viewer = Live::join(b, Role::Viewer, "news", 2);
    run_until_connected(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 50);
    (publisher, viewer)
}

#[test]
fn a_viewer_sees_a_publisher_of_another_node() {
    let cluster = Cluster::new();
    let (a, b) = (start(&cluster, "a"), start(&cluster, "b"));
    knows(&b, "a");
    let (mut publisher, mut viewer) = broadcast(&a, &b);
    assert_eq!(cluster.etcd.keys("vault/pulls/").len(), 1);
    run_for(&mut [&mut publisher, &mut viewer], Duration::from_secs(1));
    let receiver = viewer.client.receiver();
    assert!(
        !receiver.reports.is_empty(),
        "sender reports come, for lip sync"
    );
    assert_eq!(receiver.streams.len(), 2, "sound and picture");
    // Nobody watches any more.
    assert_eq!(b.delete(&viewer.session).status(), 200);
    run_until(&mut [&mut publisher], "the channel is let go", |_| {
        cluster.etcd.keys("vault/pulls/").is_empty() && cluster.records() == 1
    });
}
