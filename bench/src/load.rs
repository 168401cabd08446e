//! Callers that ask over HTTP, on connections that they keep.
//!
//! Owns when a request is sent and how long its answer took. A closed loop asks again when it was answered; an open loop asks at
//! a constant rate whatever the answers do, and counts from the moment at which a request was due: who comes late to a server
//! that stalls has waited. Must never know what is asked.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinSet, LocalSet};

use crate::sample::milliseconds;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A connection that is kept, and made anew where the server closed it.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self { address, sender: connect(address).await? })
    }

    /// Sends a request to a path and waits for the whole answer.
    pub(crate) async fn ask(&mut self, request: &Request<Full<Bytes>>) -> Result<Answer> {
        if poll_fn(|context| self.sender.poll_ready(context)).await.is_err() {
            self.sender = connect(self.address).await?;
        }
        let mut request = request.clone();
        let host = self.address.to_string().parse().context("an address is a header's value")?;
        request.headers_mut().insert(header::HOST, host);
        let answer = async {
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>(Answer { status, body: answer.into_body().collect().await?.to_bytes() })
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        Ok(answer.with_context(|| format!("no answer within {PATIENCE:?}"))??)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("can not connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to whoever sends.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// A request to a path, without a body.
pub(crate) fn get(path: &str) -> Result<Request<Full<Bytes>>> {
    Ok(Request::get(path).body(Full::default())?)
}

/// How long a closed loop goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// So many calls of all callers together.
    Calls(usize),
    /// No call begins later than this.
    Time(Duration),
}

/// What callers saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How long each call took, milliseconds.
    pub(crate) latencies: Vec<f64>,
    /// From the first call's begin to the last one's end, seconds.
    pub(crate) seconds: f64,
}

impl Seen {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }
}

/// Lets callers do something again and again, each on a connection of its own. What they do is told its number, from 0.
///
/// # Errors
/// The first error of any caller.
pub(crate) fn closed<A>(address: SocketAddr, callers: usize, length: Length, act: A) -> Result<Seen>
where
    A: AsyncFn(&mut Connection, usize) -> Result<()> + 'static,
{
    let act = Rc::new(act);
    local(async move {
        let next = Rc::new(std::cell::Cell::new(0));
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(Connection::open(address).await?);
        }
        let start = Instant::now();
        let mut all = JoinSet::new();
        for mut connection in connections {
            let (act, next) = (Rc::clone(&act), Rc::clone(&next));
            all.spawn_local(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.get();
                    let over = match length {
                        Length::Calls(most) => number >= most,
                        Length::Time(most) => start.elapsed() >= most,
                    };
                    if over {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    next.set(number + 1);
                    let begin = Instant::now();
                    act(&mut connection, number).await?;
                    latencies.push(milliseconds(begin.elapsed()));
                }
            });
        }
        let latencies = gather(all).await?;
        Ok(Seen { latencies, seconds: start.elapsed().as_secs_f64() })
    })
}

/// Lets callers do something at a constant rate (a second) over so many connections. What they do is told its number, from 0.
/// Yields for each what came of it, and its latency in milliseconds from the moment at which it was due.
///
/// # Errors
/// The first error of any caller.
pub(crate) fn open<A, T>(
    address: SocketAddr,
    connections: usize,
    rate: f64,
    duration: Duration,
    act: A,
) -> Result<Vec<(T, f64)>>
where
    A: AsyncFn(&mut Connection, usize) -> Result<T> + 'static,
    T: 'static,
{
    let act = Rc::new(act);
    local(async move {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Rc::new(Mutex::new(receiver));
        let mut all = JoinSet::new();
        for _ in 0..connections {
            let mut connection = Connection::open(address).await?;
            let (receiver, act) = (Rc::clone(&receiver), Rc::clone(&act));
            all.spawn_local(async move {
                let mut latencies = Vec::new();
                loop {
                    let due = receiver.lock().await.recv().await;
                    let Some((number, due)) = due else { return Ok::<_, anyhow::Error>(latencies) };
                    let due: Instant = due;
                    let came = act(&mut connection, number).await?;
                    latencies.push((came, milliseconds(due.elapsed())));
                }
            });
        }
        // The timers of the asynchronous runtime tick once a millisecond, which is as long as an answer takes.
        let count = (duration.as_secs_f64() * rate) as usize;
        let start = Instant::now();
        thread::spawn(move || {
            for number in 0..count {
                let due = start + Duration::from_secs_f64(number as f64 / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if sender.send((number, due)).is_err() {
                    return;
                }
            }
        });
        let seen = gather(all).await?;
        ensure!(seen.len() == count, "{} of {count} requests were answered", seen.len());
        Ok(seen)
    })
}

async fn gather<T: 'static>(mut all: JoinSet<Result<Vec<T>>>) -> Result<Vec<T>> {
    let mut latencies = Vec::new();
    while let Some(ended) = all.join_next().await {
        latencies.append(&mut ended.context("a caller broke off")??);
    }
    Ok(latencies)
}

/// One thread for all callers: it shares the processors with who is measured, and takes as little of them as it can.
fn local<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("an asynchronous runtime")?;
    LocalSet::new().block_on(&runtime, work)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that answers every request after a while, on as many connections as come.
    fn server(wait: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream, wait));
            }
        });
        address
    }

    fn serve(mut stream: std::net::TcpStream, wait: Duration) {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
            thread::sleep(wait);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_closed_loop_makes_every_call_once() {
        let address = server(Duration::ZERO);
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let seen = closed(address, 3, Length::Calls(20), async |connection, _| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            let answer = connection.ask(&get("/")?).await?;
            ensure!(answer.body == "ok", "{answer:?}");
            Ok(())
        });
        assert_eq!((seen.unwrap().latencies.len(), CALLS.load(Ordering::Relaxed)), (20, 20));
    }

    #[test]
    fn an_open_loop_counts_from_when_a_request_was_due() {
        // One connection and answers that take 20 ms each: at 100 a second the twentieth has waited for 200 ms.
        let address = server(Duration::from_millis(20));
        let act = async |connection: &mut Connection, number| {
            connection.ask(&get("/")?).await?;
            Ok(number)
        };
        let seen = open(address, 1, 100.0, Duration::from_millis(200), act).unwrap();
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        let longest = seen.iter().map(|(_, latency)| *latency).fold(0.0, f64::max);
        assert!(longest > 150.0, "{seen:?}");
    }

    #[test]
    fn an_error_of_a_caller_is_told() {
        let address = server(Duration::ZERO);
        let error = closed(address, 2, Length::Calls(5), async |_, number| {
            ensure!(number < 3, "the fourth call fails");
            Ok(())
        });
        assert!(error.unwrap_err().to_string().contains("fourth"));
    }
}
