//! The server's process: what reaches it, what it reads, and what it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rekindle::broadcast::{Broadcast, Event, Routed};
use rekindle::ids::{Role, Ufrag};
use rekindle::peer::{Dtls, Transmit};
use rekindle::sdp;

use super::network::Datagram;
use super::reading::{Read, Reader};
use super::world::{Id, Spoiling, World};

impl World {
    /// Starts a new process: nothing of the old one is there but the identity and the records,
    /// which are read from now on.
    pub fn start_server(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        self.boots += 1;
        let dtls = Dtls::new(&self.certificate.der, &self.certificate.key).unwrap();
        let seed = [self.boots; 32];
        let mut server = Broadcast::new(self.config.clone(), Arc::new(dtls), seed, self.now);
        server.await_records();
        self.server = Some(server);
        let names = self.records.keys().cloned().collect();
        self.reader = Some(Reader::new(self.reading, names, &mut self.random, self.now));
        self.heard.clear();
        self.shown.clear();
        self.queued.clear();
        self.note(|| "the server starts".into());
        self.read_records();
    }

    /// Gives the server what has been read by now.
    pub(super) fn read_records(&mut self) {
        let now = self.now;
        while let (Some(server), Some(read)) = (
            &mut self.server,
            self.reader.as_mut().and_then(|r| r.poll(now)),
        ) {
            let mut out = Vec::new();
            let what = match read {
                Read::All => {
                    server.all_records_read();
                    "all records are read".to_owned()
                }
                Read::Record(ufrag) if self.unreadable.contains(&ufrag) => {
                    server.skip_record(&ufrag);
                    format!("the record of {ufrag} cannot be read")
                }
                Read::Record(ufrag) => match self.records.get(&ufrag) {
                    Some(record) => {
                        server.take_record(now, rekindle::net::recorded(record), &mut out);
                        format!("the record of {ufrag} is read")
                    }
                    None => format!("there is no record of {ufrag}"),
                },
            };
            self.note(|| what);
            self.after_server(out);
        }
    }

    /// Has the server do what is due, one handshake after the other.
    pub(super) fn let_server_work(&mut self) {
        let now = self.now;
        self.give_jobs();
        while self.server_timeout().is_some_and(|at| at <= now) {
            let mut out = Vec::new();
            self.server().handle_timeout(now, &mut out);
            // With one handshake each time it is a publisher's turn, as long as one waits.
            let publishers_turn = self.queued.pop_front().is_some();
            if out
                .iter()
                .any(|transmit| matches!(transmit.data.first(), Some(20..=63)))
            {
                self.busy_until = now + self.handshake_time;
            }
            let viewers = self.viewers_begun(out);
            if publishers_turn {
                self.served_before_publishers.extend(viewers);
            }
            self.give_jobs();
        }
    }

    /// The viewers whose handshakes the server has just begun.
    fn viewers_begun(&mut self, out: Vec<Transmit>) -> Vec<Ufrag> {
        let before = self.events.len();
        self.after_server(out);
        let begun = self.events[before..]
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Handshake { ufrag } => Some(ufrag),
                _ => None,
            });
        let is_viewer = |ufrag: &&Ufrag| {
            self.records
                .get(*ufrag)
                .is_some_and(|r| r.role == Role::Viewer)
        };
        begun.filter(is_viewer).cloned().collect()
    }

    /// Gives the workers as much as they take, publishers' jobs first.
    fn give_jobs(&mut self) {
        let now = self.now;
        let mut viewers = Vec::new();
        while self.workers.has_room()
            && let Some(job) = self.server.as_mut().and_then(|server| server.poll_job(now))
        {
            if job.role() == Role::Publisher {
                self.served_before_publishers.append(&mut viewers);
            }
            self.workers.begin(now, job);
            viewers.extend(self.viewers_begun(Vec::new()));
        }
    }

    /// Gives the server what the workers have done by this time.
    pub(super) fn finish_jobs(&mut self, by: Instant) {
        let now = self.now;
        while let Some(job) = self.workers.take(by) {
            let mut out = Vec::new();
            self.server().job_done(now, job.run(), &mut out);
            self.after_server(out);
        }
    }

    /// When the server wants to be called next, and can be.
    pub(super) fn server_timeout(&self) -> Option<Instant> {
        let next = self.server.as_ref().and_then(Broadcast::next_timeout);
        next.map(|next| next.max(self.busy_until))
    }

    pub(super) fn deliver(&mut self, datagram: Datagram) {
        if datagram.to == self.server_address {
            if self.server.is_some() {
                self.reach_server(&datagram);
            }
            return;
        }
        let at = self
            .clients
            .iter()
            .position(|client| client.address.ip() == datagram.to.ip());
        match at {
            Some(id) => self.reach_client(id, &datagram),
            None => self.stray.push(datagram),
        }
    }

    fn reach_server(&mut self, datagram: &Datagram) {
        let now = self.now;
        let attempt = datagram
            .client_random()
            .and_then(|random| self.attempts.get(&random).copied());
        if let Some((id, number)) = attempt {
            self.heard.entry((id, number)).or_insert(now);
            if datagram.has_cookie() {
                self.shown.entry((id, number)).or_insert(now);
            }
            self.note(|| {
                format!("browser {id}: the ClientHello of attempt {number} is at the server")
            });
        }
        if self.handshake_time.is_zero() {
            let mut out = Vec::new();
            self.server()
                .handle(now, datagram.from, &datagram.data, &mut out);
            self.after_server(out);
            return self.let_server_work();
        }
        let mut out = Vec::new();
        let routed = self
            .server()
            .handle(now, datagram.from, &datagram.data, &mut out);
        if let Some((id, _)) = attempt.filter(|_| routed == Routed::Answered && out.is_empty())
            && self.clients[id].role == Role::Publisher
            // What comes while a job is out does not wait for its turn yet.
            && !self.workers.are_there()
            && !self.queued.contains(&datagram.from)
        {
            self.queued.push_back(datagram.from);
        }
        self.after_server(out);
    }

    fn reach_client(&mut self, id: usize, datagram: &Datagram) {
        let now = self.now;
        let client = &mut self.clients[id];
        let (before, present) = (client.late_answers.len(), client.handshakes_started);
        client.handle(now, datagram.to, &datagram.data);
        let is = (client.has_failed(), client.is_connected());
        if datagram.is_dtls() {
            let length = datagram.data.len();
            self.note(|| {
                format!(
                    "browser {id}: {length} bytes of DTLS come in attempt {present}; failed: {}, \
                     has keys: {}",
                    is.0, is.1
                )
            });
        }
        let client = &self.clients[id];
        let late: Vec<u64> = client.late_answers[before..]
            .iter()
            .map(|(number, _)| *number)
            .collect();
        for answers in late {
            self.note(|| {
                format!("browser {id}: in attempt {present}, an answer to attempt {answers} comes")
            });
            let heard = |number| self.heard.get(&(id, number)).copied();
            let shown = self.shown.get(&(id, answers)).copied();
            let sent = self.sent.get(&datagram.data).copied();
            // What was sent before the present attempt was heard of cannot be helped, nor that
            // attempts come in another order; and who shows a cookie is a browser, while the
            // attempt that came meanwhile may be anybody's.
            if let (Some(sent), Some(later), Some(earlier)) = (sent, heard(present), heard(answers))
                && earlier.max(shown.unwrap_or(earlier)) < later
                && later <= sent
            {
                self.spoilings.push(Spoiling {
                    client: Id(id),
                    answers,
                    present,
                });
            }
        }
    }

    /// Gives the server a datagram, and the time for all that it makes it do.
    fn hand_in(&mut self, from: SocketAddr, data: &[u8]) -> (Routed, Vec<Transmit>) {
        let now = self.now;
        let mut out = Vec::new();
        // Jobs that are out may be those of its address.
        while let Some(at) = self.workers.next_timeout() {
            self.finish_jobs(at);
        }
        let routed = self.server().handle(now, from, data, &mut out);
        while self.server().next_timeout().is_some_and(|at| at <= now) {
            self.server().handle_timeout(now, &mut out);
        }
        (routed, out)
    }

    /// Whether the thread that reads records has come to its end.
    pub fn has_read_all(&mut self) -> bool {
        self.reader.as_ref().is_some_and(Reader::has_ended)
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let at = self.now - self.start;
        if let Some(journal) = &mut self.journal {
            journal.push(format!("{:>9.3} ms  {}", at.as_secs_f64() * 1000.0, what()));
        }
    }

    /// A datagram from anywhere, at once, and what the server answers to it (which is not
    /// delivered).
    pub fn attack(&mut self, from: SocketAddr, data: &[u8]) -> (Routed, Vec<Transmit>) {
        let (routed, out) = self.hand_in(from, data);
        self.after_server(Vec::new());
        (routed, out)
    }

    /// A datagram from anywhere in this browser's name: what the server answers to it reaches the
    /// browser.
    pub fn spoof(&mut self, victim: Id, data: &[u8]) {
        let from = self.client(victim).address;
        let (_, out) = self.hand_in(from, data);
        self.after_server(out);
    }

    pub(super) fn after_server(&mut self, out: Vec<Transmit>) {
        while let Some(ufrag) = self.server.as_mut().and_then(Broadcast::poll_demand) {
            self.note(|| format!("the record of {ufrag} is demanded"));
            if let Some(reader) = &mut self.reader {
                reader.demand(ufrag);
            }
        }
        for Transmit { to, data } in out {
            if matches!(data.first(), Some(20..=63)) {
                self.sent.insert(data.clone(), self.now);
                let browser = self
                    .clients
                    .iter()
                    .position(|client| client.address.ip() == to.socket.ip());
                let first = &data[..data.len().min(14)];
                self.note(|| {
                    format!(
                        "browser {browser:?}: the server sends DTLS, {} bytes, {first:?}",
                        data.len()
                    )
                });
            }
            self.network.send(
                self.now,
                Datagram {
                    from: self.server_address,
                    to: to.socket,
                    data,
                },
            );
        }
        while let Some(event) = self.server.as_mut().and_then(Broadcast::poll_event) {
            match &event {
                Event::Address { ufrag, address } => {
                    if let Some(record) = self.records.get_mut(ufrag) {
                        record.offer = sdp::with_address(&record.offer, *address);
                    }
                }
                Event::Gone { ufrag, .. } => {
                    self.records.remove(ufrag);
                }
                _ => {}
            }
            match &event {
                Event::Address { .. } | Event::Source { .. } => {}
                other => {
                    let what = format!("{other:?}");
                    self.note(|| what);
                }
            }
            self.events.push((self.now, event));
        }
    }
}

/// The steps of a test that fails are printed; `REKINDLE_STEPS=1` has those of all printed.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("REKINDLE_STEPS").is_some() {
            self.journal
                .iter()
                .flatten()
                .for_each(|step| eprintln!("{step}"));
        }
    }
}
