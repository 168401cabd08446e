//! HTTP/1.1 on a listener, with TLS or without, as both listeners speak it.
//!
//! Owns the accept loop, a connection's manners and the shape of a refusal. Must never know what is asked, or by whom it may
//! be asked.
//!
//! # Layout
//!
//! - `connection`: one socket from accept to close.
//! - `problem`: refusals as RFC 9457 documents.
//! - `tls`: the certificate that is shown.

mod connection;
mod problem;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::telemetry::{Counted, metrics};

use self::connection::Door;
pub(crate) use self::problem::{busy, challenge, closing, full, problem, retry_later};
pub(crate) use self::tls::Tls;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Which listener it is, for the metrics.
    pub(crate) listener: &'static str,
    /// Connections at once; more wait in the kernel's backlog.
    pub(crate) max_connections: usize,
    /// How long a client may take for the handshake of TLS, to send a request's head, or to stay idle between two requests.
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
    let seats = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let seat = tokio::select! {
            seat = Arc::clone(&seats).acquire_owned() => seat,
            () = shutdown.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                metrics().accepted_connections.of([limits.listener]).inc();
                let open = Counted::in_gauge(metrics().connections.of([limits.listener]));
                let (door, service, shutdown) = (Arc::clone(&door), Arc::clone(&service), shutdown.clone());
                connections.spawn(async move {
                    connection::serve(stream, peer, &door, service, shutdown).await;
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
