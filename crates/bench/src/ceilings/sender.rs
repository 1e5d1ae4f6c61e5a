//! The thread's sockets, keys and buffers.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, sendmsg};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

use super::{BURST, Call, Way};
use crate::crowd::bind;

/// Viewers in one `sendmmsg`.
const MANY: usize = 64;
/// RTP header with extensions, which is authenticated and not encrypted.
pub(super) const HEADER: usize = 28;
/// Longest packet of a stream.
pub(super) const LONGEST: usize = 1200;
/// Of AES-GCM.
const TAG: usize = 16;
/// Most bytes that the kernel returns in one buffer (GRO).
const MAX_RECEIVED: usize = 64 << 10;

struct Viewer {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    address: SocketAddrV4,
    key: LessSafeKey,
}

/// See the module.
pub(crate) struct Sender {
    io: UdpSocket,
    viewers: Vec<Viewer>,
    /// Length of a packet from the publisher, except in streams.
    bytes: usize,
    plain: Vec<u8>,
    /// Room for a run of segments for each of [`MANY`] viewers.
    runs: Vec<Vec<u8>>,
    /// Without control messages, and with the one for segments.
    headers: [MultiHeaders<SockaddrIn>; 2],
    buffers: Vec<Vec<u8>>,
    /// Counts packets of a key, so that no nonce comes twice.
    sequence: u64,
}

impl Sender {
    /// Sockets for this many viewers, and a packet of this many bytes.
    ///
    /// # Errors
    /// Where the system gives no sockets.
    pub(crate) fn new(viewers: usize, bytes: usize) -> io::Result<Self> {
        let local = Ipv4Addr::LOCALHOST;
        let viewers = (0..viewers).map(|n| {
            let (socket, state, own) = bind(local.into())?;
            let mut key = [7; 16];
            key[..8].copy_from_slice(&n.to_be_bytes());
            let key = UnboundKey::new(&AES_128_GCM, &key).map_err(io::Error::other)?;
            Ok(Viewer {
                socket,
                state,
                address: SocketAddrV4::new(local, own.port()),
                key: LessSafeKey::new(key),
            })
        });
        let bytes = bytes.max(HEADER + 1);
        Ok(Self {
            viewers: viewers.collect::<io::Result<_>>()?,
            io: UdpSocket::bind((local, 0))?,
            bytes,
            plain: vec![0x5a; bytes.max(LONGEST)],
            runs: vec![vec![0; BURST * (bytes + TAG)]; MANY],
            headers: [None, Some(nix::cmsg_space!(u16))]
                .map(|control| MultiHeaders::preallocate(MANY, control)),
            buffers: vec![vec![0; MAX_RECEIVED]; BATCH_SIZE],
            sequence: 0,
        })
    }

    /// Sends [`BURST`] packets to every viewer. Returns how many that are.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn burst(&mut self, way: Way) -> io::Result<usize> {
        for _ in 0..BURST / way.segments {
            for first in (0..self.viewers.len()).step_by(MANY) {
                let last = (first + MANY).min(self.viewers.len());
                self.some(way, first, last)?;
            }
            self.sequence += way.segments as u64;
        }
        Ok(BURST * self.viewers.len())
    }

    /// Sends packets of these lengths to every viewer, encrypted, in as few calls of `sendmsg` as
    /// possible. Returns the numbers of packets and of calls.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn tick(&mut self, lengths: &[usize]) -> io::Result<(usize, usize)> {
        let run = &mut self.runs[0];
        let total = lengths.iter().map(|length| length + TAG).sum();
        run.resize(run.len().max(total), 0);
        let mut calls = 0;
        for viewer in &self.viewers {
            let mut rest = &mut run[..total];
            for (n, length) in (self.sequence..).zip(lengths) {
                let packet;
                (packet, rest) = rest.split_at_mut(length + TAG);
                seal(&viewer.key, n, &self.plain[..*length], packet)?;
            }
            let (mut rest, mut left) = (&run[..total], lengths);
            while let Some(first) = left.first() {
                let segments = segments(left);
                let bytes = left[..segments].iter().map(|length| length + TAG).sum();
                single(
                    &self.io,
                    viewer.address,
                    &rest[..bytes],
                    segments,
                    first + TAG,
                )?;
                (rest, left) = (&rest[bytes..], &left[segments..]);
                calls += 1;
            }
        }
        self.sequence += lengths.len() as u64;
        Ok((lengths.len() * self.viewers.len(), calls))
    }

    /// A run of segments to each of these viewers.
    fn some(&mut self, way: Way, first: usize, last: usize) -> io::Result<()> {
        let viewers = &self.viewers[first..last];
        let size = self.bytes + TAG;
        let length = size * way.segments;
        for (viewer, run) in viewers.iter().zip(&mut self.runs) {
            if way.seals {
                let packets = run.chunks_exact_mut(size).take(way.segments);
                for (n, packet) in (self.sequence..).zip(packets) {
                    seal(&viewer.key, n, &self.plain[..self.bytes], packet)?;
                }
            }
            if way.call == Call::Single {
                single(&self.io, viewer.address, &run[..length], way.segments, size)?;
            }
        }
        if way.call == Call::Many {
            let slices: Vec<[IoSlice<'_>; 1]> = self.runs[..viewers.len()]
                .iter()
                .map(|run| [IoSlice::new(&run[..length])])
                .collect();
            let addresses = viewers.iter().map(|viewer| Some(viewer.address.into()));
            let addresses: Vec<Option<SockaddrIn>> = addresses.collect();
            let segment = segment_size(size);
            let control = [ControlMessage::UdpGsoSegments(&segment)];
            let control = if way.segments > 1 { &control[..] } else { &[] };
            let sent = sendmmsg(
                self.io.as_raw_fd(),
                &mut self.headers[usize::from(way.segments > 1)],
                &slices,
                addresses,
                control,
                MsgFlags::empty(),
            )?;
            if sent.count() != viewers.len() {
                return Err(io::Error::other("the kernel did not take all at once"));
            }
        }
        Ok(())
    }

    /// Reads what has arrived for all viewers. Returns the number of packets.
    pub(crate) fn drain(&mut self) -> usize {
        let mut packets = 0;
        for viewer in &self.viewers {
            loop {
                let mut metas = [RecvMeta::default(); BATCH_SIZE];
                let slices = self.buffers.iter_mut();
                let mut slices: Vec<IoSliceMut<'_>> =
                    slices.map(|buffer| IoSliceMut::new(buffer)).collect();
                let socket = (&viewer.socket).into();
                let Ok(count) = viewer.state.recv(socket, &mut slices, &mut metas) else {
                    break;
                };
                let metas = metas[..count].iter();
                packets += metas
                    .map(|meta| meta.len.div_ceil(meta.stride))
                    .sum::<usize>();
                if count < BATCH_SIZE {
                    break;
                }
            }
        }
        packets
    }
}

/// How many packets of these lengths one call takes: all have one length, except the last, which
/// may be shorter.
fn segments(lengths: &[usize]) -> usize {
    let same = lengths
        .iter()
        .take_while(|length| **length == lengths[0])
        .count();
    same + usize::from(lengths.get(same).is_some_and(|next| *next < lengths[0]))
}

fn segment_size(size: usize) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// Copies a packet to its place in the run, and encrypts it there.
fn seal(key: &LessSafeKey, sequence: u64, plain: &[u8], packet: &mut [u8]) -> io::Result<()> {
    let (body, tag) = packet.split_at_mut(plain.len());
    body.copy_from_slice(plain);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    let (header, payload) = body.split_at_mut(HEADER);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
    tag.copy_from_slice(sealed.map_err(io::Error::other)?.as_ref());
    Ok(())
}

/// One system call for one viewer.
fn single(
    io: &UdpSocket,
    to: SocketAddrV4,
    run: &[u8],
    segments: usize,
    size: usize,
) -> io::Result<()> {
    if segments == 1 {
        return io.send_to(run, to).map(|_| ());
    }
    let segment = segment_size(size);
    sendmsg(
        io.as_raw_fd(),
        &[IoSlice::new(run)],
        &[ControlMessage::UdpGsoSegments(&segment)],
        MsgFlags::empty(),
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_brings_every_packet_to_every_viewer() {
        let mut sender = Sender::new(3, 1200).expect("sockets");
        for way in Way::all() {
            let sent = sender.burst(way).expect("sent");
            assert_eq!(sent, 3 * BURST);
            let came = sender.drain();
            assert_eq!(
                came,
                if way.call == Call::None { 0 } else { sent },
                "{way:?}"
            );
        }
    }

    #[test]
    fn a_tick_brings_every_packet_in_as_few_calls_as_there_can_be() {
        let mut sender = Sender::new(3, 1200).expect("sockets");
        let sent = sender.tick(&[1200, 1200, 700, 128]).expect("sent");
        assert_eq!(sent, (12, 6));
        assert_eq!(sender.drain(), 12);
    }

    #[test]
    fn what_is_sealed_opens_with_the_viewers_key() {
        let sender = Sender::new(2, 100).expect("sockets");
        let mut packet = vec![0; 100 + TAG];
        let key = &sender.viewers[1].key;
        seal(key, 9, &sender.plain[..100], &mut packet).expect("sealed");
        assert_ne!(packet[HEADER..100], sender.plain[HEADER..100]);
        let mut nonce = [0; 12];
        nonce[11] = 9;
        let (header, sealed) = packet.split_at_mut(HEADER);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_in_place(nonce, Aad::from(&*header), sealed);
        assert_eq!(opened.expect("opened"), &sender.plain[HEADER..100]);
    }
}
