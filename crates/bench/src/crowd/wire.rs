//! The clients' sockets, and the way between them and the server.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use mio::net::UdpSocket;
use mio::{Interest, Token};
use quinn_udp::{RecvMeta, UdpSocketState};

use super::{BATCH, Crowd, Stage};
use crate::media::Media;
use crate::path::Parcel;

const KERNEL_BUFFER: usize = 1 << 20;

impl Crowd {
    /// Takes what has come for a client until there is no more.
    pub(super) fn receive(&mut self, seat: usize) {
        let mut buffers = std::mem::take(&mut self.buffers);
        loop {
            let mut metas = [RecvMeta::default(); BATCH];
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let Some(place) = self.seats.get(seat) else {
                break;
            };
            let count = match place
                .state
                .recv((&place.socket).into(), &mut slices, &mut metas)
            {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let life = if self.settings.by_session {
                place.session
            } else {
                self.life
            };
            let now = Instant::now();
            for (meta, buffer) in metas[..count].iter().zip(&buffers) {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let parcel = Parcel {
                        seat,
                        up: false,
                        life,
                        data: Bytes::copy_from_slice(datagram),
                    };
                    if let Some(parcel) = self.path.send(now, parcel) {
                        self.deliver(now, parcel);
                    }
                }
            }
        }
        self.buffers = buffers;
    }

    /// A datagram has come to the end of its way.
    pub(super) fn deliver(&mut self, now: Instant, parcel: Parcel) {
        let seat = parcel.seat;
        if parcel.up {
            self.put_on_wire(seat, &parcel.data);
            return;
        }
        if let Stage::In(client) = &mut self.seats[seat].stage {
            if let Media::Viewer(viewer) = &mut client.media {
                viewer.set_life(parcel.life);
            }
            client.handle(now, &parcel.data);
            self.settle(now, seat);
        }
    }

    pub(super) fn put_on_wire(&mut self, seat: usize, data: &[u8]) {
        let place = &mut self.seats[seat];
        let Stage::In(client) = &place.stage else {
            return;
        };
        let transmit = quinn_udp::Transmit {
            destination: client.connection.server,
            ecn: None,
            contents: data,
            segment_size: None,
            src_ip: None,
        };
        if place
            .state
            .try_send((&place.socket).into(), &transmit)
            .is_err()
        {
            self.dropped += 1;
        }
    }

    pub(super) fn move_seat(&mut self, now: Instant, seat: usize) {
        let place = &mut self.seats[seat];
        let Stage::In(client) = &mut place.stage else {
            return;
        };
        let ip = client.connection.server.ip();
        let _ = self.registry.deregister(&mut place.socket);
        // Without a new port the client keeps the old one, and ICE goes on from there.
        if let Ok((socket, state, own)) = bind(ip) {
            place.socket = socket;
            place.state = state;
            place.own = own;
        }
        let _ = self
            .registry
            .register(&mut place.socket, Token(seat), Interest::READABLE);
        client.connection.move_to(place.own, now);
    }
}

/// A socket that reaches this address.
pub(crate) fn bind(server: IpAddr) -> io::Result<(UdpSocket, UdpSocketState, SocketAddr)> {
    let own = match server {
        ip if ip.is_loopback() => ip,
        // The address that the system would send from.
        ip => {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let any = if ip.is_ipv6() {
                Ipv6Addr::UNSPECIFIED.into()
            } else {
                any
            };
            let probe = std::net::UdpSocket::bind((any, 0))?;
            probe.connect((ip, 9))?;
            probe.local_addr()?.ip()
        }
    };
    let io = std::net::UdpSocket::bind((own, 0))?;
    let state = UdpSocketState::new((&io).into())?;
    // Best effort.
    let _ = state.set_recv_buffer_size((&io).into(), KERNEL_BUFFER);
    io.set_nonblocking(true)?;
    let own = io.local_addr()?;
    Ok((UdpSocket::from_std(io), state, own))
}
