//! One request: health, limits, and the way into the gateway.
//!
//! Owns what holds for every request whatever it asks. Must never read a body.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::{Body, Incoming};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::body::{Counted, Progress};
use super::places::{Lack, Places};
use super::{Config, access, client, route};
use crate::auth::Caller;
use crate::runtime::gateway::Gateway;
use crate::runtime::switch::Switch;
use crate::runtime::{CallError, Desk, Slot};
use crate::telemetry::{Span, TraceContext, metrics};
use crate::wire::{self, busy, closing, full, problem};

/// The header by which a client says which trace a request belongs to, as W3C's Trace Context has it.
const TRACEPARENT: &str = "traceparent";

/// What every request needs.
pub(super) struct Service {
    config: Config,
    gateways: Arc<Switch<Gateway>>,
    desk: Desk,
    places: Places,
}

impl Service {
    pub(super) fn new(config: Config, gateways: Arc<Switch<Gateway>>, desk: Desk) -> Self {
        let places = Places::new(config.concurrency, config.body_memory);
        Self { config, gateways, desk, places }
    }

    async fn ready(&self) -> Response<HyperOutgoingBody> {
        if self.desk.shutdown.is_cancelled() {
            return busy("draining", "the host is stopping", 5);
        }
        // Models and components were loaded before the listener was bound.
        match self.desk.queue.ping().await {
            Ok(()) => text("ready\n"),
            Err(error) => busy("queue_unavailable", &error.to_string(), 5),
        }
    }

    async fn gateway(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        trace: TraceContext,
    ) -> Response<HyperOutgoingBody> {
        let caller = match access::admit(self.config.keys.as_deref(), &request) {
            Ok(caller) => caller,
            Err(refusal) => return *refusal,
        };
        if let Some(refusal) = self.refuse(&request) {
            return refusal;
        }
        if !matches!(caller, Caller::Anyone) {
            // A key is for the host: a component has no use for one, and might be somebody else's.
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        let seat = match self.places.take(self.kibibytes(request.body())).await {
            Ok(seat) => seat,
            Err(full) => return overloaded(full),
        };
        let client = client::identity(peer, self.config.client_address_header.as_ref(), request.headers());
        let progress = Progress::default();
        let counted = |body| Counted::new(body, self.config.body_limit, progress.clone(), Arc::clone(&seat));
        let request = request.map(counted);
        let desk = self.desk.of(client, caller, trace, seat);
        let deadline = Instant::now() + self.config.request_timeout;
        let answered = tokio::time::timeout_at(deadline.into(), self.pass_on(request, &desk, deadline)).await;
        // A gateway sees no more than a broken body, so the host words this refusal.
        if progress.has_overflown() {
            return self.too_large();
        }
        if progress.was_cut_off() {
            return closing(busy(
                "overloaded",
                "the host was waited for by more requests than server.concurrency and server.body_memory allow, and the body of \
                 this one came the slowest",
                1,
            ));
        }
        match answered {
            Ok(Ok(response)) if progress.is_at_end() => response,
            // A refusal need not wait for the photographs. The client is told not to send another request behind them.
            Ok(Ok(response)) => closing(response),
            Ok(Err(error)) => {
                tracing::error!(%error, "a request was not answered");
                let code = if matches!(error, CallError::Deadline { .. }) { "timeout" } else { "gateway_failed" };
                closing(problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    code,
                    "the gateway failed on this request; the log says why",
                ))
            }
            Err(_) => closing(problem(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                &format!(
                    "the request took longer than server.request_timeout, {:?}; send it again",
                    self.config.request_timeout
                ),
            )),
        }
    }

    /// Hands a request to the gateway that is picked for it. What a canary fails on is done again by the one that serves, so that
    /// nobody suffers from a trial; for that the body is read first.
    /// A quarter of the request's time is kept for that.
    async fn pass_on(
        &self,
        request: Request<Counted>,
        desk: &Desk,
        deadline: Instant,
    ) -> Result<Response<HyperOutgoingBody>, CallError> {
        let (pick, start) = (self.gateways.pick(), Instant::now());
        if !pick.canary {
            let answered = self.on(&pick.work, &pick.retired, desk, request).await;
            self.gateways.observe(&pick, Some(start.elapsed()));
            return answered;
        }
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(Collected::to_bytes) else {
            // The client's doing: it went away, or its body broke a limit.
            return Err(stopped(&pick.work));
        };
        let whole = || Full::new(body.clone()).map_err(|never: Infallible| -> Error { match never {} });
        let again = || Request::from_parts(head.clone(), whole());
        let left = deadline.saturating_duration_since(Instant::now());
        let tried = tokio::time::timeout(left * 3 / 4, self.on(&pick.work, &pick.retired, desk, again())).await;
        // It is not the gateway's fault when a client took most of the time to send its body.
        let blameless = tried.is_err() && left < self.config.request_timeout / 2;
        let took = start.elapsed();
        match tried.unwrap_or_else(|_| Err(stopped(&pick.work))) {
            Ok(response) if !response.status().is_server_error() => {
                self.gateways.observe(&pick, Some(took));
                Ok(response)
            }
            failed => {
                let serving = self.on(&self.gateways.serving(), &CancellationToken::new(), desk, again()).await;
                let status = |answer: &Result<Response<_>, CallError>| answer.as_ref().ok().map(Response::status);
                let alike = status(&serving).is_some() && status(&failed) == status(&serving);
                if !alike {
                    let error = failed.err().map(|error| error.to_string());
                    tracing::warn!(error, "a canary failed on a request; the gateway that serves has answered it");
                }
                if !blameless {
                    self.gateways.observe(&pick, alike.then_some(took));
                }
                serving
            }
        }
    }

    async fn on<B>(
        &self,
        gateway: &Gateway,
        retired: &CancellationToken,
        desk: &Desk,
        request: Request<B>,
    ) -> Result<Response<HyperOutgoingBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut span = desk.trace.span("gateway");
        span.set("visavis.component.generation", i64::from(gateway.generation().generation));
        let desk = desk.traced(span.context());
        let answered = tokio::select! {
            answered = gateway.handle(request, desk, self.config.request_timeout) => answered,
            () = retired.cancelled() => Err(stopped(gateway)),
        };
        if answered.is_err() {
            span.fail("gateway_failed");
        }
        answered
    }

    fn refuse(&self, request: &Request<Incoming>) -> Option<Response<HyperOutgoingBody>> {
        if request.body().size_hint().lower() > self.config.body_limit {
            return Some(self.too_large());
        }
        if request.headers().get(header::HOST).is_none_or(|host| host.to_str().is_err()) {
            return Some(closing(problem(
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "the request has no Host header, or one that is not visible ASCII; HTTP/1.1 requires it",
            )));
        }
        None
    }

    /// What a body counts for: what it declares, or the most it may have.
    fn kibibytes(&self, body: &Incoming) -> u32 {
        let bytes = body.size_hint().upper().unwrap_or(self.config.body_limit);
        u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
    }

    fn too_large(&self) -> Response<HyperOutgoingBody> {
        let limit = self.config.body_limit;
        closing(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            &format!(
                "the body is over the limit of {limit} bytes; send smaller photographs, or raise server.body_limit"
            ),
        ))
    }
}

impl wire::Service for Service {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<HyperOutgoingBody> {
        let (start, method, route) = (Instant::now(), request.method().clone(), route::of(request.uri().path()));
        let head = method == Method::HEAD;
        let mut response = match request.uri().path() {
            "/healthz" | "/readyz" if !matches!(*request.method(), Method::GET | Method::HEAD) => only_get(),
            "/healthz" => text("ok\n"),
            "/readyz" => self.ready().await,
            _ => {
                let parent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
                let mut span = parent.map(TraceContext::read).unwrap_or_default().server(name_of(&method), route);
                let response = self.gateway(request, peer.ip(), span.context()).await;
                describe(&mut span, &method, route, response.status());
                response
            }
        };
        if head {
            *response.body_mut() = full(String::new());
        }
        if self.desk.shutdown.is_cancelled() {
            response = closing(response);
        }
        metrics().note_request("public", route, method.as_str(), response.status().as_u16(), start.elapsed());
        response
    }
}

fn stopped(gateway: &Gateway) -> CallError {
    CallError::Cancelled { slot: Slot::Gateway, generation: gateway.generation().generation }
}

/// What a trace tells of a request: neither its path nor who sent it.
fn describe(span: &mut Span, method: &Method, route: &'static str, status: StatusCode) {
    if span.is_traced() {
        span.set("http.request.method", name_of(method).to_owned());
        span.set("http.route", route);
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail("server_error");
        }
    }
}

/// A method's name; what a client makes up has one together.
fn name_of(method: &Method) -> &str {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];
    if known.contains(method) { method.as_str() } else { "_OTHER" }
}

fn overloaded(full: Lack) -> Response<HyperOutgoingBody> {
    let why = match full {
        Lack::Seats => "as many requests are being read as server.concurrency allows",
        Lack::Bodies => "as many bytes are being read as server.body_memory allows",
    };
    closing(busy("overloaded", why, 1))
}

fn only_get() -> Response<HyperOutgoingBody> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path answers GET and HEAD");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn text(text: &str) -> Response<HyperOutgoingBody> {
    let mut response = Response::new(full(text.to_owned()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
