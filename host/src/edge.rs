//! The public door: sockets, connections, and the limits on a request before any component sees it.
//!
//! Owns HTTP/1.1 on the public listener. Must never know what is asked: apart from health, the gateway component answers.
//! Must never know the worker; they meet in the queue.
//!
//! # Layout
//!
//! - `connection`: one socket from accept to close.
//! - `service`: one request: health, limits, and the way into the gateway.
//! - `body`: a request's body, counted.
//! - `problem`: the refusals that the host itself makes, as RFC 9457 documents.

mod body;
mod connection;
mod problem;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::service::Service;
use crate::queue::Queue;
use crate::runtime::Desk;
use crate::runtime::gateway::Gateway;

/// The limits of the public listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// Bytes of request bodies held at once, all requests together; more are answered 503.
    pub(crate) body_memory: u64,
    /// Requests in the gateway at once; more are answered 503.
    pub(crate) concurrency: usize,
    /// Connections at once; more wait in the kernel's backlog.
    pub(crate) max_connections: usize,
    /// How long a client may take to send a request's head, or to stay idle between two requests.
    pub(crate) header_timeout: Duration,
    /// How long one request may take, its body included.
    pub(crate) request_timeout: Duration,
    /// How long requests may go on after the host was asked to stop.
    pub(crate) drain_timeout: Duration,
}

/// Serves until `shutdown` is cancelled, then lets the requests in flight end, for `drain_timeout` at most. The socket comes
/// from outside, so that a test can bind port 0.
pub(crate) async fn run(
    listener: TcpListener,
    config: Config,
    gateway: Gateway,
    queue: Arc<dyn Queue>,
    shutdown: CancellationToken,
) {
    let desk = Desk { queue, body_limit: config.body_limit, shutdown: shutdown.clone() };
    let service = Arc::new(Service::new(config, gateway, desk));
    let seats = Arc::new(Semaphore::new(config.max_connections));
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
            Ok((stream, _)) => {
                let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
                connections.spawn(async move {
                    connection::serve(stream, config, service, shutdown).await;
                    drop(seat);
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
        tokio::time::timeout(config.drain_timeout, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were cut off: they went on past server.drain_timeout"
        );
    }
}
