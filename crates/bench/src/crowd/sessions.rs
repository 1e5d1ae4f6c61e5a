//! The clients' sessions and pages: how they begin, what the HTTP side tells them, and what they do
//! about it.

use std::time::Instant;

use rekindle_client::answer::Answer;
use rekindle_client::connection::Connection;
use rekindle_client::offer::{OfferOptions, Offered};
use rekindle_client::page::{Act, Link, Page};

use super::{Crowd, Stage};
use crate::http::{JoinRequest, News, Order, What};
use crate::media::Client;
use crate::path::Parcel;

impl Crowd {
    /// After anything that may have changed a client or its page.
    pub(super) fn settle(&mut self, now: Instant, seat: usize) {
        loop {
            let place = &mut self.seats[seat];
            let Stage::In(client) = &mut place.stage else {
                return;
            };
            if client.connection.wants_to_move() {
                self.move_seat(now, seat);
                continue;
            }
            let link = link(client);
            let act = place.page.assess(now, link);
            match act {
                Some(Act::Renew) => {
                    client.renew(now);
                }
                Some(Act::Rejoin) => {
                    place.rejoined += 1;
                    self.join(seat);
                    return;
                }
                None => break,
            }
        }
        let place = &mut self.seats[seat];
        let Stage::In(client) = &mut place.stage else {
            return;
        };
        let outgoing = client.outgoing();
        let link = link(client);
        let next = [client.next_timeout(), place.page.next(now, link)]
            .into_iter()
            .flatten()
            .min();
        for data in outgoing {
            let parcel = Parcel {
                seat,
                up: true,
                life: self.life,
                data,
            };
            if let Some(parcel) = self.path.send(now, parcel) {
                self.put_on_wire(seat, &parcel.data);
            }
        }
        let place = &mut self.seats[seat];
        if let Some(next) = next
            && place.armed.is_none_or(|armed| next < armed)
        {
            place.armed = Some(next);
            self.timers.put(next, (next, seat));
        }
    }

    /// News from the HTTP side.
    pub(super) fn hear(&mut self, now: Instant, news: News) {
        let seat = news.seat;
        let way = self.settings.way;
        let place = &mut self.seats[seat];
        if place.session != news.session {
            return;
        }
        if let What::Joined(joined) = news.what {
            let stage = std::mem::replace(&mut place.stage, Stage::Failed(String::new()));
            let Stage::Joining(offered, media) = stage else {
                place.stage = stage;
                return;
            };
            place.page = Page::new(way, joined.has_stream);
            place.location = Some(joined.location);
            let manner = self.settings.manner;
            let random = self.random.fork();
            place.stage = match Answer::read(offered.role, &offered.sdp, &joined.answer) {
                Ok(answer) => {
                    let media = media.begin(&answer.media, offered.ssrcs);
                    let session = offered.agreed(&answer);
                    let connection =
                        Connection::new(manner, session, place.own, answer.server, random, now);
                    Stage::In(Box::new(Client::new(connection, media)))
                }
                Err(error) => Stage::Failed(error.to_string()),
            };
        } else if let What::Failed(why) = news.what {
            place.stage = Stage::Failed(why);
        } else if let Stage::In(client) = &place.stage {
            let link = link(client);
            match news.what {
                What::Hello(hello) => place.page.hello(now, link, hello),
                What::Seen => place.page.seen(now),
                What::Keyed => place.page.keyed(),
                What::Lost => place.page.lost(now, link),
                What::Unreachable { refused } => place.page.unreachable(refused),
                What::Gone => place.page.gone(now, link),
                What::Joined(_) | What::Failed(_) => {}
            }
        }
        self.settle(now, seat);
    }

    /// Makes a new session.
    pub(super) fn join(&mut self, seat: usize) {
        let place = &mut self.seats[seat];
        let media = match std::mem::replace(&mut place.stage, Stage::Failed(String::new())) {
            Stage::In(client) => client.media.parted(),
            Stage::Out(media) | Stage::Joining(_, media) => media,
            failed @ Stage::Failed(_) => {
                place.stage = failed;
                return;
            }
        };
        let role = media.role();
        let offered = Offered::new(role, OfferOptions::new(role), &mut self.random);
        place.session += 1;
        let order = JoinRequest {
            seat,
            session: place.session,
            role,
            offer: offered.sdp.clone(),
            leave: place.location.take(),
        };
        place.stage = Stage::Joining(Box::new(offered), media);
        // Without a receiver the run is over.
        let _ = self.orders.send(Order::Join(order));
    }
}

fn link(client: &Client) -> Link {
    let connection = &client.connection;
    Link {
        handshakes: connection.handshakes,
        connected: connection.is_connected(),
        rtt: connection.rtt(),
        heard: client
            .media
            .viewer()
            .and_then(|viewer| viewer.last())
            .map(|(_, at)| at),
        mixes: connection.mixes(),
        sent: connection.sent_at(),
        broken: connection.is_broken(),
    }
}
