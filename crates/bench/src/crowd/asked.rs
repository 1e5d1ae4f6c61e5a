//! What a run can ask of the clients.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use mio::{Interest, Token};
use rekindle_client::connection::Connection;
use rekindle_client::page::Page;
use rekindle_ids::Role;

use super::wire::bind;
use super::{Crowd, Seat, Stage};
use crate::media::{Life, Media, Watcher};

/// A client as it is seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub connected: bool,
    /// Whether its page has nothing to do about a restart.
    pub at_rest: bool,
    pub failed: Option<String>,
    pub rejoined: u32,
}

impl Crowd {
    /// A new client joins, reached from this machine's address that leads to `server`.
    pub(crate) fn add(&mut self, media: Media, server: IpAddr) -> io::Result<usize> {
        let (mut socket, state, own) = bind(server)?;
        let seat = self.seats.len();
        self.registry
            .register(&mut socket, Token(seat), Interest::READABLE)?;
        if media.role() == Role::Publisher {
            self.publishers.push(seat);
        }
        self.seats.push(Seat {
            socket,
            state,
            own,
            stage: Stage::Out(media),
            page: Page::new(self.settings.way, true),
            session: 0,
            location: None,
            armed: None,
            rejoined: 0,
        });
        self.join(seat);
        Ok(seat)
    }

    /// The server was killed: from now on, datagrams are from its next life. Everything that it
    /// sent before has been read.
    pub(crate) fn next_life(&mut self) -> Life {
        for seat in 0..self.seats.len() {
            self.receive(seat);
        }
        self.life += 1;
        self.life
    }

    /// The present state of a client.
    pub(crate) fn sight(&self, seat: usize) -> Sight {
        let place = &self.seats[seat];
        let (connected, failed) = match &place.stage {
            Stage::In(client) => (client.connection.is_connected(), None),
            Stage::Failed(why) => (false, Some(why.clone())),
            _ => (false, None),
        };
        Sight {
            connected,
            at_rest: place.page.is_at_rest(),
            failed,
            rejoined: place.rejoined,
        }
    }

    /// What a client receives or sends.
    pub(crate) fn media(&self, seat: usize) -> Option<&Media> {
        match &self.seats[seat].stage {
            Stage::In(client) => Some(&client.media),
            Stage::Out(media) | Stage::Joining(_, media) => Some(media),
            Stage::Failed(_) => None,
        }
    }

    pub(crate) fn viewer(&self, seat: usize) -> Option<&Watcher> {
        self.media(seat)?.viewer()
    }

    pub(crate) fn viewer_mut(&mut self, seat: usize) -> Option<&mut Watcher> {
        match &mut self.seats[seat].stage {
            Stage::In(client) => client.media.viewer_mut(),
            Stage::Out(media) | Stage::Joining(_, media) => media.viewer_mut(),
            Stage::Failed(_) => None,
        }
    }

    pub(crate) fn connection(&self, seat: usize) -> Option<&Connection> {
        match &self.seats[seat].stage {
            Stage::In(client) => Some(&client.connection),
            _ => None,
        }
    }

    /// Renews a client's keys although nothing happened.
    pub(crate) fn renew(&mut self, now: Instant, seat: usize) {
        if let Stage::In(client) = &mut self.seats[seat].stage {
            client.renew(now);
        }
        self.settle(now, seat);
    }

    /// All make new sessions, as if the server had lost them.
    pub(crate) fn rejoin_all(&mut self) {
        for seat in 0..self.seats.len() {
            self.seats[seat].rejoined += 1;
            self.join(seat);
        }
    }
}
