//! Traces: what happened to one request, from its head to the end of its task, on whichever nodes.
//!
//! Owns the spans, their names' and attributes' form, and when there are any: with an endpoint in the variables of OpenTelemetry,
//! which this file and that library read by themselves, since every program shares them. Must never be given what a photograph
//! shows, its name, or where a client is.
//!
//! A span is handed on by hand, not by thread: work goes from the runtime to threads of its own and through the queue to other
//! processes. Without an endpoint nothing here allocates or asks the time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::collector::{Collector, CollectorError};

/// The header of W3C's Trace Context, and the form in which a context is stored.
const TRACEPARENT: &str = "traceparent";

/// How long the last spans may take to leave when the process ends.
const PARTING: Duration = Duration::from_secs(5);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Which span goes on, and in which trace; none when nothing is traced. It travels with a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraceContext(Option<SpanContext>);

/// A piece of work, timed from its making until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Span(Option<opentelemetry_sdk::trace::Span>);

/// Spans leave the process through this.
pub(crate) struct Exporter(SdkTracerProvider);

/// Traces were asked for and cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// A variable asks for what is not here.
    #[error("{variable} is {value:?}; set it to {accepted}, or unset OTEL_EXPORTER_OTLP_ENDPOINT to have no traces")]
    Unsupported {
        /// Its name.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// The library refused, in its words.
    #[error("no traces can be sent: {0}; mend the variables that begin with OTEL_, or unset them")]
    Refused(String),
    /// There is no way to the collector.
    #[error(transparent)]
    Collector(#[from] CollectorError),
}

/// Starts to send spans, if the variables name a collector. Call it once, before the first span.
///
/// # Errors
/// The variables ask for what cannot be done.
pub(crate) fn start(role: &str) -> Result<Option<Exporter>, TraceError> {
    let variable =
        |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|it| !it.is_empty());
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let Some((_, endpoint)) = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]) else {
        return Ok(None);
    };
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        _ if disabled => return Ok(None),
        Some("none") => return Ok(None),
        None | Some("otlp") => {}
        Some(other) => {
            let (variable, accepted) = ("OTEL_TRACES_EXPORTER", "otlp or none");
            return Err(TraceError::Unsupported { variable, value: other.to_owned(), accepted });
        }
    }
    let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((variable, value)) = protocol.filter(|(_, value)| value != "http/protobuf") {
        return Err(TraceError::Unsupported { variable, value, accepted: "http/protobuf" });
    }
    let timeout = first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]);
    let timeout = match timeout.map(|(variable, value)| (variable, value.parse().ok().filter(|it| *it > 0), value)) {
        None => Duration::from_secs(10),
        Some((_, Some(milliseconds), _)) => Duration::from_millis(milliseconds),
        Some((variable, None, value)) => {
            return Err(TraceError::Unsupported { variable, value, accepted: "a number of milliseconds" });
        }
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(&endpoint, timeout)?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .build()
        .map_err(|error| TraceError::Refused(error.to_string()))?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(role)).build();
    if TRACER.set(provider.tracer("visavis")).is_err() {
        return Err(TraceError::Refused("they are sent already".to_owned()));
    }
    Ok(Some(Exporter(provider)))
}

/// Who sends: what the variables say goes before what is known here.
fn resource(role: &str) -> Resource {
    let told = Resource::builder().build();
    let named = told
        .iter()
        .any(|(key, value)| key.as_str() == "service.name" && !value.as_str().starts_with("unknown_service"));
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("visavis.role", role.to_owned()),
    ]);
    if named { resource.build() } else { resource.with_service_name("visavis").build() }
}

impl Exporter {
    /// Sends what is left. Blocks, for some seconds at most.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(PARTING) {
            tracing::warn!(%error, "the last spans did not leave");
        }
    }
}

impl TraceContext {
    /// Reads what a `traceparent` header says; what is none is as good as no header.
    pub(crate) fn read(text: &str) -> Self {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), text.to_owned())]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let span = context.span().span_context().clone();
        Self(span.is_valid().then_some(span))
    }

    /// What a `traceparent` header would say; `None` when nothing is traced.
    pub(crate) fn write(&self) -> Option<String> {
        let context = Context::new().with_remote_span_context(self.0.clone()?);
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
        carrier.remove(TRACEPARENT)
    }

    /// A span of this trace from now on; nothing when nothing is traced.
    pub(crate) fn span(&self, name: &'static str) -> Span {
        if self.0.is_some() { self.start(name.into(), SpanKind::Internal, None) } else { Span::default() }
    }

    /// The same for what hands work to others.
    pub(crate) fn producer(&self, name: &'static str) -> Span {
        if self.0.is_some() { self.start(name.into(), SpanKind::Producer, None) } else { Span::default() }
    }

    /// The same for what has gone on for so long already.
    pub(crate) fn span_of_the_last(&self, name: &'static str, time: Duration) -> Span {
        if self.0.is_none() {
            return Span::default();
        }
        self.start(name.into(), SpanKind::Internal, SystemTime::now().checked_sub(time))
    }

    /// A span for work that others handed in: of this trace, or of a new one.
    pub(crate) fn consumer(&self, name: &'static str) -> Span {
        self.start(name.into(), SpanKind::Consumer, None)
    }

    /// A span for a request: of the client's trace, or of a new one.
    pub(crate) fn server(&self, method: &str, route: &str) -> Span {
        if TRACER.get().is_none() {
            return Span::default();
        }
        self.start(format!("{method} {route}").into(), SpanKind::Server, None)
    }

    fn start(&self, name: Cow<'static, str>, kind: SpanKind, since: Option<SystemTime>) -> Span {
        let Some(tracer) = TRACER.get() else { return Span::default() };
        let mut builder = tracer.span_builder(name).with_kind(kind);
        if let Some(since) = since {
            builder = builder.with_start_time(since);
        }
        let parent = match &self.0 {
            Some(span) => Context::new().with_remote_span_context(span.clone()),
            None => Context::new(),
        };
        Span(Some(tracer.build_with_context(builder, &parent)))
    }
}

impl Span {
    /// What goes on below this span.
    pub(crate) fn context(&self) -> TraceContext {
        TraceContext(self.0.as_ref().map(|span| span.span_context().clone()))
    }

    /// Says more of it. Keys are those of OpenTelemetry's conventions, or begin with `visavis.`.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// It went wrong, by this code.
    pub(crate) fn fail(&mut self, code: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", code));
            span.set_status(Status::error(code));
        }
    }

    /// Whether anybody will see it: else nothing needs to be put together for it.
    pub(crate) fn is_traced(&self) -> bool {
        self.0.as_ref().is_some_and(opentelemetry::trace::Span::is_recording)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_survives_its_text() {
        assert_eq!(TraceContext::read(TEXT).write().as_deref(), Some(TEXT));
        for none in
            ["", "00", "00-0-0-0", "not a context", &TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))]
        {
            assert_eq!(TraceContext::read(none), TraceContext::default(), "{none}");
        }
        // What else a client writes is not passed on.
        let odd = TEXT.replace("-01", "-01-more").replacen("00", "cc", 1);
        assert_eq!(TraceContext::read(&odd).write().as_deref(), Some(TEXT));
    }

    #[test]
    fn without_a_collector_there_are_no_spans() {
        let context = TraceContext::read(TEXT);
        for mut span in [context.server("GET", "/"), context.span("a"), context.consumer("b"), context.producer("c")] {
            span.set("http.route", "/");
            assert!(!span.is_traced() && span.context() == TraceContext::default());
            assert_eq!(span.context().write(), None);
        }
    }
}
