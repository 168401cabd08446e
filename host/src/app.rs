//! Wires the rooms and drains them.
//!
//! Owns the order of start and stop, and the translation of the configuration into each room's own. Must never do a room's
//! work.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use visavis_models::{Detector, Embedder, Manifest};

use crate::config::{self, Backend, Config, QueueUrl, Role};
use crate::edge;
use crate::nn::{self, GraphSource, Nn};
use crate::queue::embedded::{self, Embedded};
use crate::queue::redis::{self, Redis};
use crate::queue::{self, Queue};
use crate::runtime::analyzer::Analyzer;
use crate::runtime::bindings::analyze;
use crate::runtime::gateway::Gateway;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Cache, Clockwork, Limits, Sizes, SlotConfig};
use crate::worker;
use crate::worker::pipeline::{Defaults, Model, Pipeline};

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    let role = config.server.role;
    if role != Role::All && matches!(config.queue.url, QueueUrl::File(_)) {
        bail!(
            "server.role is {role}, but queue.url is a file, which one process has to itself; set it to a redis:// URL"
        );
    }
    let (accepts, works) = (role != Role::Worker, role != Role::Edge);
    // First of all, so that a taken port is told at once; clients that come early wait in the backlog.
    let listener = if accepts { Some(listen(config).await?) } else { None };
    let queue = open_queue(config, config.queue.node.clone().filter(|_| works)).await?;
    let shutdown = CancellationToken::new();

    let clockwork = Clockwork::start(sizes(config))?;
    let cache = Cache::open(&config.components.cache)?;
    let gateway =
        if accepts { Some(Gateway::load(&clockwork, &cache, &slot(&config.components.gateway))?) } else { None };
    let pipeline = if works { Some(Arc::new(pipeline(config, &clockwork, &cache)?)) } else { None };
    tracing::info!(
        %role,
        gateway = gateway.as_ref().map(|gateway| gateway.generation().digest.as_str()),
        analyzer = pipeline.as_ref().map(|pipeline| pipeline.analyzer.generation().digest.as_str()),
        scorer = pipeline.as_ref().map(|pipeline| pipeline.scorer.generation().digest.as_str()),
        onnxruntime = pipeline.as_ref().map(|pipeline| pipeline.nn.version()),
        "components and models are ready"
    );
    match &listener {
        Some(listener) => println!("visavis: listening on http://{}", listener.local_addr()?),
        None => println!("visavis: working"),
    }

    let worker = worker::Config {
        concurrency: config.worker.concurrency,
        task_timeout: config.worker.task_timeout,
        retries: config.worker.retries,
        drain_timeout: config.server.drain_timeout,
    };
    let edge = edge::Config {
        body_limit: config.server.body_limit,
        body_memory: config.server.body_memory,
        concurrency: config.server.concurrency,
        max_connections: config.server.max_connections,
        header_timeout: config.server.header_timeout,
        request_timeout: config.server.request_timeout,
        drain_timeout: config.server.drain_timeout,
    };
    let rooms = async {
        let edge = async {
            if let (Some(listener), Some(gateway)) = (listener, gateway) {
                edge::run(listener, edge, gateway, Arc::clone(&queue), shutdown.clone()).await;
            }
        };
        let worker = async {
            if let Some(pipeline) = pipeline {
                worker::run(worker, Arc::clone(&queue), pipeline, shutdown.clone()).await;
            }
        };
        tokio::join!(edge, worker)
    };
    tokio::pin!(rooms);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = &mut rooms => bail!("the host stopped by itself"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: requests and tasks in flight end first; a second signal stops at once");
    shutdown.cancel();
    tokio::select! {
        _ = &mut rooms => {}
        _ = terminate.recv() => bail!("stopped at once; what was in flight goes on at the next start"),
        _ = interrupt.recv() => bail!("stopped at once; what was in flight goes on at the next start"),
    }
    queue.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.server.listen;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; stop the program that does, or set server.listen"))
}

/// Loads models and components for verifications.
pub(crate) fn pipeline(config: &Config, clockwork: &Clockwork, cache: &Cache) -> anyhow::Result<Pipeline> {
    let models = Models::find(&config.models)?;
    // Graphs are optimised while components are compiled or read.
    let (nn, analyzer, scorer) = std::thread::scope(|scope| {
        let nn = scope.spawn(|| start_nn(config, &models));
        let analyzer = Analyzer::load(clockwork, cache, &slot(&config.components.analyzer));
        let scorer = Scorer::load(clockwork, cache, &slot(&config.components.scorer));
        let nn = nn.join().unwrap_or_else(|_| bail!("the thread that loads the models broke off"));
        (nn, analyzer, scorer)
    });
    let embedder = &models.embedder;
    Ok(Pipeline {
        nn: nn?,
        analyzer: analyzer?,
        scorer: scorer?,
        settings: models.settings(&config.verify),
        defaults: Defaults {
            threshold: config.verify.threshold.unwrap_or(embedder.threshold),
            slope: embedder.slope,
            non_frontal: config.verify.non_frontal,
        },
        models: models.graphs().map(|(name, graph)| Model { name, digest: graph.sha256.clone() }).collect(),
        cores: Arc::new(Semaphore::new(config.nn.sessions)),
    })
}

/// Opens the queue that the configuration names. Who opens a shared one as `node` takes over what the last process of that
/// name ran: only a process that does tasks may have a name.
pub(crate) async fn open_queue(config: &Config, node: Option<String>) -> anyhow::Result<Arc<dyn Queue>> {
    let section = &config.queue;
    let key_file = section.encryption_key_file.clone();
    let config::Queue { max_length, lease, max_deliveries, result_ttl, payload_ttl, .. } = *section;
    let limits = queue::Limits { max_length, lease, max_deliveries, result_ttl, payload_ttl };
    match &section.url {
        QueueUrl::File(path) => {
            let path = path.clone();
            Ok(Arc::new(Embedded::open(embedded::Options { path, limits, key_file })?))
        }
        QueueUrl::Redis(url) => {
            let client = match (&section.tls_certificate, &section.tls_key) {
                (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
                (None, None) => None,
                _ => bail!("queue.tls_certificate and queue.tls_key belong together; set both or neither"),
            };
            let tls = redis::Tls { ca: section.tls_ca.clone(), client };
            let (url, name) = (url.clone(), section.name.clone());
            let options = redis::Options { url, name, node, tls, limits, key_file };
            Ok(Arc::new(Redis::open(options).await?))
        }
    }
}

/// Room for every instance that may live at once.
pub(crate) fn sizes(config: &Config) -> Sizes {
    let components = &config.components;
    let limits = [&components.gateway, &components.analyzer, &components.scorer, &components.annotator];
    // A gateway's instance outlives its permit while it sends its body: hence the slack.
    let gateways = config.server.concurrency + config.server.concurrency / 4;
    let instances = gateways + config.nn.sessions + config.worker.concurrency + 8;
    Sizes {
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        memory: limits.map(|component| component.memory_limit).into_iter().max().unwrap_or_default(),
    }
}

/// One slot's part of the configuration, as the runtime wants it.
pub(crate) fn slot(component: &config::Component) -> SlotConfig {
    let limits = Limits { memory: component.memory_limit, deadline: component.deadline };
    SlotConfig { path: component.path.clone(), limits }
}

/// The chosen entries of the manifest.
pub(crate) struct Models<'a> {
    folder: &'a Path,
    detector: Detector,
    embedder: Embedder,
}

impl<'a> Models<'a> {
    /// Finds the configured models in the manifest.
    pub(crate) fn find(config: &'a config::Models) -> anyhow::Result<Self> {
        let manifest = Manifest::load(&config.dir.join("manifest.toml"))?;
        let detector = manifest.detector(&config.detector)?.clone();
        let embedder = manifest.embedder(&config.embedder)?.clone();
        Ok(Self { folder: &config.dir, detector, embedder })
    }

    /// All graphs with the names under which guests load them.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = (String, &visavis_models::Graph)> {
        self.detector.graphs().into_iter().chain([(self.embedder.graph_name(), &self.embedder.graph)])
    }

    /// Checks every graph's digest and says which models there are.
    pub(crate) fn verify(&self) -> anyhow::Result<String> {
        for (_, graph) in self.graphs() {
            graph.verify(self.folder)?;
        }
        Ok(format!("{} and {}, as their digests say", self.detector.name, self.embedder.name))
    }

    fn settings(&self, verify: &config::Verify) -> analyze::Settings {
        let [proposal, refinement, output] = self.detector.graphs().map(|(name, _)| name);
        let (detector, embedder) = (&self.detector, &self.embedder);
        let [first, second, third] = detector.thresholds;
        analyze::Settings {
            detector: analyze::Detector {
                proposal,
                refinement,
                output,
                mean: detector.mean,
                scale: detector.scale,
                thresholds: (first, second, third),
                pyramid_factor: detector.pyramid_factor,
            },
            embedder: analyze::Embedder {
                graph: embedder.graph_name(),
                input: embedder.input.clone(),
                output: embedder.output.clone(),
                size: embedder.size,
                mean: embedder.mean,
                scale: embedder.scale,
                crop_margin: embedder.crop_margin,
                dimension: embedder.dimension,
            },
            embed: analyze::Embed::MostProminent,
            min_face: verify.min_face,
            detect_max_side: verify.detect_max_side,
            max_pixels: verify.max_pixels,
        }
    }
}

/// Loads the inference library and the chosen models; a wrong digest is an error.
pub(crate) fn start_nn(config: &Config, models: &Models<'_>) -> anyhow::Result<Nn> {
    let graphs: Result<Vec<_>, _> = models
        .graphs()
        .map(|(name, graph)| Ok(GraphSource { name, model: graph.read(models.folder)? }))
        .collect::<Result<_, visavis_models::GraphError>>();
    let settings =
        nn::Config { sessions: config.nn.sessions, threads: config.nn.threads, ..nn::Config::new(&config.nn.library) };
    match config.nn.backend {
        Backend::Onnx => Ok(Nn::start(&settings, graphs?)?),
    }
}
