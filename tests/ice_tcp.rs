//! Media over TCP with the real program: whose connections stay.

mod live;
mod running;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use live::Live;
use rekindle::ids::Role;
use rekindle_client::ice;
use running::{Server, text, until};

/// Open connections, as the server counts them.
fn connections(server: &Server) -> usize {
    let metrics = text(&mut server.get("/metrics"));
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("rekindle_media_tcp_connections "));
    line.expect("it is counted").parse().expect("a number")
}

/// A connection over which this check was sent, and answered.
fn checked(server: &Server, check: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.media()).expect("connected");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("set");
    let length = u16::try_from(check.len()).expect("short");
    stream.write_all(&length.to_be_bytes()).expect("sent");
    stream.write_all(check).expect("sent");
    stream.read_exact(&mut [0; 22]).expect("an answer");
    stream
}

#[test]
fn one_session_keeps_four_connections_and_copies_of_its_checks_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--ice-tcp"]);
    let browser = Live::join(&server, Role::Publisher, "main", 2500);
    let credentials = &browser.client.session.credentials;
    let check = |number: u8| ice::check(credentials, &credentials.server_pwd, [number; 12]);
    let mut all: Vec<_> = (0..12)
        .map(|number| checked(&server, &check(number)))
        .collect();
    all.extend((0..12).map(|_| checked(&server, &check(11))));
    until("the others are closed", || connections(&server) == 4);
    // Those that are left are the latest of its own.
    for (number, stream) in all.iter_mut().enumerate() {
        let stays = (8..12).contains(&number);
        stream.set_nonblocking(stays).expect("set");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let is_open = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert_eq!(is_open, stays, "{number}");
    }
}
