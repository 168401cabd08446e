//! A collector of traces: OTLP over HTTP, in protobuf.
//!
//! Owns the socket and what has come. Must never know which spans a host should send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;

/// The largest request, bytes.
const LARGEST: u64 = 64 << 20;

/// A collector that listens until the test program ends.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    bytes: Vec<u8>,
}

/// One span, as it was sent.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Those of the span above; empty when there is none.
    pub parent: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Nanoseconds since the epoch.
    pub start: u64,
    /// Likewise.
    pub end: u64,
    /// Whether it went wrong.
    pub failed: bool,
    /// Its attributes as text.
    pub attributes: Vec<(String, String)>,
    /// The attributes of who sent it.
    pub resource: Vec<(String, String)>,
}

impl Span {
    /// An attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// An attribute of who sent it.
    pub fn sender(&self, key: &str) -> Option<&str> {
        self.resource.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::start()
    }
}

impl Collector {
    /// Starts one on a free port of the loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let received = Arc::new(Mutex::new(Received::default()));
        let place = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let place = Arc::clone(&place);
                thread::spawn(move || while let Some(()) = serve(&stream, &place) {});
            }
        });
        Self { address, received }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().expect("no thread breaks off here").spans.clone()
    }

    /// All bytes of all requests so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.received.lock().expect("no thread breaks off here").bytes.clone()
    }

    /// All spans, as soon as they are as they should be.
    pub fn wait_for(&self, patience: Duration, whole: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + patience;
        loop {
            let spans = self.spans();
            if whole(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(Instant::now() < deadline, "not within {patience:?}; there are {names:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Takes one request; `None` when the connection is over.
fn serve(stream: &TcpStream, place: &Mutex<Received>) -> Option<()> {
    // One reader a request is enough: a client waits for the answer before it sends the next.
    let mut reader = BufReader::new(stream.take(LARGEST));
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then_some(())?;
    let (mut length, mut content_type) = (0, String::new());
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => content_type = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let read = ExportTraceServiceRequest::decode(body.as_slice());
    let status = match read {
        Ok(request) if path == "/v1/traces" && content_type == "application/x-protobuf" => {
            let mut received = place.lock().ok()?;
            received.bytes.extend_from_slice(&body);
            received.spans.extend(spans(request));
            "200 OK"
        }
        _ => "400 Bad Request",
    };
    write!(&mut &*stream, "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let told = resource.resource.map(|it| texts(it.attributes)).unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(Span {
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
                resource: told.clone(),
            });
        }
    }
    found
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Option<AnyValue>| match value.and_then(|it| it.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|it| (it.key, text(it.value))).collect()
}
