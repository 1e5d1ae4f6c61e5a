//! The thread that has all clients: what comes from the publisher goes to every viewer.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Event, Input, Output, Rtc};

/// Longest datagram that is taken.
const MAX_DATAGRAM: usize = 2000;
/// Datagrams that are taken before anything is sent, where so many have come.
const BATCH: usize = 32;
const IDLE: Duration = Duration::from_millis(50);
/// The publisher is not asked for keyframes more often.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Publisher,
    Viewer,
}

/// What the HTTP side tells.
pub enum News {
    Joined(Box<Client>),
    Left(u64),
}

/// One connection.
pub struct Client {
    id: u64,
    role: Role,
    rtc: Rtc,
    /// When it wants to be called.
    next: Instant,
    audio: Option<Mid>,
    video: Option<Mid>,
    /// A viewer's: the first sequence number that it was sent, of sound and of pictures.
    first: [Option<u64>; 2],
}

/// A packet of the publisher's.
struct Forwarded {
    codec: Codec,
    packet: RtpPacket,
}

impl Client {
    pub fn new(id: u64, role: Role, rtc: Rtc) -> Self {
        Self {
            id,
            role,
            rtc,
            next: Instant::now(),
            audio: None,
            video: None,
            first: [None; 2],
        }
    }

    fn codec(&self, pt: Pt) -> Option<Codec> {
        let mut params = self.rtc.codec_config().params().iter();
        Some(params.find(|one| one.pt() == pt)?.spec().codec)
    }

    fn payload_type(&self, codec: Codec) -> Option<Pt> {
        let mut params = self.rtc.codec_config().params().iter();
        Some(params.find(|one| one.spec().codec == codec)?.pt())
    }

    /// Has a packet sent to this viewer.
    fn forward(&mut self, forwarded: &Forwarded, now: Instant) {
        let is_video = forwarded.codec.is_video();
        let mid = if is_video { self.video } else { self.audio };
        let (Some(mid), Some(pt)) = (mid, self.payload_type(forwarded.codec)) else {
            return;
        };
        if !self.rtc.is_connected() {
            return;
        }
        let packet = &forwarded.packet;
        let sequence = *packet.seq_no;
        // A stream begins with a rollover counter of zero for whoever receives it.
        let first = *self.first[usize::from(is_video)].get_or_insert(sequence);
        let Some(place) = sequence.checked_sub(first) else {
            return;
        };
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(mid, None) {
            let header = &packet.header;
            let write = RtpWrite::new(
                pt,
                (place + 1).into(),
                header.timestamp,
                now,
                packet.payload.clone(),
            );
            stream.write_rtp(write.marker(header.marker).nackable(is_video));
        }
    }

    /// Takes a datagram, if there is one, and the time, and sends what is to be sent.
    fn drive(&mut self, socket: &UdpSocket, input: Input<'_>, out: &mut Came) {
        if self.rtc.handle_input(input).is_err() {
            self.rtc.disconnect();
        }
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    // What the kernel has no room for is lost.
                    let _ = socket.send_to(&transmit.contents, transmit.destination);
                }
                Ok(Output::Timeout(next)) => {
                    self.next = next;
                    return;
                }
                Ok(Output::Event(event)) => self.handle(event, out),
                Err(_) => self.rtc.disconnect(),
            }
        }
    }

    fn handle(&mut self, event: Event, out: &mut Came) {
        match event {
            Event::MediaAdded(media) => match media.kind {
                MediaKind::Audio => self.audio = Some(media.mid),
                MediaKind::Video => self.video = Some(media.mid),
            },
            Event::RtpPacket(packet) if self.role == Role::Publisher => {
                if let Some(codec) = self.codec(packet.header.payload_type) {
                    out.packets.push(Forwarded { codec, packet });
                }
            }
            Event::KeyframeRequest(_) if self.role == Role::Viewer => out.key_wanted = true,
            _ => {}
        }
    }

    fn ask_for_keyframe(&mut self) {
        let Some(mid) = self.video else {
            return;
        };
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }
}

/// What clients have given in one round.
#[derive(Default)]
struct Came {
    packets: Vec<Forwarded>,
    key_wanted: bool,
}

struct Media<'a> {
    socket: &'a UdpSocket,
    local: SocketAddr,
    clients: BTreeMap<u64, Client>,
    /// Who was heard from where.
    addresses: HashMap<SocketAddr, u64>,
    came: Came,
    asked: Option<Instant>,
}

/// Runs until the HTTP side has ended.
pub fn run(socket: &UdpSocket, news: &mpsc::Receiver<News>) {
    let Ok(local) = socket.local_addr() else {
        return;
    };
    let mut media = Media {
        socket,
        local,
        clients: BTreeMap::new(),
        addresses: HashMap::new(),
        came: Came::default(),
        asked: None,
    };
    loop {
        loop {
            match news.try_recv() {
                Ok(News::Joined(client)) => media.join(*client),
                Ok(News::Left(id)) => drop(media.clients.remove(&id)),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        media.receive();
        media.forward();
        media.due();
    }
}

impl Media<'_> {
    fn join(&mut self, client: Client) {
        if client.role == Role::Publisher {
            self.clients.retain(|_, other| other.role == Role::Viewer);
            for viewer in self.clients.values_mut() {
                viewer.first = [None; 2];
            }
        }
        self.clients.insert(client.id, client);
    }

    /// Waits for a datagram, and takes those that have come with it.
    fn receive(&mut self) {
        let now = Instant::now();
        let next = self.clients.values().map(|client| client.next).min();
        let wait = next.map_or(IDLE, |next| next.saturating_duration_since(now));
        let wait = wait.clamp(Duration::from_millis(1), IDLE);
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.set_read_timeout(Some(wait));
        let mut buffer = [0; MAX_DATAGRAM];
        for n in 0..BATCH {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(&buffer[..length], from),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
            if n == 0 {
                let _ = self.socket.set_nonblocking(true);
            }
        }
    }

    fn take(&mut self, data: &[u8], source: SocketAddr) {
        let Ok(contents) = data.try_into() else {
            return;
        };
        let receive = Receive {
            proto: Protocol::Udp,
            source,
            destination: self.local,
            contents,
        };
        let input = Input::Receive(Instant::now(), receive);
        let known = self.addresses.get(&source).copied();
        let known = known.filter(|id| self.clients.contains_key(id));
        let id = known.or_else(|| {
            let mut clients = self.clients.iter();
            clients.find_map(|(id, client)| client.rtc.accepts(&input).then_some(*id))
        });
        let Some(client) = id.and_then(|id| self.clients.get_mut(&id)) else {
            return;
        };
        self.addresses.insert(source, client.id);
        client.drive(self.socket, input, &mut self.came);
    }

    /// Sends what the publisher has sent to all viewers, each of which gets all of it at once.
    fn forward(&mut self) {
        let packets = std::mem::take(&mut self.came.packets);
        if packets.is_empty() {
            return;
        }
        let now = Instant::now();
        for viewer in self.clients.values_mut() {
            if viewer.role == Role::Viewer {
                packets
                    .iter()
                    .for_each(|packet| viewer.forward(packet, now));
                viewer.drive(self.socket, Input::Timeout(now), &mut self.came);
            }
        }
    }

    /// Does what is due.
    fn due(&mut self) {
        let now = Instant::now();
        if self.came.key_wanted && self.asked.is_none_or(|at| at + KEYFRAME_PAUSE <= now) {
            self.came.key_wanted = false;
            self.asked = Some(now);
            for client in self.clients.values_mut() {
                if client.role == Role::Publisher {
                    client.ask_for_keyframe();
                    client.drive(self.socket, Input::Timeout(now), &mut self.came);
                }
            }
        }
        for client in self.clients.values_mut() {
            if client.next <= now {
                client.drive(self.socket, Input::Timeout(now), &mut self.came);
            }
        }
        let before = self.clients.len();
        self.clients.retain(|_, client| client.rtc.is_alive());
        if self.clients.len() < before {
            let clients = &self.clients;
            self.addresses.retain(|_, id| clients.contains_key(id));
        }
    }
}
