//! The sections of the configuration: their fields, defaults and bounds.
//!
//! Owns the list of keys: [`Config::fields`] names each once, and reading, describing and the check for unknown keys all
//! follow it. Must never know where a value came from.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::config::device::{Device, Rows};
use crate::config::queue_url::QueueUrl;
use crate::config::value::{Count, Factor, Limit, List, Listener, Optional, Or, Size, Span, Value};
use crate::config::{Config, Processors};
use crate::task::NonFrontal;
use crate::telemetry;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Section `server`: the public listener and its limits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// What this process does of the whole.
    pub(crate) role: Role,
    /// Where to listen; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Where operators are listened to; `None`: nowhere.
    pub(crate) admin: Option<SocketAddr>,
    /// The file with the token that operators show; made at the first start on a loopback address.
    pub(crate) admin_token_file: PathBuf,
    /// The largest component or bundle that operators may send, bytes.
    pub(crate) admin_body_limit: u64,
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// How many bytes of request bodies are held at once, all requests together; more are refused with 503.
    pub(crate) body_memory: u64,
    /// How many requests are in the gateway at once; more are refused with 503.
    pub(crate) concurrency: usize,
    /// How many connections are open at once; more wait until one closes.
    pub(crate) max_connections: usize,
    /// How long a client may take to send the head of a request, or be silent between two requests.
    pub(crate) header_timeout: Duration,
    /// How long a request may take, its body and the wait for a result included.
    pub(crate) request_timeout: Duration,
    /// How long running requests and tasks may take to end when the host is told to stop.
    pub(crate) drain_timeout: Duration,
    /// The header by which a proxy tells the client's address; `None` is the address of whoever connects.
    pub(crate) client_address_header: Option<HeaderName>,
}

/// What a process does of the whole; those that share a queue make one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Accepts requests and does tasks.
    All,
    /// Accepts requests; loads no model.
    Edge,
    /// Does tasks; has no public listener.
    Worker,
}

impl Role {
    /// Whether it accepts requests, and whether it does tasks.
    pub(crate) fn parts(self) -> (bool, bool) {
        (self != Self::Worker, self != Self::Edge)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Edge => "edge",
            Self::Worker => "worker",
        })
    }
}

/// Section `queue`: where tasks wait, and how long things live there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queue {
    /// Which queue.
    pub(crate) url: QueueUrl,
    /// On a Redis: tells several queues on one server apart.
    pub(crate) name: String,
    /// On a Redis: this node's own name. Restarted under it, a node takes back at once what it ran when it died; without
    /// a name those tasks wait for their leases to run out.
    pub(crate) node: Option<String>,
    /// For `rediss:`: the authorities in PEM that the server's certificate is checked against; `None` is the system's.
    pub(crate) tls_ca: Option<PathBuf>,
    /// For `rediss:`: this client's certificate in PEM, where the server asks for one.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// For `rediss:`: the private key of that certificate, in PEM.
    pub(crate) tls_key: Option<PathBuf>,
    /// On a Redis with replicas: how many of them must have a task or a result before it is confirmed; 0 waits for none.
    pub(crate) wait_replicas: u32,
    /// How many tasks may wait; more are refused.
    pub(crate) max_length: u64,
    /// How old a task may be expected to become until it ends; what would become older is refused. `None`: nothing is.
    pub(crate) max_age: Option<Duration>,
    /// How many tasks of one client may wait; more are refused.
    pub(crate) max_waiting_per_client: Option<u64>,
    /// How long a worker holds a task without a sign of life before another may take it.
    pub(crate) lease: Duration,
    /// How often a task is tried at most, whether its workers fail or die; then it is given up.
    pub(crate) max_deliveries: u32,
    /// How long an ended task is remembered.
    pub(crate) result_ttl: Duration,
    /// How long a task may wait for a worker, and its photographs live, at most.
    pub(crate) payload_ttl: Duration,
    /// The key that photographs are encrypted with at rest; made at the first start.
    pub(crate) encryption_key_file: PathBuf,
}

/// Section `worker`: how tasks are done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Worker {
    /// How many tasks are done at once; `None`: as many as there are processors for this process.
    pub(crate) concurrency: Option<usize>,
    /// How long one try of a task may take.
    pub(crate) task_timeout: Duration,
    /// How often a task is tried again after the host or a component failed; less than `queue.max_deliveries`.
    pub(crate) retries: u32,
}

/// Section `components`: the four components and what each may use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Components {
    /// The folder for compiled code, to start faster the next time. Only this host's user may write in it.
    pub(crate) cache: PathBuf,
    /// The folder that keeps what was deployed while the host ran.
    pub(crate) store: PathBuf,
    /// The folder of photographs that a new analyzer must see as the one before it did.
    pub(crate) probes: PathBuf,
    /// The folder in which components and bundles are left to be deployed; `None`: there is none.
    pub(crate) watch: Option<PathBuf>,
    /// After so many tasks, or requests for a gateway, a canary takes over.
    pub(crate) canary_tasks: u32,
    /// How many of them may fail where the generation that serves does not.
    pub(crate) canary_failures: u32,
    /// How many times as long as with the generation that serves they may take, by the medians.
    pub(crate) canary_slowdown: f64,
    /// Whose signatures are accepted: minisign's public keys, or paths of files that hold one. When there are some, nothing
    /// is deployed without a signature.
    pub(crate) trusted_keys: Vec<String>,
    /// Reads requests and answers them.
    pub(crate) gateway: Component,
    /// Finds and describes the faces of one photograph.
    pub(crate) analyzer: Component,
    /// Decides.
    pub(crate) scorer: Component,
    /// Draws what was seen; only `visavis verify --annotate` uses it.
    pub(crate) annotator: Component,
}

/// One of the subsections of `components`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Component {
    /// The component's file.
    pub(crate) path: PathBuf,
    /// The most memory that one instance may have, bytes.
    pub(crate) memory_limit: usize,
    /// How long one call may take; then it is interrupted. For a gateway only its own computing counts, not its waits.
    pub(crate) deadline: Duration,
}

/// Section `nn`: what runs the models.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Nn {
    /// Which library.
    pub(crate) backend: Backend,
    /// The library's file.
    pub(crate) library: PathBuf,
    /// How many inferences of one model run at once.
    pub(crate) sessions: usize,
    /// How many threads one inference uses.
    pub(crate) threads: usize,
    /// The processor, or a GPU.
    pub(crate) device: Device,
    /// How many rows of how many callers ever run together; `None`: the device decides.
    pub(crate) max_batch: Option<usize>,
    /// How long one caller waits for others.
    pub(crate) max_batch_delay: Duration,
}

/// An inference library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// ONNX Runtime.
    Onnx,
    /// OpenVINO, which set-up adds when it is asked to.
    OpenVino,
}

/// Section `models`: which models are used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Models {
    /// The folder of the models and of their `manifest.toml`.
    pub(crate) dir: PathBuf,
    /// The detector's name in the manifest.
    pub(crate) detector: String,
    /// The embedder's name in the manifest; `auto` leaves it to the processor.
    pub(crate) embedder: String,
}

/// Section `verify`: the operator's policy. A client may override the first two for one task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verify {
    /// Two faces are one person when the Euclidean distance of their embeddings is at most this; `None` is the
    /// embedder's own.
    pub(crate) threshold: Option<f32>,
    /// What to do with a face that does not look into the camera.
    pub(crate) non_frontal: NonFrontal,
    /// The smallest face to look for: shorter side in pixels of the copy on which it is proposed.
    pub(crate) min_face: u32,
    /// Faces are searched on a copy whose longer side is at most this many pixels; 0 searches the photograph itself.
    pub(crate) detect_max_side: u32,
    /// The most pixels, width times height, that a photograph may declare.
    pub(crate) max_pixels: u64,
    /// How much memory analyses of photographs may take that are kept in case the photographs come again, bytes; `None`: none
    /// is kept.
    pub(crate) cache: Option<usize>,
}

/// One key and the place of its value.
pub(crate) struct Field<'a> {
    /// The dotted key, as `server.listen`.
    pub(crate) key: String,
    /// What it sets.
    pub(crate) value: Box<dyn Value + 'a>,
}

impl Config {
    /// The defaults for a process with so many processors. Paths that follow from others are still empty;
    /// `Config::load` fills them in when nothing has set them.
    pub(super) fn defaults(processors: Processors) -> Self {
        let cores = processors.count;
        Self {
            assets: PathBuf::new(),
            server: Server {
                role: Role::All,
                listen: (Ipv4Addr::LOCALHOST, 8080).into(),
                admin: Some((Ipv4Addr::LOCALHOST, 8081).into()),
                admin_token_file: PathBuf::new(),
                admin_body_limit: 128 * MIB,
                body_limit: 20 * MIB,
                body_memory: 512 * MIB,
                concurrency: 256,
                max_connections: 1024,
                header_timeout: Duration::from_secs(10),
                request_timeout: Duration::from_secs(60),
                drain_timeout: Duration::from_secs(30),
                client_address_header: None,
            },
            queue: Queue {
                url: QueueUrl::File("visavis-data/queue.redb".into()),
                name: "visavis".to_owned(),
                node: None,
                tls_ca: None,
                tls_certificate: None,
                tls_key: None,
                wait_replicas: 0,
                max_length: 1000,
                max_age: None,
                max_waiting_per_client: None,
                lease: Duration::from_secs(15),
                max_deliveries: 5,
                result_ttl: HOUR,
                payload_ttl: Duration::from_secs(15 * 60),
                encryption_key_file: PathBuf::new(),
            },
            worker: Worker { concurrency: None, task_timeout: Duration::from_secs(30), retries: 3 },
            components: Components {
                cache: PathBuf::new(),
                store: PathBuf::new(),
                probes: PathBuf::new(),
                watch: None,
                canary_tasks: 50,
                canary_failures: 0,
                canary_slowdown: 2.0,
                trusted_keys: Vec::new(),
                gateway: Component::new(256, Duration::from_secs(5)),
                analyzer: Component::new(512, Duration::from_secs(20)),
                scorer: Component::new(64, Duration::from_secs(2)),
                annotator: Component::new(512, Duration::from_secs(20)),
            },
            nn: Nn {
                backend: Backend::Onnx,
                library: PathBuf::new(),
                sessions: cores,
                threads: 1,
                device: Device::Cpu,
                max_batch: None,
                max_batch_delay: Duration::from_millis(2),
            },
            models: Models {
                dir: PathBuf::new(),
                detector: "mtcnn".to_owned(),
                embedder: visavis_models::AUTO.to_owned(),
            },
            verify: Verify {
                threshold: None,
                non_frontal: NonFrontal::Reject,
                min_face: 20,
                detect_max_side: 480,
                max_pixels: 40_000_000,
                cache: None,
            },
            telemetry: telemetry::Config::default(),
            processors,
            sources: Default::default(),
        }
    }

    /// Every key there is, with the place of its value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        let Self {
            assets,
            server,
            queue,
            worker,
            components,
            nn,
            models,
            verify,
            telemetry,
            processors: _,
            sources: _,
        } = self;
        let ms = Duration::from_millis;
        let seconds = Duration::from_secs;
        let mut fields = vec![
            field("assets", assets),
            field("server.role", &mut server.role),
            field("server.listen", &mut server.listen),
            field("server.admin", Listener(&mut server.admin)),
            field("server.admin_token_file", &mut server.admin_token_file),
            field("server.admin_body_limit", Size(&mut server.admin_body_limit, KIB..=GIB)),
            field("server.body_limit", Size(&mut server.body_limit, KIB..=GIB)),
            field("server.body_memory", Size(&mut server.body_memory, KIB..=1024 * GIB)),
            field("server.concurrency", Count(&mut server.concurrency, 1..=4096)),
            field("server.max_connections", Count(&mut server.max_connections, 1..=1_000_000)),
            field("server.header_timeout", Span(&mut server.header_timeout, ms(100)..=HOUR)),
            field("server.request_timeout", Span(&mut server.request_timeout, seconds(1)..=HOUR)),
            field("server.drain_timeout", Span(&mut server.drain_timeout, Duration::ZERO..=HOUR)),
            field("server.client_address_header", &mut server.client_address_header),
            field("queue.url", &mut queue.url),
            field("queue.name", &mut queue.name),
            field("queue.node", &mut queue.node),
            field("queue.tls_ca", &mut queue.tls_ca),
            field("queue.tls_certificate", &mut queue.tls_certificate),
            field("queue.tls_key", &mut queue.tls_key),
            field("queue.wait_replicas", Count(&mut queue.wait_replicas, 0..=16)),
            field("queue.max_length", Count(&mut queue.max_length, 1..=10_000_000)),
            field(
                "queue.max_age",
                Or {
                    word: "off",
                    value: &mut queue.max_age,
                    of: |it| Box::new(Span(it, Duration::from_millis(100)..=HOUR)),
                },
            ),
            field("queue.max_waiting_per_client", Limit(&mut queue.max_waiting_per_client, 1..=10_000_000)),
            field("queue.lease", Span(&mut queue.lease, seconds(1)..=HOUR)),
            field("queue.max_deliveries", Count(&mut queue.max_deliveries, 1..=1000)),
            field("queue.result_ttl", Span(&mut queue.result_ttl, seconds(1)..=MONTH)),
            field("queue.payload_ttl", Span(&mut queue.payload_ttl, seconds(1)..=MONTH)),
            field("queue.encryption_key_file", &mut queue.encryption_key_file),
            field(
                "worker.concurrency",
                Or { word: "auto", value: &mut worker.concurrency, of: |it| Box::new(Count(it, 1..=1024)) },
            ),
            field("worker.task_timeout", Span(&mut worker.task_timeout, ms(100)..=HOUR)),
            field("worker.retries", Count(&mut worker.retries, 0..=100)),
            field("components.cache", &mut components.cache),
            field("components.store", &mut components.store),
            field("components.probes", &mut components.probes),
            field("components.watch", &mut components.watch),
            field("components.canary_tasks", Count(&mut components.canary_tasks, 1..=1_000_000)),
            field("components.canary_failures", Count(&mut components.canary_failures, 0..=1_000_000)),
            field("components.canary_slowdown", Factor(&mut components.canary_slowdown, 1.0..=1000.0)),
            field(
                "components.trusted_keys",
                List { value: &mut components.trusted_keys, of: "minisign's public keys, or of paths of .pub files" },
            ),
        ];
        for (name, component) in [
            ("gateway", &mut components.gateway),
            ("analyzer", &mut components.analyzer),
            ("scorer", &mut components.scorer),
            ("annotator", &mut components.annotator),
        ] {
            let Component { path, memory_limit, deadline } = component;
            fields.extend([
                field(format!("components.{name}.path"), path),
                field(format!("components.{name}.memory_limit"), Size(memory_limit, MIB..=4 * GIB)),
                field(format!("components.{name}.deadline"), Span(deadline, ms(10)..=HOUR)),
            ]);
        }
        fields.extend([
            field("nn.backend", &mut nn.backend),
            field("nn.library", &mut nn.library),
            field("nn.sessions", Count(&mut nn.sessions, 1..=1024)),
            field("nn.threads", Count(&mut nn.threads, 1..=1024)),
            field("nn.device", &mut nn.device),
            field("nn.max_batch", Rows(&mut nn.max_batch)),
            field("nn.max_batch_delay", Span(&mut nn.max_batch_delay, Duration::ZERO..=seconds(1))),
            field("models.dir", &mut models.dir),
            field("models.detector", &mut models.detector),
            field("models.embedder", &mut models.embedder),
            field(
                "verify.threshold",
                Optional { value: &mut verify.threshold, bounds: 0.0..=2.0, absent: "the embedder's own" },
            ),
            field("verify.non_frontal", &mut verify.non_frontal),
            // The detector's first network looks at squares of 12 pixels: smaller faces would have to be invented.
            field("verify.min_face", Count(&mut verify.min_face, 12..=4096)),
            field("verify.detect_max_side", Count(&mut verify.detect_max_side, 0..=16_384)),
            field("verify.max_pixels", Count(&mut verify.max_pixels, 1..=250_000_000)),
            field(
                "verify.cache",
                Or { word: "off", value: &mut verify.cache, of: |it| Box::new(Size(it, 64 * KIB..=64 * GIB)) },
            ),
            field("telemetry.log", &mut telemetry.log),
            field("telemetry.format", &mut telemetry.format),
        ]);
        fields
    }
}

fn field<'a>(key: impl Into<String>, value: impl Value + 'a) -> Field<'a> {
    Field { key: key.into(), value: Box::new(value) }
}

impl Component {
    fn new(mebibytes: usize, deadline: Duration) -> Self {
        Self { path: PathBuf::new(), memory_limit: mebibytes << 20, deadline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_named_once() {
        let mut config = Config::defaults(Processors::of_process().unwrap());
        let mut keys: Vec<_> = config.fields().into_iter().map(|field| field.key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
