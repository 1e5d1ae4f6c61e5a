//! What a node that takes a channel from another one adds to the delay: one publisher, and a viewer
//! at each of two nodes, which share a vault in an etcd of their own. Of each packet, when both
//! viewers have it.
//!
//!     cargo bench --features etcd --bench pull

#[path = "../tests/live/mod.rs"]
mod live;
#[path = "../tests/nodes/mod.rs"]
mod nodes;
#[path = "../tests/running/mod.rs"]
mod running;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use live::{Live, run_until_connected, run_until_more_video};
use nodes::Cluster;
use rekindle::ids::Role;
use rekindle::sdp::Kind;
use running::{Server, WATCH, until};

/// How long packets are counted.
const TIME: Duration = Duration::from_secs(30);

/// When packets came, by kind and number.
fn arrivals(viewer: &Live) -> BTreeMap<(bool, u64), Instant> {
    let mut all = BTreeMap::new();
    for kind in [Kind::Audio, Kind::Video] {
        let stream = viewer.client.receiver().stream(kind).expect("a stream");
        let got = stream.got.iter().filter(|(_, got)| !got.by_rtx);
        all.extend(got.map(|(index, got)| ((kind == Kind::Video, *index), got.at)));
    }
    all
}

fn say(what: &str, mut delays: Vec<Duration>) -> [Duration; 2] {
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let shown = [0.5, 0.95, 0.99].map(|share| format!("{:.2}", 1e3 * at(share).as_secs_f64()));
    println!(
        "{what}: {} packets, {} ms in the median, {} at 95 %, {} at 99 %",
        delays.len(),
        shown[0],
        shown[1],
        shown[2]
    );
    [at(0.5), at(0.99)]
}

fn main() {
    let cluster = Cluster::new();
    let start = |node| Server::start_as(cluster.command(node).args(["--pull", "1"]));
    let (a, b) = (start("a"), start("b"));
    let mut publisher = Live::join(&a, Role::Publisher, "news", 1);
    run_until_connected(&mut [&mut publisher]);
    until("b takes the channel", || {
        b.offer("/whep/news", WATCH).status() == 201
    });
    let mut near = Live::join(&a, Role::Viewer, "news", 2);
    let mut far = Live::join(&b, Role::Viewer, "news", 3);
    run_until_connected(&mut [&mut publisher, &mut near, &mut far]);
    run_until_more_video(&mut [&mut publisher, &mut near, &mut far], 100);

    let begin = Instant::now();
    let mut turn = false;
    while begin.elapsed() < TIME {
        // Whoever is looked after first sees its packets sooner.
        turn = !turn;
        let viewers = match turn {
            true => [&mut near, &mut far],
            false => [&mut far, &mut near],
        };
        for one in viewers.into_iter().chain([&mut publisher]) {
            one.take_in();
            one.send_out();
        }
        std::thread::yield_now();
    }

    let far = arrivals(&far);
    let both: Vec<_> = arrivals(&near)
        .into_iter()
        .filter(|(_, at)| *at >= begin)
        .filter_map(|(key, near)| Some((key, near, *far.get(&key)?)))
        .collect();
    let sent = |(is_video, index): (bool, u64)| {
        let kind = if is_video { Kind::Video } else { Kind::Audio };
        publisher.client.sender().stream(kind).sent[&index].at
    };
    let direct = both
        .iter()
        .map(|(key, near, _)| near.saturating_duration_since(sent(*key)));
    let pulled = both
        .iter()
        .map(|(key, _, far)| far.saturating_duration_since(sent(*key)));
    let more = both
        .iter()
        .map(|(_, near, far)| far.saturating_duration_since(*near));
    let direct = say("at the publisher's node", direct.collect());
    let pulled = say("at the node that takes it", pulled.collect());
    say("what that adds", more.collect());
    let ratio = |at: usize| pulled[at].as_secs_f64() / direct[at].as_secs_f64();
    println!(
        "ratio: {:.2} in the median, {:.2} at 99 %",
        ratio(0),
        ratio(1)
    );
}
