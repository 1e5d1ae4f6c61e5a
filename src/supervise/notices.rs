//! Messages of the server to its supervisor: datagrams to an abstract socket. Only those are
//! accepted that the kernel attributes to the server itself.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Socket};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Longest message, in bytes; the server's are shorter.
const LONGEST: usize = 1024;

/// The parts of a message that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// The server is ready.
    pub ready: bool,
    /// It is alive.
    pub alive: bool,
    /// It asks to be killed: see [`super::Demo`].
    pub kill: bool,
    /// Its status.
    pub status: Option<String>,
}

impl Notice {
    fn parse(message: &[u8]) -> Self {
        let mut notice = Self::default();
        for line in String::from_utf8_lossy(message).lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => notice.ready = true,
                Some(("WATCHDOG", "1")) => notice.alive = true,
                Some(("X_REKINDLE_KILL", "1")) => notice.kill = true,
                Some(("STATUS", text)) => notice.status = Some(text.to_owned()),
                _ => {}
            }
        }
        notice
    }
}

/// The socket. It has no file, so that nothing is left behind when the supervisor dies.
pub(super) struct Notices {
    socket: UnixDatagram,
    name: String,
}

impl Notices {
    /// Opens it under a name that nobody else uses. Needs a tokio runtime.
    pub(super) fn open() -> io::Result<Self> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("rekindle-supervise-{:032x}", u128::from_ne_bytes(random));
        let socket = Socket::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        sockopt::set_socket_passcred(&socket, true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            name,
        })
    }

    /// The value of `NOTIFY_SOCKET` for the server.
    pub(super) fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The next message of this process.
    pub(super) async fn next(&self, from: u32) -> io::Result<Notice> {
        loop {
            self.socket.readable().await?;
            if let Some(notice) = self.waiting(from)? {
                return Ok(notice);
            }
        }
    }

    /// A message of this process that has already arrived. Those of others are dropped.
    pub(super) fn waiting(&self, from: u32) -> io::Result<Option<Notice>> {
        loop {
            match self
                .socket
                .try_io(Interest::READABLE, || receive(&self.socket))
            {
                Ok((sender, notice)) if u32::try_from(sender) == Ok(from) => {
                    return Ok(Some(notice));
                }
                Ok((sender, _)) => {
                    tracing::debug!(sender, "a message that is not the server's was dropped")
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// One message and the sending process as the kernel reports it: 0 is one that has no number in
/// this process's namespace.
fn receive(socket: &UnixDatagram) -> io::Result<(i32, Notice)> {
    let mut message = [0; LONGEST];
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut parts = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let sender = received.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmCredentials(who) => Some(who.pid()),
        _ => None,
    });
    // A message that is cut off may be misleading.
    let whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
    let length = if whole { received.bytes } else { 0 };
    Ok((
        sender.unwrap_or_default(),
        Notice::parse(&message[..length]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_it_says_and_nothing_else_matters() {
        let notice = Notice::parse(b"READY=1\nSTATUS=boot 3: 2 browsers\nMAINPID=1\n\xff=\n");
        assert!(notice.ready && !notice.alive);
        assert_eq!(notice.status.as_deref(), Some("boot 3: 2 browsers"));
        assert_eq!(
            Notice::parse(b"READY=0\nWATCHDOG=trigger"),
            Notice::default()
        );
        assert!(Notice::parse(b"WATCHDOG=1").alive);
        assert!(Notice::parse(b"X_REKINDLE_KILL=1").kill);
    }

    #[tokio::test]
    async fn only_the_process_that_is_asked_for_is_heard() {
        let notices = Notices::open().expect("a socket");
        let socket = Socket::unbound().expect("a socket");
        let address = SocketAddr::from_abstract_name(&notices.name).expect("an address");
        let me = std::process::id();
        socket.send_to_addr(b"READY=1", &address).expect("sent");
        notices.socket.readable().await.expect("readable");
        assert_eq!(
            notices.waiting(me + 1).expect("no error"),
            None,
            "of another process"
        );
        socket.send_to_addr(b"WATCHDOG=1", &address).expect("sent");
        assert!(notices.next(me).await.expect("a message").alive);
        socket
            .send_to_addr(&[b'x'; LONGEST + 1], &address)
            .expect("sent");
        assert_eq!(
            notices.next(me).await.expect("a message"),
            Notice::default()
        );
    }
}
