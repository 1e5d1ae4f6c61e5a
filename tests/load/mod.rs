//! Clients that ask all the time, each request on a connection of its own or on one that is kept,
//! and what became of their requests.

#![allow(dead_code)] // Not every test file needs all of it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Clients of each kind.
const CLIENTS: usize = 3;
/// Between two requests of a client, so that the machine has time for the servers.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Told {
    pub answered: usize,
    /// On connections that are kept.
    pub kept_answered: usize,
    /// Connections that were not made.
    pub refused: usize,
    /// Requests with no answer, or another one than 200: from when to when.
    pub failed: Vec<(Instant, Instant)>,
    /// Requests that the server closed a kept connection under before it had read them, and that
    /// were sent again on a new one, as RFC 9112 §9.3.1.1 has it. Not failures.
    pub sent_again: usize,
}

/// Clients at work.
pub struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
}

impl Load {
    pub fn on(server: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |kept: bool| {
            let over = over.clone();
            spawn(move || {
                let mut told = Told::default();
                let mut connection = None;
                while !over.load(Ordering::Relaxed) {
                    if kept {
                        kept_request(server, &mut connection, &mut told);
                    } else {
                        request(server, &mut told);
                    }
                    sleep(PAUSE);
                }
                told
            })
        };
        let clients = [false, true]
            .into_iter()
            .flat_map(|kept| [kept; CLIENTS])
            .map(client)
            .collect();
        Self { over, clients }
    }

    pub fn stop(self) -> Told {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.join().expect("a client");
            all.answered += told.answered;
            all.kept_answered += told.kept_answered;
            all.refused += told.refused;
            all.sent_again += told.sent_again;
            all.failed.extend(told.failed);
        }
        all
    }
}

fn request(server: SocketAddr, told: &mut Told) {
    let from = Instant::now();
    let Ok(stream) = TcpStream::connect(server) else {
        told.refused += 1;
        return;
    };
    match ask(&stream, true) {
        Ok(_) => told.answered += 1,
        Err(_) => told.failed.push((from, Instant::now())),
    }
}

fn kept_request(server: SocketAddr, connection: &mut Option<TcpStream>, told: &mut Told) {
    let from = Instant::now();
    let used = connection.is_some();
    let stream = match connection.take() {
        Some(stream) => stream,
        None => match TcpStream::connect(server) {
            Ok(stream) => stream,
            Err(_) => {
                told.refused += 1;
                return;
            }
        },
    };
    match ask(&stream, false) {
        Ok(last) => {
            told.kept_answered += 1;
            if !last {
                *connection = Some(stream);
            }
        }
        Err(Failed::Unread) if used => {
            told.sent_again += 1;
            kept_request(server, connection, told);
        }
        Err(_) => told.failed.push((from, Instant::now())),
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failed {
    /// The connection ended before the first byte of it.
    Unread,
    /// It is not what it should be.
    Wrong,
}

/// Asks for the server's health. Whether the answer is the connection's last.
pub fn ask(mut stream: &TcpStream, close: bool) -> Result<bool, Failed> {
    let unread = |_: io::Error| Failed::Unread;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let how = if close { "close" } else { "keep-alive" };
    let request = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: {how}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unread)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).map_err(unread)? == 0 {
        return Err(Failed::Unread);
    }
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(Failed::Wrong);
    }
    let (mut length, mut last) = (None, close);
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(|_| Failed::Wrong)? == 0 {
            return Err(Failed::Wrong);
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", text)) => length = text.parse().ok(),
            Some(("connection", "close")) => last = true,
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length.ok_or(Failed::Wrong)?];
    reader.read_exact(&mut body).map_err(|_| Failed::Wrong)?;
    Ok(last)
}
