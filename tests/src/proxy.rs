//! A network between two processes that can be cut, stalled and slowed.
//!
//! Owns the bytes on their way, and changes none. Must never know a protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Bytes go through at once.
    Fair,
    /// Bytes arrive so much later, in each direction.
    Slow(Duration),
    /// Connections stay, and nothing arrives: a cable pulled between two switches. What is sent meanwhile arrives when it is
    /// over.
    Stalled,
    /// Connections break, and new ones break at once.
    Cut,
}

/// A port of the loopback that leads to another one.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    weather: Mutex<Weather>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    over: AtomicBool,
}

/// How often a still network is looked at.
const TICK: Duration = Duration::from_millis(5);

impl Proxy {
    /// Leads to `target` from a free port, in fair weather.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            weather: Mutex::new(Weather::Fair),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather() = weather;
        if weather == Weather::Cut {
            self.shared.break_all();
        }
    }

    /// How many connections have been made through it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.break_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        if shared.is_over() {
            return;
        }
        // Held until the streams are in the list, so that a cut either finds them there or is seen here.
        let weather = shared.weather();
        if *weather == Weather::Cut {
            continue;
        }
        let Ok(server) = TcpStream::connect(shared.target) else { continue };
        let ends = [client.try_clone(), server.try_clone()];
        let [Ok(client_out), Ok(server_out)] = ends else { continue };
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            open.extend(stream.try_clone());
        }
        drop((weather, open));
        shared.connections.fetch_add(1, Ordering::SeqCst);
        for (from, to) in [(client, server_out), (server, client_out)] {
            let shared = Arc::clone(shared);
            thread::spawn(move || carry(from, to, &shared));
        }
    }
}

/// Carries bytes one way until one end closes.
fn carry(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let arrived = Instant::now();
        loop {
            let weather = *shared.weather();
            let wait = match weather {
                Weather::Fair => Duration::ZERO,
                Weather::Slow(by) => by.saturating_sub(arrived.elapsed()),
                Weather::Stalled => TICK,
                Weather::Cut => break,
            };
            if wait.is_zero() || shared.is_over() {
                break;
            }
            thread::sleep(wait.min(TICK));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything twice.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0]; 2]).is_ok() {}
                });
            }
        });
        address
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    #[test]
    fn every_weather_is_felt() {
        let proxy = Proxy::to(echo());
        let mut stream = client(&proxy);
        let mut said = |byte: u8| -> Result<[u8; 2], ErrorKind> {
            let mut answer = [0; 2];
            stream.write_all(&[byte]).and_then(|()| stream.read_exact(&mut answer)).map_err(|error| error.kind())?;
            Ok(answer)
        };
        assert_eq!(said(1), Ok([1, 1]));
        proxy.set(Weather::Slow(Duration::from_millis(40)));
        let start = Instant::now();
        assert_eq!(said(2), Ok([2, 2]));
        assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
        proxy.set(Weather::Stalled);
        assert_eq!(said(3), Err(ErrorKind::WouldBlock));
        proxy.set(Weather::Fair);
        assert_eq!(said(4), Ok([3, 3]), "what was held back arrives first");
        proxy.set(Weather::Cut);
        // The answer to the fourth may have come through before.
        assert!((0..2).any(|_| said(5).is_err()));
        assert!(client(&proxy).write_all(&[6]).and_then(|()| client(&proxy).read_exact(&mut [0])).is_err());
        proxy.set(Weather::Fair);
        let mut again = client(&proxy);
        let mut answer = [0; 2];
        again.write_all(&[7]).and_then(|()| again.read_exact(&mut answer)).unwrap();
        assert_eq!((answer, proxy.connections()), ([7, 7], 2));
    }
}
