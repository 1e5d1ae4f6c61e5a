//! Rights that somebody else gives: JWTs, whose keys the server has, and a service that is asked; and
//! a service that is told what happens. The JWTs are made and checked by PyJWT, and the services are real ones, over TCP.

#[path = "../chapters/mod.rs"]
mod chapters;
#[path = "../live/mod.rs"]
mod live;
#[path = "../running/mod.rs"]
mod running;
#[path = "../secure/mod.rs"]
mod secure;
#[path = "../recipes/steps.rs"]
mod steps;
#[path = "../support/mod.rs"]
mod support;

mod book;
mod events;
mod hook;
mod jwt;
mod service;

use running::Server;

/// A viewer is let in, and there is nothing to watch yet.
const NOBODY_PUBLISHES: u16 = 409;

/// The status of the answer to an offer.
fn status(server: &Server, path: &str, token: Option<&str>) -> u16 {
    let sdp = match path.starts_with("/whip/") {
        true => running::PUBLISH,
        false => running::WATCH,
    };
    let answer = match token {
        Some(token) => server.offer_as(path, sdp, token),
        None => server.offer(path, sdp),
    };
    answer.status().as_u16()
}

/// What is said of a channel to who shows this token: the status, and the body.
fn look(server: &Server, channel: &str, token: &str) -> (u16, serde_json::Value) {
    let request = running::agent().get(server.url(&format!("/channel/{channel}")));
    let request = request.header("authorization", format!("Bearer {token}"));
    let mut answer = request.call().expect("an answer");
    (answer.status().as_u16(), running::json(&mut answer))
}
