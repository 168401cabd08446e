//! A client that sends any bytes at all, at any length, and listens while it sends.
//!
//! Owns the socket. What it sends need not be HTTP; what it reads is parsed only as far as a test needs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What came of an exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// How many bytes were sent before the host stopped reading or answered.
    pub sent: u64,
    /// Everything that came back.
    pub received: Vec<u8>,
    /// From the connection's start to the end of the answer.
    pub took: Duration,
}

impl Exchange {
    /// The status code of the first answer, if one came.
    pub fn status(&self) -> Option<u16> {
        let line = self.received.split(|b| *b == b'\r').next()?;
        let line = str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// The code of the problem document that came, if one did.
    pub fn code(&self) -> Option<String> {
        let start = memchr::memmem::find(&self.received, b"\r\n\r\n")? + 4;
        let length = self.received.get(start..start + content_length(&self.received[..start])?)?;
        let document: Value = serde_json::from_slice(length).ok()?;
        document["code"].as_str().map(str::to_owned)
    }

    /// What came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

/// Sends pieces until they end, the host stops reading, or an answer is complete; then reads until the answer is complete,
/// the host closes, or `patience` has passed. `close` shuts the sending side when all was sent.
pub fn exchange<P: AsRef<[u8]>>(
    address: SocketAddr,
    pieces: impl IntoIterator<Item = P>,
    close: bool,
    patience: Duration,
) -> Exchange {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the host listens");
    let mut reading = stream.try_clone().expect("a socket can be cloned");
    reading.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit above zero");
    stream.set_write_timeout(Some(patience)).expect("a time limit above zero");
    let answered = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let answered = Arc::clone(&answered);
        move || {
            let received = receive(&mut reading, start + patience);
            answered.store(true, Ordering::Relaxed);
            received
        }
    });
    let mut sent = 0;
    for piece in pieces {
        if answered.load(Ordering::Relaxed) || stream.write_all(piece.as_ref()).is_err() {
            break;
        }
        sent += piece.as_ref().len() as u64;
    }
    if close {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let received = reader.join().expect("reading does not panic");
    Exchange { sent, received, took: start.elapsed() }
}

/// Sends one piece.
pub fn once(address: SocketAddr, bytes: &[u8]) -> Exchange {
    exchange(address, [bytes], false, Duration::from_secs(15))
}

fn receive(stream: &mut TcpStream, deadline: Instant) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = [0; 16 << 10];
    while Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                received.extend_from_slice(&buffer[..read]);
                if is_complete(&received) {
                    break;
                }
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => break,
        }
    }
    received
}

fn is_complete(received: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(received, b"\r\n\r\n") else { return false };
    content_length(&received[..head]).is_some_and(|length| received.len() >= head + 4 + length)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = str::from_utf8(head).ok()?.to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|value| value.trim().parse().ok())
}
