//! How the world's time passes.

use std::time::{Duration, Instant};

use rekindle::broadcast::Broadcast;

use super::network::Datagram;
use super::reading::Reader;
use super::world::{Id, World};

impl World {
    /// Lets the world run for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_while(end, |_| true);
        self.now = end;
    }

    /// Lets the world run until this holds, for 30 s at most; how long it took.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Duration {
        let begin = self.now;
        let end = begin + Duration::from_secs(30);
        self.run_while(end, |world| !holds(world));
        assert!(self.now < end, "not within 30 s: {what}");
        self.now - begin
    }

    pub fn run_until_connected(&mut self, ids: &[Id]) -> Duration {
        self.run_until("all are connected", |world| {
            ids.iter().all(|id| world.client(*id).is_connected())
        })
    }

    fn run_while(&mut self, end: Instant, mut on: impl FnMut(&mut Self) -> bool) {
        // What a test has put into a client's hands is to go out first.
        self.flush();
        while on(self) {
            let clients = (0..self.clients.len()).filter(|id| !self.is_closed(*id));
            let next = clients
                .filter_map(|id| self.clients[id].next_timeout())
                .chain(self.network.next())
                .chain(self.server_timeout())
                .chain(self.workers.next_timeout())
                .chain(
                    self.reader
                        .as_ref()
                        .and_then(Reader::next_timeout)
                        .filter(|_| self.is_up()),
                )
                .chain(self.notices.iter().map(|(at, _)| *at))
                .min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    return;
                }
            }
            self.step();
        }
    }

    /// Does all that is due now, the network first.
    fn step(&mut self) {
        let now = self.now;
        while let Some(datagram) = self.network.arrive(now) {
            self.deliver(datagram);
            self.flush();
        }
        let (due, later) = std::mem::take(&mut self.notices)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.notices = later;
        let due: Vec<(Instant, usize)> = due;
        for (_, id) in due {
            if self.clients[id].has_page {
                self.clients[id].renew(now);
            }
        }
        self.read_records();
        self.finish_jobs(now);
        self.let_server_work();
        for id in 0..self.clients.len() {
            if !self.is_closed(id) && self.clients[id].next_timeout().is_some_and(|at| at <= now) {
                self.clients[id].handle_timeout(now);
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        for id in 0..self.clients.len() {
            let from = self.clients[id].address;
            let out = self.clients[id].outgoing();
            if self.is_closed(id) {
                continue;
            }
            for data in out {
                let datagram = Datagram {
                    from,
                    to: self.server_address,
                    data,
                };
                if let Some(random) = datagram.client_random() {
                    let number = self.clients[id].handshakes_started;
                    if self.attempts.insert(random, (id, number)).is_none() {
                        self.note(|| format!("browser {id}: attempt {number} begins"));
                    }
                }
                self.network.send(self.now, datagram);
            }
        }
    }
}
