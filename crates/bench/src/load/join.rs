//! How clients join: offers by WHIP or WHEP, many at once, and the answers to them.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use futures_util::{StreamExt, stream};
use rekindle_client::answer::Answer;
use rekindle_client::offer::{OfferOptions, Offered};
use rekindle_client::random::Random;
use rekindle_ids::Role;
use rekindle_sdp::Media as Section;
use tokio::time::sleep;

use super::group::{Newcomer, Timed};
use crate::error::BenchError;
use crate::http::{Posted, post, request};
use crate::target::Target;

/// Offers under way at once.
const AT_ONCE: usize = 32;
/// Pause before an offer is repeated after a temporary refusal.
const RETRY: Duration = Duration::from_millis(100);
/// A server that accepts no client for this time accepts none.
const PATIENCE: Duration = Duration::from_secs(60);

/// The HTTP side of all clients.
pub(crate) struct Door {
    runtime: tokio::runtime::Runtime,
    target: Target,
    random: Random,
}

impl Door {
    /// # Errors
    /// Where the system gives no runtime.
    pub(crate) fn new(target: Target, random: Random) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::system("cannot start the clients' HTTP side"))?;
        Ok(Self {
            runtime,
            target,
            random,
        })
    }

    /// Joins this many clients, each of which is passed to `seat`. `media` makes a client's media
    /// from what was agreed on, and from its SSRCs (audio, video, RTX of video).
    ///
    /// # Errors
    /// Where the server refuses one of them, or `seat` fails.
    pub(crate) fn join<M: Timed>(
        &mut self,
        role: Role,
        count: usize,
        media: impl Fn(&[Section], (u32, u32, u32)) -> M,
        mut seat: impl FnMut(Newcomer<M>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        let (target, random) = (&self.target, &mut self.random);
        // Made one by one when they are needed: each has a key pair of its own.
        let offers = (0..count).map(|_| Offered::new(role, OfferOptions::new(role), random));
        let asked = offers.map(|offered| ask(target, offered, deadline));
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        self.runtime.block_on(async {
            while let Some(answered) = answers.next().await {
                let (offered, answer, location) = answered?;
                seat(Newcomer {
                    server: answer.server,
                    media: media(&answer.media, offered.ssrcs),
                    session: offered.agreed(&answer),
                    location,
                })?;
            }
            Ok(())
        })
    }

    /// Leaves sessions. One that cannot be left ends when its client is silent.
    pub(crate) fn leave(&self, locations: Vec<String>) {
        let target = &self.target;
        let left = locations.into_iter().map(|location| async move {
            let none = Duration::ZERO;
            let _ = request(target, none, Method::DELETE, &location, Body::empty(), &[]).await;
        });
        let all = stream::iter(left).buffer_unordered(AT_ONCE);
        self.runtime.block_on(all.collect::<()>());
    }
}

/// Posts an offer until the server takes it.
async fn ask(
    target: &Target,
    offered: Offered,
    deadline: Instant,
) -> Result<(Offered, Answer, String), BenchError> {
    loop {
        match post(target, Duration::ZERO, offered.role, &offered.sdp).await {
            Posted::Joined(joined, _) => {
                let answer = Answer::read(offered.role, &offered.sdp, &joined.answer);
                let answer = answer.map_err(|error| BenchError::Clients(error.to_string()))?;
                return Ok((offered, answer, joined.location));
            }
            Posted::Refused(why) => return Err(BenchError::Clients(why)),
            Posted::Later | Posted::NoAnswer if Instant::now() < deadline => sleep(RETRY).await,
            Posted::Later => {
                return Err(BenchError::Clients(
                    "the server goes on refusing new sessions for now; see its limits".to_owned(),
                ));
            }
            Posted::NoAnswer => {
                return Err(BenchError::Clients(
                    "the server does not answer; see whether it runs at this address".to_owned(),
                ));
            }
        }
    }
}
