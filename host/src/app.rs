//! Wires the rooms and drains them.
//!
//! Owns the order of start and stop, and the translation of the configuration into each room's own. Must never do a room's
//! work.
//!
//! # Layout
//!
//! - `access`: whom the listeners let in.
//! - `models`: the chosen models, and what components are told of them.
//! - `webhooks`: whether and how they are sent.

pub(crate) mod access;
pub(crate) mod models;
pub(crate) mod webhooks;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Token};
use crate::auth::Keyring;
use crate::config::{self, Config, QueueUrl, Role};
use crate::edge;
use crate::pipeline::{self, Pipeline};
use crate::queue::embedded::{self, Embedded};
use crate::queue::redis::fleet::Fleet;
use crate::queue::redis::{self, Redis};
use crate::queue::{self, Admin, Queue};
use crate::rollout::nodes::Identity;
use crate::rollout::trust::Trust;
use crate::rollout::{self, Rollout};
use crate::runtime::analyzer::Analyzer;
use crate::runtime::canary::Bounds;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Cache, CacheError, Candidate, Clockwork, Limits, LoadError, Sizes, Slot, Source};
use crate::{telemetry, webhook, wire, worker};

/// Beyond the longest that a piece of work may take by its own limits.
const SLACK: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    let role = config.server.role;
    if role != Role::All && matches!(config.queue.url, QueueUrl::File(_)) {
        bail!(
            "server.role is {role}, but queue.url is a file, which one process has to itself; set it to a redis:// URL"
        );
    }
    let (accepts, works) = role.parts();
    // Whoever listens for this signal is not killed by it: a file at its size limit then is an error, as on a full disk.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    let (keys, tls) = (access::keyring(config)?, access::tls(config)?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    // First of all, so that a taken port is told at once; clients that come early wait in the backlog.
    let listener = if accepts { Some(listen(config).await?) } else { None };
    let traces = telemetry::start_traces(&role.to_string())?;
    let operators = operators(config, keys.clone()).await?;
    let watchers = watchers(config).await?;
    let folder = watched_folder(config)?;
    let callbacks = webhooks::allow(config)?;
    let sending = if works { webhooks::sending(config, &callbacks)? } else { None };
    let (queue, fleet) = open_queue(config, config.queue.node.clone().filter(|_| works)).await?;
    let shutdown = CancellationToken::new();

    let clockwork = Clockwork::start(sizes(config))?;
    let cache = cache(config)?;
    let rollout =
        Rollout::open(rollout(config, fleet, listener.as_ref())?, clockwork, cache, || models::policy(config))?;
    tracing::info!(%role, components = %rollout.summary(), "components and models are ready");
    if works {
        tracing::info!(concurrency = config.worker_concurrency(), "does {}", config.describe_concurrency());
    }
    match &listener {
        Some(listener) => say(&format!("listening on {scheme}://{}", listener.local_addr()?)),
        None => say("working"),
    }
    tracing::info!("lets in {}", access::describe(config, keys.as_deref()));
    if let Some((listener, _)) = &operators {
        say(&format!("operators on {scheme}://{}", listener.local_addr()?));
    }

    if let Some(listener) = &watchers {
        say(&format!("metrics on {scheme}://{}/metrics", listener.local_addr()?));
    }
    let monitor = Arc::new(admin::Monitor {
        role: role.to_string(),
        queue: Arc::clone(&queue),
        rollout: Arc::clone(&rollout),
        shutdown: shutdown.clone(),
    });

    let worker = worker::Config {
        concurrency: config.worker_concurrency(),
        task_timeout: config.worker.task_timeout,
        retries: config.worker.retries,
        drain_timeout: config.server.drain_timeout,
        cache: config.verify.cache.map(|bytes| Arc::new(pipeline::cache::Cache::new(bytes))),
    };
    let edge = edge::Config {
        body_limit: config.server.body_limit,
        body_memory: config.server.body_memory,
        concurrency: config.server.concurrency,
        request_timeout: config.server.request_timeout,
        callbacks,
        keys: keys.clone(),
        wire: wire::Limits {
            listener: "public",
            max_connections: config.server.max_connections,
            header_timeout: config.server.header_timeout,
            drain_timeout: config.server.drain_timeout,
        },
        client_address_header: config.server.client_address_header.clone(),
    };
    let watchers = watchers.map(|listener| (listener, tls.clone())).zip(Some(keys.clone()));
    let rooms = async {
        let edge = async {
            if let (Some(listener), Some(gateway)) = (listener, rollout.gateway()) {
                edge::run((listener, tls.clone()), edge, gateway, Arc::clone(&queue), shutdown.clone()).await;
            }
        };
        let worker = async {
            if let Some(pipelines) = rollout.pipeline() {
                worker::run(worker, Arc::clone(&queue), pipelines, shutdown.clone()).await;
            }
        };
        let webhooks = async {
            if let Some(sending) = sending {
                webhook::run(sending, Arc::clone(&queue), shutdown.clone()).await;
            }
        };
        let admin = async {
            if let Some((listener, admin)) = operators {
                let (queue, monitor) = (Arc::clone(&queue), Arc::clone(&monitor));
                admin::run((listener, tls.clone()), admin, Arc::clone(&rollout), queue, monitor, shutdown.clone())
                    .await;
            }
        };
        let folder = async {
            if let Some(folder) = folder {
                folder.watch(Arc::clone(&rollout), shutdown.clone()).await;
            }
        };
        let keys = async {
            if let Some(keys) = keys {
                keys.follow(shutdown.clone()).await;
            }
        };
        let certificate = async {
            if let Some(tls) = &tls {
                tls.follow(shutdown.clone()).await;
            }
        };
        let follower = Arc::clone(&rollout).follow(shutdown.clone());
        tokio::join!(edge, worker, webhooks, admin, folder, keys, certificate, follower)
    };
    tokio::pin!(rooms);
    let ended = CancellationToken::new();
    let watched = watchers
        .map(|(listener, keys)| tokio::spawn(admin::watch(listener, keys, Arc::clone(&monitor), ended.clone())));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = &mut rooms => bail!("the host stopped by itself"),
        () = shutdown.cancelled() => {}
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
    rollout.depart().await;
    ended.cancel();
    if let Some(watched) = watched {
        let _ = watched.await;
    }
    queue.close().await;
    if let Some(traces) = traces {
        let _ = tokio::task::spawn_blocking(|| traces.finish()).await;
    }
    tracing::info!("stopped");
    Ok(())
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.server.listen;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; stop the program that does, or set server.listen"))
}

/// Binds the listener of those who watch, when there is to be one.
async fn watchers(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.telemetry.metrics else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    let bound = bound.with_context(|| format!("cannot listen on {address}; set telemetry.metrics to another address"));
    bound.map(Some)
}

/// Binds the operators' listener and reads their token; `None` when there is to be none.
async fn operators(
    config: &Config,
    keys: Option<Arc<Keyring>>,
) -> anyhow::Result<Option<(TcpListener, admin::Config)>> {
    let Some(address) = config.server.admin else { return Ok(None) };
    let chosen = |key| config.source(key) != config::Source::default();
    if !address.ip().is_loopback() && !chosen("server.admin_token_file") {
        bail!(
            "server.admin is {address}, which others can reach: set server.admin_token_file to a file with a token that you \
             chose, or server.admin to an address of the loopback"
        );
    }
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        // Nobody asked for this very address, and two hosts on one machine are no reason to fail.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && !chosen("server.admin") => {
            tracing::warn!(%address, "operators are not listened to: the address is taken; set server.admin");
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!("cannot listen on {address} for operators; set server.admin to another address, or to off")
            });
        }
    };
    let token = Token::load_or_create(&config.server.admin_token_file)?;
    Ok(Some((listener, admin::Config { token, keys, body_limit: config.server.admin_body_limit })))
}

/// The folder in which components are left, if one is configured.
pub(crate) fn watched_folder(config: &Config) -> anyhow::Result<Option<admin::Folder>> {
    let Some(path) = &config.components.watch else { return Ok(None) };
    let signed = !config.components.trusted_keys.is_empty();
    Ok(Some(admin::Folder::open(path, config.server.admin_body_limit, signed)?))
}

/// Loads models and components for verifications, as they are configured.
pub(crate) fn pipeline(config: &Config, clockwork: &Clockwork, cache: &Cache) -> anyhow::Result<Pipeline> {
    // Graphs are optimised while components are compiled or read.
    let (policy, analyzer, scorer) = std::thread::scope(|scope| {
        let policy = scope.spawn(|| models::policy(config));
        let analyzer = candidate(Slot::Analyzer, &config.components.analyzer)
            .and_then(|candidate| Analyzer::load(clockwork, cache, candidate));
        let scorer = candidate(Slot::Scorer, &config.components.scorer)
            .and_then(|candidate| Scorer::load(clockwork, cache, candidate));
        let policy = policy.join().unwrap_or_else(|_| bail!("the thread that loads the models broke off"));
        (policy, analyzer, scorer)
    });
    Ok(Pipeline {
        policy: Arc::new(policy?),
        analyzer: Arc::new(analyzer?),
        scorer: Arc::new(scorer?),
        cores: Arc::new(Semaphore::new(config.sessions())),
    })
}

/// A queue, and where its nodes tell each other what to run, when there can be several.
type Opened = (Arc<dyn Queue>, Option<Fleet>);

/// Opens the queue that the configuration names. Who opens a shared one as `node` takes over what the last process of that
/// name ran: only a process that does tasks may have a name.
async fn open_queue(config: &Config, node: Option<String>) -> anyhow::Result<Opened> {
    match &config.queue.url {
        QueueUrl::File(path) => {
            let (path, key_file) = (path.clone(), config.queue.encryption_key_file.clone());
            let queue = Embedded::open(&embedded::Options { path, limits: queue_limits(config), key_file })?;
            Ok((Arc::new(queue), None))
        }
        QueueUrl::Redis(url) => {
            let redis = Redis::open(redis_options(config, url, node)?).await?;
            let fleet = redis.fleet();
            Ok((Arc::new(redis), Some(fleet)))
        }
    }
}

/// Opens the queue that the configuration names for an operator: no node, without a key, and only if there is one.
pub(crate) async fn visit_queue(config: &Config) -> anyhow::Result<Arc<dyn Admin>> {
    match &config.queue.url {
        QueueUrl::File(path) => Ok(Arc::new(Embedded::visit(path, queue_limits(config))?)),
        QueueUrl::Redis(url) => Ok(redis::visit(redis_options(config, url, None)?).await?),
    }
}

/// Looks at the queue as [`open_queue`] would open it, and leaves no trace there.
pub(crate) async fn examine_queue(config: &Config) -> anyhow::Result<queue::Checkup> {
    match &config.queue.url {
        QueueUrl::File(path) => {
            let (path, key_file) = (path.clone(), config.queue.encryption_key_file.clone());
            Ok(Embedded::examine(embedded::Options { path, limits: queue_limits(config), key_file }).await?)
        }
        QueueUrl::Redis(url) => Ok(redis::examine(redis_options(config, url, None)?).await?),
    }
}

fn queue_limits(config: &Config) -> queue::Limits {
    let config::Queue {
        max_length,
        max_age,
        max_waiting_per_client,
        lease,
        max_deliveries,
        result_ttl,
        payload_ttl,
        ..
    } = config.queue;
    queue::Limits { max_length, max_age, max_waiting_per_client, lease, max_deliveries, result_ttl, payload_ttl }
}

fn redis_options(config: &Config, url: &str, node: Option<String>) -> anyhow::Result<redis::Options> {
    let section = &config.queue;
    let client = match (&section.tls_certificate, &section.tls_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => bail!("queue.tls_certificate and queue.tls_key belong together; set both or neither"),
    };
    let tls = redis::Tls { ca: section.tls_ca.clone(), client };
    let (url, name, key_file) = (url.to_owned(), section.name.clone(), section.encryption_key_file.clone());
    let wait_replicas = section.wait_replicas;
    Ok(redis::Options { url, name, node, tls, wait_replicas, limits: queue_limits(config), key_file })
}

/// One line for who started the host, and for scripts that read where it listens. It serves as well when nobody reads.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "visavis: {line}");
}

/// Opens the cache of compiled code, with what came along in the assets.
pub(crate) fn cache(config: &Config) -> Result<Cache, CacheError> {
    Cache::open(&config.components.cache, &config.assets.join("compiled"))
}

/// Room for every instance that may live at once.
pub(crate) fn sizes(config: &Config) -> Sizes {
    let components = &config.components;
    let limits = [&components.gateway, &components.analyzer, &components.scorer, &components.annotator];
    // A gateway's instance outlives its permit while it sends its body: hence the slack.
    let gateways = config.server.concurrency + config.server.concurrency / 4;
    let crew = config.sessions() + config.worker_concurrency() + 8;
    let instances = gateways + crew;
    Sizes {
        warm: u32::try_from(crew).unwrap_or(u32::MAX),
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        memory: limits.map(|component| component.memory_limit).into_iter().max().unwrap_or_default(),
    }
}

/// The component that is configured for a slot.
pub(crate) fn candidate(slot: Slot, component: &config::Component) -> Result<Candidate, LoadError> {
    let source = Source::read(slot, &component.path)?;
    Ok(Candidate { source, generation: 1, limits: limits(component) })
}

/// One slot's limits, as the runtime wants them.
fn limits(component: &config::Component) -> Limits {
    Limits { memory: component.memory_limit, deadline: component.deadline }
}

/// How components follow each other on a node of this role.
fn rollout(config: &Config, fleet: Option<Fleet>, listener: Option<&TcpListener>) -> anyhow::Result<rollout::Config> {
    let config::Components { gateway, analyzer, scorer, .. } = &config.components;
    let (accepts, works) = config.server.role.parts();
    let slots = [(Slot::Gateway, gateway, accepts), (Slot::Analyzer, analyzer, works), (Slot::Scorer, scorer, works)];
    let slots = slots.into_iter().filter(|(.., here)| *here);
    let components = &config.components;
    let revising = config.clone();
    Ok(rollout::Config {
        slots: slots.map(|(slot, it, _)| (slot, (it.path.clone(), limits(it)))).collect(),
        store: components.store.clone(),
        probes: components.probes.clone(),
        bounds: Bounds {
            work: components.canary_tasks,
            failures: components.canary_failures,
            slowdown: components.canary_slowdown,
        },
        // Nothing takes longer than this by itself.
        drain: config.server.request_timeout.max(config.worker.task_timeout) + SLACK,
        cores: config.sessions(),
        trust: Trust::load(&components.trusted_keys)?,
        fleet,
        identity: Identity::here(&config.server.role, listener.and_then(|it| Some(it.local_addr().ok()?.to_string()))),
        revise: Box::new(move |bundle, current| models::revised(&revising, bundle, current)),
    })
}
