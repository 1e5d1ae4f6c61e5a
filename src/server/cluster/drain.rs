//! Maintenance: a node gives all its peers away, and ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::app::App;
use super::Cluster;
use crate::broadcast::Departure;
use crate::ids::{Role, Ufrag};

/// Interval between checks which peers have gone.
const LOOK: Duration = Duration::from_millis(200);
/// How long peers that were told within one second may take before the next are told, so that
/// slower nodes are not given more at once. Viewers wait as long for publishers.
const WAVE: Duration = Duration::from_secs(3);
/// Pages that have not gone this long after the last was told will not go: they reach no other
/// node. The next start awaits them, as after any end of the server.
const LIMIT: Duration = Duration::from_secs(15);
/// Interval at which progress is reported at least.
const NEWS: Duration = Duration::from_secs(1);

/// The progress of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::server) struct Progress {
    /// Peers that were here when it began.
    pub peers: usize,
    /// Those whose pages are still here.
    pub left: usize,
    /// Peers without a page that listens, such as plain clients: they go nowhere, and are removed
    /// when the server ends.
    pub without_page: usize,
    /// Whether no other node is alive, so that nobody is sent away now.
    pub waiting: bool,
    /// Whether all is done, and the server ends.
    pub done: bool,
}

/// Reports progress to those that asked for the drain.
pub(in crate::server) struct Drain(watch::Sender<Progress>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Begins, with this many peers.
    pub(in crate::server) fn begin(&self, peers: usize) {
        self.0.send_replace(Progress {
            peers,
            left: peers,
            ..Progress::default()
        });
    }

    /// The progress from now until the end.
    pub(in crate::server) fn follow(&self) -> impl Stream<Item = Progress> + use<> {
        let mut news = self.0.subscribe();
        news.mark_changed();
        stream::unfold(Some(news), |news| async {
            let mut news = news?;
            // The sender is gone, or nothing has changed: the same is reported again.
            let _ = timeout(NEWS, news.changed()).await;
            let progress = *news.borrow_and_update();
            Some((progress, (!progress.done).then_some(news)))
        })
    }
}

/// Tells all pages to continue at another node, at most this many a second and no faster than they
/// go, and waits until they do. Publishers come first, since viewers do not stay at a node without
/// their publisher.
pub(in crate::server) async fn drain(app: &Arc<App>, cluster: &Cluster, a_second: NonZeroU32) {
    tracing::info!("the peers of this node are sent to other nodes");
    let mut drain = Draining {
        app,
        cluster,
        a_second,
        without_page: Vec::new(),
    };
    let publishers = drain.give_away(Role::Publisher, WAVE).await;
    let mut pages = drain.give_away(Role::Viewer, LIMIT).await;
    pages.extend(publishers);
    let left = drain.still_here(pages).await.len();
    let (progress, said) = (drain.progress(false), &cluster.drain.0);
    tracing::info!(
        left,
        without_page = progress.without_page,
        "the node has given its peers away, and ends"
    );
    said.send_replace(Progress {
        done: true,
        left,
        ..progress
    });
}

struct Draining<'a> {
    app: &'a Arc<App>,
    cluster: &'a Cluster,
    a_second: NonZeroU32,
    /// No page of theirs was listening when they were told, and they are still here.
    without_page: Vec<Ufrag>,
}

impl Draining<'_> {
    /// Gives away the peers of one role. Once all have been told, waits for those with a page, at
    /// most for `limit`. Returns those that have not gone.
    async fn give_away(&mut self, role: Role, limit: Duration) -> Vec<Ufrag> {
        let all = self.app.sessions.of_role(role);
        let pause = Duration::from_secs(1) / self.a_second.get();
        let mut slow = Vec::new();
        let mut unheard = false;
        for wave in all.chunks(self.a_second.get() as usize) {
            self.another_node().await;
            let mut told = Vec::new();
            for ufrag in wave {
                match self.app.sessions.send_away(ufrag) {
                    true => told.push(ufrag.clone()),
                    false => {
                        unheard = true;
                        self.without_page.push(ufrag.clone());
                    }
                }
                sleep(pause).await;
            }
            slow.extend(self.wait(told, WAVE).await);
        }
        if unheard {
            // A page whose stream has just been cut learns of it when it asks again.
            let alone = self.without_page.clone();
            self.without_page = self.wait(alone, WAVE).await;
        }
        self.wait(slow, limit).await
    }

    /// Waits until there is a node to send peers to.
    async fn another_node(&self) {
        while self.cluster.channels.another().is_none() {
            self.tell(true);
            sleep(LOOK).await;
        }
    }

    /// Waits until these have gone, at most for `limit`. Returns those that have not.
    async fn wait(&self, mut all: Vec<Ufrag>, limit: Duration) -> Vec<Ufrag> {
        let end = Instant::now() + limit;
        loop {
            all = self.still_here(all).await;
            self.tell(false);
            if all.is_empty() || Instant::now() >= end {
                return all;
            }
            sleep(LOOK).await;
        }
    }

    /// Removes those that another node has taken over. Returns the others.
    async fn still_here(&self, all: Vec<Ufrag>) -> Vec<Ufrag> {
        if all.is_empty() {
            return all;
        }
        let (vault, wanted) = (self.app.vault.clone(), all.clone());
        let owned = tokio::task::spawn_blocking(move || vault.owns_each(&wanted)).await;
        let Ok(Ok(owned)) = owned else {
            // It is asked again.
            return all;
        };
        let mut left = Vec::new();
        for (ufrag, owned) in all.into_iter().zip(owned) {
            if owned {
                left.push(ufrag);
            } else {
                // An error says that the server is stopping.
                let _ = self.app.net.leave(&ufrag).await;
                self.app.sessions.remove(&ufrag, Departure::Left);
            }
        }
        left
    }

    fn of(&self, role: Role) -> usize {
        self.app.sessions.of_role(role).len()
    }

    fn progress(&self, waiting: bool) -> Progress {
        let here = self.of(Role::Publisher) + self.of(Role::Viewer);
        let without_page = self.without_page.len();
        Progress {
            peers: self.cluster.drain.0.borrow().peers,
            left: here.saturating_sub(without_page),
            without_page,
            waiting,
            done: false,
        }
    }

    fn tell(&self, waiting: bool) {
        let now = self.progress(waiting);
        self.cluster.drain.0.send_if_modified(|said| {
            let news = *said != now;
            *said = now;
            news
        });
    }
}
