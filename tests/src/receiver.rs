//! A receiver of webhooks: an HTTP server of a test's own on the loopback.
//!
//! Owns what it was sent, and answers in the order that it was told. Must never judge what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A running server; dropping it closes its port.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    closed: Arc<AtomicBool>,
}

impl Received {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// A port on which nobody listens.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    free.local_addr().expect("a bound socket has an address")
}

impl Receiver {
    /// Listens on a free port. Answers with these status lines in turn, as `500 Internal Server Error`, and then with 204.
    pub fn start(answers: &[&str]) -> Self {
        Self::at(free_address(), answers)
    }

    /// The same on a port of its own.
    pub fn at(address: SocketAddr, answers: &[&str]) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let (received, closed) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::<AtomicBool>::default());
        let mut answers = answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>().into_iter();
        let (seen, over) = (Arc::clone(&received), Arc::clone(&closed));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let Some((request, mut stream)) = stream.ok().and_then(read) else { continue };
                let answer = answers.next().unwrap_or_else(|| "204 No Content".to_owned());
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, received, closed }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was sent so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was sent so many.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Vec<Received> {
        let deadline = Instant::now() + patience;
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(Instant::now() < deadline, "{} of {count} webhooks within {patience:?}", received.len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Whoever waits for the next is woken.
        let _ = TcpStream::connect(self.address);
    }
}

fn read(stream: TcpStream) -> Option<(Received, TcpStream)> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.first()?.clone();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    Some((Received { line, headers, body }, reader.into_inner()))
}
