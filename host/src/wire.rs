//! HTTP/1.1 on a listener, with TLS or without, as all listeners speak it.
//!
//! Owns the accept loop, a connection's manners and the shape of a refusal. Must never know what is asked, or by whom it may
//! be asked.
//!
//! # Layout
//!
//! - `connection`: one socket from accept to close. `patience`: its limit on clients that do not read.
//! - `idle`: who leaves when somebody new finds no seat.
//! - `problem`: refusals as RFC 9457 documents.
//! - `tls`: the certificate that is shown.

mod connection;
mod idle;
mod patience;
mod problem;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::telemetry::{Counted, metrics};

use self::connection::Door;
use self::idle::{Idle, Presence};
pub(crate) use self::problem::{busy, challenge, closing, full, problem, retry_later};
pub(crate) use self::tls::Tls;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Which listener it is, for the metrics.
    pub(crate) listener: &'static str,
    /// Connections at once. For one more the longest idle one is closed; where none is idle, it waits.
    pub(crate) max_connections: usize,
    /// How long a client may take for the handshake of TLS, to send a request's head, to stay idle between two requests, or to read
    /// nothing of an answer.
    pub(crate) header_timeout: Duration,
    /// How long requests may go on after the host was asked to stop.
    pub(crate) drain_timeout: Duration,
}

/// Answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request, always. `peer` is the other end of the connection.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<HyperOutgoingBody>> + Send;
}

/// Serves until `shutdown` is cancelled, then lets the requests in flight end, for `drain_timeout` at most. The socket comes
/// from outside, so that a test can bind port 0. Without `tls` it speaks in the clear.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    service: Arc<S>,
    shutdown: CancellationToken,
) {
    let door = Arc::new(Door { tls, header_timeout: limits.header_timeout });
    let (seats, idle) = (Arc::new(Semaphore::new(limits.max_connections)), Arc::new(Idle::default()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let seat = tokio::select! {
                    seat = find_seat(&seats, &idle) => seat,
                    () = shutdown.cancelled() => break,
                };
                metrics().accepted_connections.of([limits.listener]).inc();
                let open = Counted::in_gauge(metrics().connections.of([limits.listener]));
                let (door, service, shutdown) = (Arc::clone(&door), Arc::clone(&service), shutdown.clone());
                let presence = Presence::new(&idle);
                connections.spawn(async move {
                    connection::serve(stream, peer, &door, service, presence, shutdown).await;
                    drop((seat, open));
                });
            }
            Err(error) => {
                // As a rule out of file descriptors: waiting frees some, a tight loop would not.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained =
        tokio::time::timeout(limits.drain_timeout, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were cut off: they went on past server.drain_timeout"
        );
    }
}

/// A seat for one who is at the door. When there is none, the connection that has been idle the longest is closed.
async fn find_seat(seats: &Arc<Semaphore>, idle: &Idle) -> Option<OwnedSemaphorePermit> {
    if let Ok(seat) = Arc::clone(seats).try_acquire_owned() {
        return Some(seat);
    }
    let freed = Arc::clone(seats).acquire_owned();
    tokio::pin!(freed);
    // One leaves for one who comes.
    let mut leaves = idle.send_away();
    loop {
        tokio::select! {
            seat = &mut freed => return seat.ok(),
            () = idle.more(), if !leaves => leaves = idle.send_away(),
        }
    }
}
