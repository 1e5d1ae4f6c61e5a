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

/// How often it is looked who has gone.
const LOOK: Duration = Duration::from_millis(200);
/// So long those that were told within a second have, before the next are told: other nodes that
/// need longer for them are not given more at once. Viewers wait so long for publishers too.
const WAVE: Duration = Duration::from_secs(3);
/// Pages that have not gone so long after the last was told do not go: they reach no other node.
/// They are awaited by the next start, as after any end of the server.
const LIMIT: Duration = Duration::from_secs(15);
/// Who asks how far it is hears so at least this often.
const NEWS: Duration = Duration::from_secs(1);

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::server) struct Progress {
    /// Peers that were here when it began.
    pub peers: usize,
    /// Those whose pages are still here.
    pub left: usize,
    /// Peers without a page that listens, such as clients of others: they go nowhere, and are let
    /// go with the server's end.
    pub without_page: usize,
    /// No other node is alive, so that nobody is sent away now.
    pub waiting: bool,
    /// All is done, and the server ends.
    pub done: bool,
}

/// What whoever asks for a drain learns.
pub(in crate::server) struct Drain(watch::Sender<Progress>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// It begins, with so many peers.
    pub(in crate::server) fn begin(&self, peers: usize) {
        self.0.send_replace(Progress {
            peers,
            left: peers,
            ..Progress::default()
        });
    }

    /// From how it is now to its end.
    pub(in crate::server) fn follow(&self) -> impl Stream<Item = Progress> + use<> {
        let mut news = self.0.subscribe();
        news.mark_changed();
        stream::unfold(Some(news), |news| async {
            let mut news = news?;
            // Nobody who could say more is left, or nothing is new: the same is said again.
            let _ = timeout(NEWS, news.changed()).await;
            let progress = *news.borrow_and_update();
            Some((progress, (!progress.done).then_some(news)))
        })
    }
}

/// Tells all pages, so many a second and no faster than they go, to go on at another node, and waits
/// until they do: first those of publishers, since a viewer stays nowhere where its publisher is
/// not.
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
    /// Gives those of one role away. Once all have been told it waits for those with a page, at most
    /// so long. Gives those that have not gone.
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
            // A page whose stream was cut a moment ago learns of it when it asks again.
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

    /// Waits until these have gone, at most so long. Gives those that have not.
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

    /// Forgets those that another node has taken over by now. Gives the rest.
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
