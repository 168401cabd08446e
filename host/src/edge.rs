//! The public door: sockets, connections, and the limits on a request before any component sees it.
//!
//! Owns HTTP/1.1 on the public listener. Must never know what is asked: apart from health, the gateway component answers.
//! Must never know the worker; they meet in the queue.
//!
//! # Layout
//!
//! - `access`: who may ask for what.
//! - `client`: who asks, for the limits of one client.
//! - `route`: the name of a request's path in metrics and traces.
//! - `service`: one request: health, limits, and the way into the gateway.
//! - `places`: who is let in, and who gives way when all seats are taken.
//! - `body`: a request's body, counted.

mod access;
mod body;
mod client;
mod places;
mod route;
mod service;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::service::Service;
use crate::auth::{Caller, Keyring};
use crate::queue::Queue;
use crate::runtime::Desk;
use crate::runtime::gateway::Gateway;
use crate::runtime::switch::Switch;
use crate::webhook::Allow;
use crate::wire::{self, Tls};

/// The limits of the public listener.
#[derive(Clone)]
pub(crate) struct Config {
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// Bytes of request bodies held at once, all requests together; more are answered 503.
    pub(crate) body_memory: u64,
    /// Requests in the gateway at once; more are answered 503.
    pub(crate) concurrency: usize,
    /// How long one request may take, its body included.
    pub(crate) request_timeout: Duration,
    /// Where clients may have the ends of their tasks told.
    pub(crate) callbacks: Arc<Allow>,
    /// Who is let in; without it everybody is.
    pub(crate) keys: Option<Arc<Keyring>>,
    /// The listener's own.
    pub(crate) wire: wire::Limits,
    /// The header by which a proxy tells the client's address.
    pub(crate) client_address_header: Option<HeaderName>,
}

/// Serves until `shutdown` is cancelled, then lets the requests in flight end.
pub(crate) async fn run(
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    config: Config,
    gateways: Arc<Switch<Gateway>>,
    queue: Arc<dyn Queue>,
    shutdown: CancellationToken,
) {
    let (callbacks, body_limit) = (Arc::clone(&config.callbacks), config.body_limit);
    let desk = Desk::new(queue, Caller::Stranger, callbacks, body_limit, shutdown.clone());
    let limits = config.wire;
    let service = Arc::new(Service::new(config, gateways, desk));
    wire::serve(listener, tls, limits, service, shutdown).await;
}
