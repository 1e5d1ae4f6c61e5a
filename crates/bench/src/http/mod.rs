//! The HTTP side of all clients: sessions by WHIP and WHEP, and their event streams, with the delay
//! of the way to the server. The rhythm of attempts is that of `rekindle.js`.

mod events;
mod post;
mod request;

use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use mio::Waker;
use rekindle_client::page::Hello;
use rekindle_client::random::Random;
use rekindle_ids::Role;
use tokio::sync::mpsc as async_mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::target::Target;

pub(crate) use post::{Posted, post};
pub(crate) use request::request;

/// As in `rekindle.js`: how long until the next attempt to open the event stream, and how long one
/// may take.
const RETRY: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];
const ATTEMPT: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(4000)];

/// A client's new session.
pub(crate) struct JoinRequest {
    pub seat: usize,
    pub session: u32,
    pub role: Role,
    pub offer: String,
    /// The session to leave.
    pub leave: Option<String>,
}

/// Requests of the clients to the HTTP side.
pub(crate) enum Order {
    Join(JoinRequest),
}

/// Results and events from the HTTP side.
#[derive(Debug)]
pub(crate) struct News {
    pub seat: usize,
    pub session: u32,
    /// When it has arrived at the client.
    pub at: Instant,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The session exists.
    Joined(Joined),
    /// The session was refused.
    Failed(String),
    /// First event of a stream: which process answers, whether it has keys, and whether a handshake
    /// is under way.
    Hello(Hello),
    /// A handshake has begun.
    Seen,
    /// The server has keys now.
    Keyed,
    /// The stream has ended.
    Lost,
    /// The stream cannot be opened.
    Unreachable { refused: bool },
    /// The server does not know the session.
    Gone,
}

/// A session that was made.
#[derive(Debug)]
pub(crate) struct Joined {
    pub answer: String,
    pub location: String,
    pub has_stream: bool,
}

/// The settings of the HTTP side.
#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub target: Target,
    /// Delay of the way in one direction.
    pub one_way: Duration,
    /// Pause after a temporary refusal.
    pub retry: Duration,
    pub seed: u64,
}

/// Serves the orders of a crowd until it ends.
pub(crate) fn serve(
    settings: HttpSettings,
    mut orders: async_mpsc::UnboundedReceiver<Order>,
    news: mpsc::Sender<News>,
    waker: Arc<Waker>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let settings = Arc::new(settings);
    runtime.block_on(async {
        let mut tasks: Vec<Option<JoinHandle<()>>> = Vec::new();
        while let Some(Order::Join(join)) = orders.recv().await {
            let seat = join.seat;
            if tasks.len() <= seat {
                tasks.resize_with(seat + 1, || None);
            }
            let visitor = Visitor {
                random: Random::new(
                    settings.seed ^ ((seat as u64) << 32) ^ u64::from(join.session),
                ),
                settings: settings.clone(),
                seat,
                session: join.session,
                news: news.clone(),
                waker: waker.clone(),
            };
            if let Some(old) = tasks[seat].replace(tokio::spawn(visitor.run(join))) {
                old.abort();
            }
        }
    });
    runtime.shutdown_background();
    Ok(())
}

/// One session of one client.
struct Visitor {
    settings: Arc<HttpSettings>,
    seat: usize,
    session: u32,
    news: mpsc::Sender<News>,
    waker: Arc<Waker>,
    random: Random,
}

impl Visitor {
    async fn run(mut self, join: JoinRequest) {
        if let Some(old) = &join.leave {
            let _ = timeout(
                ATTEMPT[0],
                self.request(Method::DELETE, old, Body::empty(), &[]),
            )
            .await;
        }
        let Some((answer, events)) = self.join(&join).await else {
            return;
        };
        let has_stream = events.is_some();
        self.tell(What::Joined(Joined {
            has_stream,
            ..answer
        }));
        if let Some(events) = events {
            self.listen(&events).await;
        }
    }

    fn tell(&self, what: What) {
        let news = News {
            seat: self.seat,
            session: self.session,
            at: Instant::now() + self.settings.one_way,
            what,
        };
        // Without a receiver the run is over.
        let _ = self.news.send(news);
        let _ = self.waker.wake();
    }

    /// Posts the offer until the server takes it.
    async fn join(&mut self, join: &JoinRequest) -> Option<(Joined, Option<String>)> {
        let mut tries = 0;
        loop {
            let settings = &self.settings;
            let posted = post(&settings.target, settings.one_way, join.role, &join.offer).await;
            tries += 1;
            match posted {
                Posted::Joined(joined, events) => return Some((joined, events)),
                Posted::NoAnswer => {
                    sleep(self.retry_delay(tries * Duration::from_millis(50))).await;
                }
                Posted::Later => {
                    // The publisher is not back yet, or the old one is not gone yet.
                    let jitter = 0.9 + 0.2 * (self.random.below(1000) as f64 / 1000.0);
                    sleep(self.settings.retry.mul_f64(jitter)).await;
                }
                Posted::Refused(why) => {
                    self.tell(What::Failed(why));
                    return None;
                }
            }
        }
    }
}
