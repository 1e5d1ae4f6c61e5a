//! The ways to send, and all that is `unsafe`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

use super::PACKET;

/// Viewers in one `sendmmsg`, and in one entry into the kernel of a ring.
const MANY: usize = 64;
/// Room for the control message that says how long a segment is, which needs 24 bytes.
const CONTROL: usize = 24;

/// How long the kernel's thread looks for more work before it sleeps, in milliseconds.
pub(super) const POLLS_MS: u32 = 1;

/// How packets get into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One system call a viewer.
    Sendmsg,
    /// One system call for [`MANY`] viewers.
    Sendmmsg,
    /// One entry for as many.
    Ring,
    /// One entry for all viewers.
    RingOfAll,
    /// As `Ring`; the kernel sends out of our memory without a copy.
    RingZeroCopy,
    /// No entry: a thread of the kernel's looks for work.
    RingPolled,
}

impl Way {
    pub(super) const ALL: [Self; 6] = [
        Self::Sendmsg,
        Self::Sendmmsg,
        Self::Ring,
        Self::RingOfAll,
        Self::RingZeroCopy,
        Self::RingPolled,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sendmsg => "sendmsg",
            Self::Sendmmsg => "sendmmsg of 64",
            Self::Ring => "io_uring, 64 at a time",
            Self::RingOfAll => "io_uring, all at a time",
            Self::RingZeroCopy => "io_uring, 64 at a time, zero copy",
            Self::RingPolled => "io_uring, polled by the kernel (SQPOLL)",
        }
    }
}

/// A socket, a message for each viewer, and rings. What the messages point at lies in boxes that are
/// neither moved nor dropped before the sender is.
pub(super) struct Sender {
    socket: UdpSocket,
    messages: Vec<libc::mmsghdr>,
    ring: IoUring,
    polled: IoUring,
    _run: Box<[u8]>,
    _parts: Box<[libc::iovec]>,
    _addresses: Box<[libc::sockaddr_in]>,
    _control: Box<[[u64; CONTROL / 8]]>,
}

impl Sender {
    /// Messages of so many segments to these addresses.
    pub(super) fn new(viewers: &[SocketAddr], segments: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let mut run = vec![0x5a_u8; PACKET * segments].into_boxed_slice();
        let part = libc::iovec {
            iov_base: run.as_mut_ptr().cast(),
            iov_len: run.len(),
        };
        let mut parts = vec![part; viewers.len()].into_boxed_slice();
        let mut addresses: Box<[_]> = viewers.iter().map(raw_address).collect();
        let mut control = vec![control(segments); viewers.len()].into_boxed_slice();
        let messages = (0..viewers.len()).map(|n| {
            // SAFETY: all zeros are a message without parts.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            let head = &mut message.msg_hdr;
            head.msg_name = (&raw mut addresses[n]).cast();
            head.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            head.msg_iov = &raw mut parts[n];
            head.msg_iovlen = 1;
            if segments > 1 {
                head.msg_control = (&raw mut control[n]).cast();
                head.msg_controllen = CONTROL;
            }
            message
        });
        let messages = messages.collect();
        // The kernel's thread says late which entries it has taken, so there is room for more.
        let polled = IoUring::builder()
            .setup_sqpoll(POLLS_MS)
            .build(16 * MANY as u32)?;
        let ring = IoUring::new(viewers.len().next_power_of_two() as u32)?;
        for ring in [&ring, &polled] {
            ring.submitter().register_files(&[socket.as_raw_fd()])?;
        }
        Ok(Self {
            socket,
            messages,
            ring,
            polled,
            _run: run,
            _parts: parts,
            _addresses: addresses,
            _control: control,
        })
    }

    /// One message to each viewer.
    pub(super) fn send(&mut self, way: Way) -> io::Result<()> {
        match way {
            Way::Sendmsg => self.one_by_one(),
            Way::Sendmmsg => self.by_many(),
            Way::RingOfAll => self.by_ring(way, usize::MAX),
            Way::Ring | Way::RingZeroCopy | Way::RingPolled => self.by_ring(way, MANY),
        }
    }

    fn one_by_one(&self) -> io::Result<()> {
        for message in &self.messages {
            // SAFETY: all that the message points at lives as long as `self`.
            let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &message.msg_hdr, 0) };
            if sent < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    fn by_many(&mut self) -> io::Result<()> {
        for messages in self.messages.chunks_mut(MANY) {
            let (first, count) = (messages.as_mut_ptr(), messages.len());
            // SAFETY: as above, and these are so many messages.
            let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), first, count as u32, 0) };
            if usize::try_from(sent) != Ok(count) {
                return Err(io::Error::other("the kernel did not take all at once"));
            }
        }
        Ok(())
    }

    fn by_ring(&mut self, way: Way, at_once: usize) -> io::Result<()> {
        let ring = if way == Way::RingPolled {
            &mut self.polled
        } else {
            &mut self.ring
        };
        for messages in self.messages.chunks(at_once.min(self.messages.len())) {
            for message in messages {
                let entry = entry(way, &message.msg_hdr);
                // SAFETY: what the entry points at lives as long as `self`, and all answers are
                // waited for below.
                unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
            }
            finish(ring, messages.len())?;
        }
        Ok(())
    }
}

fn entry(way: Way, message: &libc::msghdr) -> squeue::Entry {
    let socket = types::Fixed(0);
    if way == Way::RingZeroCopy {
        opcode::SendMsgZc::new(socket, message).build()
    } else {
        opcode::SendMsg::new(socket, message).build()
    }
}

/// Hands over what is in the ring, and waits until the kernel has done it, and, where it sends
/// without a copy, until it needs the memory no more.
fn finish(ring: &mut IoUring, count: usize) -> io::Result<()> {
    let (mut done, mut notices) = (0, 0);
    ring.submit_and_wait(count)?;
    loop {
        let mut failed = None;
        for answer in ring.completion() {
            if io_uring::cqueue::notif(answer.flags()) {
                notices -= 1;
                continue;
            }
            done += 1;
            notices += i32::from(io_uring::cqueue::more(answer.flags()));
            if answer.result() < 0 {
                failed = Some(io::Error::from_raw_os_error(-answer.result()));
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if done == count && notices == 0 {
            return Ok(());
        }
        ring.submit_and_wait(1)?;
    }
}

/// The control message that says how long a segment is.
fn control(segments: usize) -> [u64; CONTROL / 8] {
    let mut control = [0; CONTROL / 8];
    if segments > 1 {
        // SAFETY: there is room for the head of a control message and two bytes.
        unsafe {
            let head: *mut libc::cmsghdr = control.as_mut_ptr().cast();
            (*head).cmsg_level = libc::SOL_UDP;
            (*head).cmsg_type = libc::UDP_SEGMENT;
            (*head).cmsg_len = libc::CMSG_LEN(2) as usize;
            libc::CMSG_DATA(head)
                .cast::<u16>()
                .write_unaligned(PACKET as u16);
        }
    }
    control
}

fn raw_address(address: &SocketAddr) -> libc::sockaddr_in {
    // SAFETY: all zeros are an address.
    let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    raw.sin_family = libc::AF_INET as u16;
    raw.sin_port = address.port().to_be();
    if let SocketAddr::V4(address) = address {
        raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    }
    raw
}

/// Sets an option whose value is a number.
pub(super) fn set_option(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as u32;
    // SAFETY: the value is so long and outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What this clock says.
pub(super) fn cpu_time(clock: libc::clockid_t) -> Duration {
    // SAFETY: all zeros are a time, and the pointer is to it.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
