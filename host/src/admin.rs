//! The operators' doors: a listener of its own, for who shows the token or a key for it, and a folder, for who may write there.
//!
//! Owns what operators may ask, and who may. Must never answer a client of the service.
//!
//! # Layout
//!
//! - `token`: the secret that operators show.
//! - `door`: who is let in by an API key.
//! - `service`: one request.
//! - `monitor`: metrics and health, for who watches.
//! - `folder`: files that are left in a folder instead.

mod door;
mod folder;
mod monitor;
mod service;
mod token;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::folder::Folder;
pub(crate) use self::monitor::Monitor;
use self::monitor::Watched;
use self::service::Service;
pub(crate) use self::token::Token;
use crate::auth::Keyring;
use crate::queue::Queue;
use crate::rollout::Rollout;
use crate::wire::{self, Tls};

/// The limits of the operators' listener.
const LIMITS: wire::Limits = wire::Limits {
    listener: "admin",
    max_connections: 64,
    header_timeout: Duration::from_secs(10),
    // A deployment that has begun should end, but nobody should wait for an operator who does not hang up.
    drain_timeout: Duration::from_secs(5),
};

/// What the operators' listener needs.
pub(crate) struct Config {
    /// What must be shown.
    pub(crate) token: Token,
    /// Or one of these keys, with the scope for it.
    pub(crate) keys: Option<Arc<Keyring>>,
    /// The largest body, bytes.
    pub(crate) body_limit: u64,
}

/// Serves until `shutdown` is cancelled; an operator may cancel it as well.
pub(crate) async fn run(
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    config: Config,
    rollout: Arc<Rollout>,
    queue: Arc<dyn Queue>,
    monitor: Arc<Monitor>,
    shutdown: CancellationToken,
) {
    // An address that others reach asks everybody for the token.
    let watchers = is_local(&listener);
    let service = Arc::new(Service::new(config, rollout, queue, (monitor, watchers), shutdown.clone()));
    wire::serve(listener, tls, LIMITS, service, shutdown).await;
}

/// Answers those who watch, until the rooms have ended: a scraper sees the drain to its end.
pub(crate) async fn watch(
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    keys: Option<Arc<Keyring>>,
    monitor: Arc<Monitor>,
    ended: CancellationToken,
) {
    let limits = wire::Limits { listener: "metrics", drain_timeout: Duration::ZERO, ..LIMITS };
    let keys = keys.filter(|_| !is_local(&listener));
    wire::serve(listener, tls, limits, Arc::new(Watched { monitor, keys }), ended).await;
}

/// Whether this machine alone reaches a listener: whoever does may look.
fn is_local(listener: &TcpListener) -> bool {
    listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
}
