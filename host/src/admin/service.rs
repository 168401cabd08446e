//! One request of an operator: is it one, and what is asked?
//!
//! Owns the paths, the token's check and the status of each refusal. Must never carry an order out itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::{Config, Monitor, door};
use crate::auth::Scope;
use crate::queue::Queue;
use crate::rollout::{Order, Refusal, Rollout, What};
use crate::runtime::Slot;
use crate::task::TaskId;
use crate::telemetry::{OTHER, metrics};
use crate::wire::{self, closing, full, problem};

/// How long a deployment's body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(300);

/// What opens this listener.
const TOKEN: &str = "the token of server.admin_token_file, or an API key with the scope admin,";

/// A detached signature in minisign's format, in base64.
const SIGNATURE: &str = "visavis-signature";
/// The share of the work that the new generation gets at first, in percent.
const CANARY: &str = "visavis-canary";
/// The recorded cases that may come out differently: a JSON list of their names, or `["all"]`.
const EXPECTED_CHANGES: &str = "visavis-expected-changes";
/// `true`: all nodes are meant.
const FLEET: &str = "visavis-fleet";
/// Who asks, for the records.
const BY: &str = "visavis-by";

/// What every request needs.
pub(super) struct Service {
    config: Config,
    rollout: Arc<Rollout>,
    queue: Arc<dyn Queue>,
    monitor: Arc<Monitor>,
    /// Metrics are told without a token.
    watchers: bool,
    shutdown: CancellationToken,
}

type Answer = Response<HyperOutgoingBody>;

impl wire::Service for Service {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let (start, method, route) = (Instant::now(), request.method().clone(), route(request.uri().path()));
        let answer = self.respond(request, peer).await;
        metrics().note_request("admin", route, method.as_str(), answer.status().as_u16(), start.elapsed());
        answer
    }
}

impl Service {
    pub(super) fn new(
        config: Config,
        rollout: Arc<Rollout>,
        queue: Arc<dyn Queue>,
        (monitor, watchers): (Arc<Monitor>, bool),
        shutdown: CancellationToken,
    ) -> Self {
        Self { config, rollout, queue, monitor, watchers, shutdown }
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let looks = request.uri().path() == "/metrics" && request.method() == Method::GET;
        let admitted = if looks && self.watchers { Ok(None) } else { self.admit(&request) };
        let holder = match admitted {
            Ok(holder) => holder.map(|name| format!("key {name:?}")),
            Err(refusal) => return *refusal,
        };
        let named = [holder.as_deref(), text(&request, BY)].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let by = if named.is_empty() { peer.ip().to_string() } else { format!("{named} ({})", peer.ip()) };
        let path = request.uri().path().to_owned();
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (request.method().clone(), parts.as_slice()) {
            (Method::GET, ["metrics"]) => self.monitor.metrics().await,
            (Method::GET, ["components"]) => json(StatusCode::OK, &self.rollout.overview()),
            (Method::PUT, ["components", "bundle"]) => self.deploy(What::Bundle, request, by).await,
            (Method::PUT, ["components", slot]) => match slot_of(slot) {
                Some(slot) => self.deploy(|bytes| What::Component(slot, bytes), request, by).await,
                None => no_slot(slot),
            },
            (Method::DELETE, ["components", slot]) => match slot_of(slot) {
                Some(slot) => told(self.rollout.reset(slot, &by).await),
                None => no_slot(slot),
            },
            (Method::POST, ["components", slot, "rollback"]) => match slot_of(slot) {
                Some(slot) if all_nodes(&request) => {
                    tracing::info!(target: "visavis::audit", %slot, by, "asked all nodes to go back");
                    told(self.rollout.roll_back_all(slot).await)
                }
                Some(slot) => told(self.rollout.roll_back(slot, &by).await),
                None => no_slot(slot),
            },
            (Method::GET, ["nodes"]) => match self.rollout.nodes().await {
                Ok(nodes) => json(StatusCode::OK, &serde_json::json!({ "nodes": nodes })),
                Err(error) => wire::busy("queue_unavailable", &error.to_string(), 5),
            },
            (Method::DELETE, ["tasks", id]) => self.purge(id, &by).await,
            (Method::POST, ["drain"]) => {
                tracing::info!(by, "an operator asked this host to drain");
                self.shutdown.cancel();
                json(StatusCode::ACCEPTED, &serde_json::json!({ "draining": true }))
            }
            (_, ["components"] | ["nodes"] | ["metrics"]) => only("GET"),
            (_, ["components", _]) => only("PUT, DELETE"),
            (_, ["tasks", _]) => only("DELETE"),
            (_, ["components", _, "rollback"] | ["drain"]) => only("POST"),
            _ => problem(
                StatusCode::NOT_FOUND,
                "not_found",
                "operators find /components, /nodes, /tasks, /metrics and /drain here",
            ),
        }
    }

    /// Removes a task with its photographs and its result.
    async fn purge(&self, id: &str, by: &str) -> Answer {
        let id: TaskId = match id.parse() {
            Ok(id) => id,
            Err(why) => {
                let why = format!("{id:?} names no task: {why}");
                return problem(StatusCode::BAD_REQUEST, "malformed_request", &why);
            }
        };
        match self.queue.forget(id).await {
            Ok(true) => {
                tracing::info!(target: "visavis::audit", %id, by, "purged a task");
                json(StatusCode::OK, &serde_json::json!({ "task_id": id, "purged": true }))
            }
            Ok(false) => {
                let why = format!("there is no task {id}, or it is forgotten");
                problem(StatusCode::NOT_FOUND, "not_found", &why)
            }
            Err(error) => wire::busy("queue_unavailable", &error.to_string(), 5),
        }
    }

    /// Lets in who shows the token, or a key with the scope admin; yields the key's name.
    fn admit(&self, request: &Request<Incoming>) -> Result<Option<String>, Box<Answer>> {
        let shown = door::shown(request);
        let holder = match &self.config.keys {
            _ if self.config.token.is(shown) => None,
            None => return Err(door::stranger(TOKEN)),
            Some(keys) => Some(door::holder(keys, shown, &[Scope::Admin], TOKEN)?),
        };
        if request.body().size_hint().lower() > self.config.body_limit {
            return Err(Box::new(self.too_large()));
        }
        Ok(holder)
    }

    async fn deploy(&self, what: impl FnOnce(Vec<u8>) -> What, request: Request<Incoming>, by: String) -> Answer {
        let wishes = match Wishes::of(&request) {
            Ok(wishes) => wishes,
            Err(why) => return closing(problem(StatusCode::BAD_REQUEST, "malformed_request", &why)),
        };
        let limit = usize::try_from(self.config.body_limit).unwrap_or(usize::MAX);
        let body = tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), limit).collect()).await;
        let bytes = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return self.too_large(),
            Ok(Err(error)) => {
                let why = format!("the body broke off: {error}; send it again");
                return closing(problem(StatusCode::BAD_REQUEST, "malformed_request", &why));
            }
            Err(_) => {
                let why = format!("the body took longer than {PATIENCE:?}; send it again");
                return closing(problem(StatusCode::REQUEST_TIMEOUT, "timeout", &why));
            }
        };
        let Wishes { signature, canary, expected_changes, all } = wishes;
        let order = Order { what: what(bytes.into()), signature, canary, expected_changes, by };
        if all { told(self.rollout.deploy_to_all(order).await) } else { told(self.rollout.deploy(order).await) }
    }

    fn too_large(&self) -> Answer {
        let limit = self.config.body_limit;
        let why = format!("the body is over the limit of {limit} bytes; raise server.admin_body_limit if it is meant");
        closing(problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &why))
    }
}

/// What a deployer wishes beside the bytes.
struct Wishes {
    signature: Option<String>,
    canary: Option<u8>,
    expected_changes: Vec<String>,
    all: bool,
}

impl Wishes {
    fn of(request: &Request<Incoming>) -> Result<Self, String> {
        let header = |name| match request.headers().get(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).map_err(|_| format!("the header {name} is not visible ASCII")),
        };
        let signature = header(SIGNATURE)?.map(|value| {
            let bytes = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| format!("the header {SIGNATURE} is not a signature file in base64"))
        });
        let canary = header(CANARY)?.map(|value| {
            value.parse().map_err(|_| format!("the header {CANARY} is {value:?}; it is a percentage from 1 to 100"))
        });
        let expected_changes = header(EXPECTED_CHANGES)?.map(|value| {
            serde_json::from_str(value)
                .map_err(|_| format!("the header {EXPECTED_CHANGES} is not a JSON list of the names of recorded cases"))
        });
        Ok(Self {
            signature: signature.transpose()?,
            canary: canary.transpose()?,
            expected_changes: expected_changes.transpose()?.unwrap_or_default(),
            all: all_nodes(request),
        })
    }
}

/// An outcome as an answer.
fn told(outcome: Result<impl Serialize, Refusal>) -> Answer {
    let refusal = match outcome {
        Ok(done) => return json(StatusCode::OK, &done),
        Err(refusal) => refusal,
    };
    let status = match &refusal {
        Refusal::Trust(_) => StatusCode::FORBIDDEN,
        Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Alone | Refusal::NothingTold { .. } => StatusCode::CONFLICT,
        Refusal::NotHere { .. } | Refusal::NothingHere | Refusal::UnderTrial | Refusal::NothingBefore { .. } => {
            StatusCode::CONFLICT
        }
        Refusal::Share(_) => StatusCode::BAD_REQUEST,
        Refusal::Load(_) | Refusal::Bundle(_) | Refusal::Policy(_) | Refusal::Gate(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::Store(_) | Refusal::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = problem(status, refusal.code(), &refusal.to_string());
    if let Refusal::Gate(checks) = &refusal {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": refusal.to_string(),
            "code": refusal.code(),
            "gate": checks,
        });
        *answer.body_mut() = full(body.to_string());
    }
    answer
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn all_nodes(request: &Request<Incoming>) -> bool {
    text(request, FLEET) == Some("true")
}

/// The name of a request's path in the metrics.
fn route(path: &str) -> &'static str {
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["metrics"] => "/metrics",
        ["components"] => "/components",
        ["components", _] => "/components/{slot}",
        ["components", _, "rollback"] => "/components/{slot}/rollback",
        ["nodes"] => "/nodes",
        ["drain"] => "/drain",
        ["tasks", _] => "/tasks/{task_id}",
        _ => OTHER,
    }
}

fn slot_of(name: &str) -> Option<Slot> {
    [Slot::Gateway, Slot::Analyzer, Slot::Scorer].into_iter().find(|slot| slot.to_string() == name)
}

fn no_slot(name: &str) -> Answer {
    let why = format!(
        "there is no slot {name:?}; there are gateway, analyzer and scorer, and bundle for a file that fills several"
    );
    closing(problem(StatusCode::NOT_FOUND, "not_found", &why))
}

pub(super) fn only(methods: &'static str) -> Answer {
    let why = format!("this path answers {methods}");
    let mut answer = closing(problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &why));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    answer
}

fn text<'r>(request: &'r Request<Incoming>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}
