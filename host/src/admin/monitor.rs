//! What those who watch ask: the metrics, whether the process lives, whether it can work.
//!
//! Owns these answers, on the operators' listener and on one of their own, which takes no orders, and of strangers from elsewhere
//! only answers whether the host is well. Must never tell who a client is or what a task is about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::door;
use crate::auth::{Keyring, Scope};
use crate::queue::{Line, Queue};
use crate::rollout::Rollout;
use crate::telemetry::{Depth, OTHER, Snapshot, metrics};
use crate::wire::{self, full, problem};

/// How long the queue may take to say how it stands; scrapers give up after ten seconds, as a rule.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who knows how the process stands.
pub(crate) struct Monitor {
    /// `all`, `edge` or `worker`.
    pub(crate) role: String,
    /// How long the line is.
    pub(crate) queue: Arc<dyn Queue>,
    /// What serves.
    pub(crate) rollout: Arc<Rollout>,
    /// Cancelled when the host stops.
    pub(crate) shutdown: CancellationToken,
}

/// What opens the metrics where others than this machine reach them.
const KEY: &str = "an API key with the scope metrics";

/// The listener of those who watch and may do nothing else.
pub(super) struct Watched {
    pub(super) monitor: Arc<Monitor>,
    /// The metrics are told who holds one of these.
    pub(super) keys: Option<Arc<Keyring>>,
}

impl Watched {
    async fn metrics(&self, request: &Request<Incoming>) -> Response<HyperOutgoingBody> {
        if let Some(keys) = &self.keys
            && let Err(refusal) = door::holder(keys, door::shown(request), &[Scope::Metrics, Scope::Admin], KEY)
        {
            return *refusal;
        }
        self.monitor.metrics().await
    }
}

impl Monitor {
    /// All metrics.
    pub(super) async fn metrics(&self) -> Response<HyperOutgoingBody> {
        let line = tokio::time::timeout(PATIENCE, self.queue.line()).await;
        let queue = line.ok().and_then(Result::ok).map(|Line { stats, oldest }| Depth {
            waiting: stats.waiting,
            running: stats.running,
            ended: stats.ended,
            dead: stats.dead,
            oldest: oldest.unwrap_or_default(),
        });
        let (generations, models) = (self.rollout.generations(), self.rollout.models());
        let snapshot = Snapshot { role: self.role.clone(), queue, generations, models };
        answer(metrics().render(&snapshot), TEXT_FORMAT)
    }

    async fn ready(&self) -> Response<HyperOutgoingBody> {
        if self.shutdown.is_cancelled() {
            return wire::busy("draining", "the host is stopping", 5);
        }
        // Models and components were loaded before the listener was bound.
        match tokio::time::timeout(PATIENCE, self.queue.ping()).await {
            Ok(Ok(())) => answer("ready\n".to_owned(), "text/plain; charset=utf-8"),
            Ok(Err(error)) => wire::busy("queue_unavailable", &error.to_string(), 5),
            Err(_) => wire::busy("queue_unavailable", &format!("the queue does not answer within {PATIENCE:?}"), 5),
        }
    }
}

impl wire::Service for Watched {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<HyperOutgoingBody> {
        let (start, method) = (Instant::now(), request.method().clone());
        let route = match request.uri().path() {
            "/metrics" => "/metrics",
            "/healthz" => "/healthz",
            "/readyz" => "/readyz",
            _ => OTHER,
        };
        let mut response = match (route, matches!(method, Method::GET | Method::HEAD)) {
            (OTHER, _) => problem(
                http::StatusCode::NOT_FOUND,
                "not_found",
                "whoever watches finds /metrics, /healthz and /readyz here",
            ),
            (_, false) => super::service::only("GET, HEAD"),
            ("/metrics", true) => self.metrics(&request).await,
            ("/readyz", true) => self.monitor.ready().await,
            _ => answer("ok\n".to_owned(), "text/plain; charset=utf-8"),
        };
        if method == Method::HEAD {
            *response.body_mut() = full(String::new());
        }
        metrics().note_request("metrics", route, method.as_str(), response.status().as_u16(), start.elapsed());
        response
    }
}

fn answer(text: String, content_type: &'static str) -> Response<HyperOutgoingBody> {
    let mut response = Response::new(full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
