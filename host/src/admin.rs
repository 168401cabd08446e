//! The operators' doors: a listener of its own, for who shows the token, and a folder, for who may write there.
//!
//! Owns what operators may ask, and who may. Must never answer a client of the service.
//!
//! # Layout
//!
//! - `token`: the secret that operators show.
//! - `service`: one request.
//! - `folder`: files that are left in a folder instead.

mod folder;
mod service;
mod token;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::folder::Folder;
use self::service::Service;
pub(crate) use self::token::Token;
use crate::queue::Queue;
use crate::rollout::Rollout;
use crate::wire;

/// The limits of the operators' listener.
const LIMITS: wire::Limits = wire::Limits {
    max_connections: 64,
    header_timeout: Duration::from_secs(10),
    // A deployment that has begun should end, but nobody should wait for an operator who does not hang up.
    drain_timeout: Duration::from_secs(5),
};

/// What the operators' listener needs.
pub(crate) struct Config {
    /// What must be shown.
    pub(crate) token: Token,
    /// The largest body, bytes.
    pub(crate) body_limit: u64,
}

/// Serves until `shutdown` is cancelled; an operator may cancel it as well.
pub(crate) async fn run(
    listener: TcpListener,
    config: Config,
    rollout: Arc<Rollout>,
    queue: Arc<dyn Queue>,
    shutdown: CancellationToken,
) {
    let service = Arc::new(Service::new(config, rollout, queue, shutdown.clone()));
    wire::serve(listener, LIMITS, service, shutdown).await;
}
