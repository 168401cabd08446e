//! The durable queue of a single node, in one redb file.
//!
//! Owns how the file is opened, and the sealing of payloads outside the one thread that writes. Must never know HTTP,
//! WebAssembly or models.
//!
//! # Layout
//!
//! - `handle`: the way to the writer and back; all that needs no key.
//! - `command`: what callers ask of the writer.
//! - `writer`: the thread; group commit and timers.
//! - `ledger`: the rules, as a state machine without storage.
//! - `record`: one task, as it is written.
//! - `store`: the redb file. `aside`: where a damaged one is put.
//! - `callbacks`: the news of ends, for who tells it.
//! - `board`: what readers see without waiting for a commit.
//! - `clock`, `drain`: time, and how fast the queue drains.

mod aside;
mod board;
mod callbacks;
mod clock;
mod command;
mod drain;
mod handle;
mod ledger;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::board::Standing;
use self::clock::{Clock, System};
use self::command::{Command, Refusal};
use self::handle::Handle;
use self::ledger::{Claimed, Interruption};
use self::record::{Crowd, Idempotency};
use self::store::{Opener, Store};
use super::seal::{self, KeyError, Keys, Stand};
use super::{
    Admin, Checkup, Claim, DeadError, DeadTask, Lease, LeaseError, Limits, Line, Queue, RevokeError, Submission,
};
use super::{SubmitError, Unavailable, codec, private};
use crate::task::{ErrorCode, Outcome, Payload, State, TaskError, TaskId, TaskView};
use crate::telemetry::TraceContext;

/// How an embedded queue is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The redb file; made when there is none.
    pub(crate) path: PathBuf,
    /// The limits that hold on every backend.
    pub(crate) limits: Limits,
    /// The key that payloads are sealed with; made when there is none.
    pub(crate) key_file: PathBuf,
}

/// Why the queue was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has the file.
    #[error("queue file {}: another visavis runs on this file; stop it, or set queue.url to another file", path.display())]
    Locked {
        /// The redb file.
        path: PathBuf,
    },
    /// The file is damaged or something else than a queue.
    #[error(
        "queue file {}: not a queue, or damaged ({why}); move the file away to start with an empty queue, which a host does by \
         itself with a queue that is damaged",
        path.display()
    )]
    Corrupt {
        /// The redb file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by another version.
    #[error(
        "queue file {}: its format is {found}, which this version of visavis does not know; run the version that wrote \
         it, or move the file away to start with an empty queue",
        path.display()
    )]
    Format {
        /// The redb file.
        path: PathBuf,
        /// The format's name.
        found: String,
    },
    /// The file cannot be read, made or written.
    #[error("queue file {}: {source}; make room and the folder writable, or set queue.url to another file", path.display())]
    Io {
        /// The redb file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no queue in the file, and none was to be made.
    #[error("queue file {}: there is no queue in it; name the file of a host's queue by queue.url or --queue", path.display())]
    Missing {
        /// The file that should be.
        path: PathBuf,
    },
    /// The file was opened and then could not be written.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The queue. Call [`Admin::close`] before the process ends; without that nothing is lost, but the next start has to
/// check the whole file.
pub(crate) struct Embedded {
    handle: Handle,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl Embedded {
    /// Opens the file, or makes it, and starts the writer. Tasks that ran when the last process ended are due at once. A damaged
    /// queue is put aside, and an empty one takes its place. Blocks while the file is read.
    ///
    /// # Errors
    /// The file or the key file cannot be used; the error says what to do.
    pub(crate) fn open(options: &Options) -> Result<Self, OpenError> {
        let open = || Self::open_with(options.clone(), Arc::new(System::start()), Box::new(store::open_file));
        // Looked at before it is opened: what is put aside must be the very file that was found damaged.
        let found = aside::identify(&options.path);
        match (open(), found) {
            (Err(OpenError::Corrupt { path, why }), Some(found)) => {
                let failed = |source| OpenError::Io { path: path.clone(), source };
                let Some(aside) = aside::put(&path, found).map_err(failed)? else {
                    return Err(OpenError::Corrupt { path, why });
                };
                tracing::error!(
                    path = %path.display(), aside = %aside.display(), why,
                    "the queue file is damaged: it was put aside, and the host starts with an empty queue; what was accepted \
                     before is not known any more"
                );
                open()
            }
            (opened, _) => opened,
        }
    }

    /// A queue in memory, for one who wants to try something with a queue that nobody else sees. It ends with this process.
    ///
    /// # Errors
    /// The system has no random numbers or no thread.
    pub(crate) fn in_memory() -> Result<Self, OpenError> {
        let (path, hour) = (PathBuf::from("(in memory)"), Duration::from_secs(3600));
        let limits = Limits {
            max_length: 100,
            max_age: None,
            max_waiting_per_client: None,
            lease: hour,
            max_deliveries: 1,
            result_ttl: hour,
            payload_ttl: hour,
        };
        let keys = Keys::ephemeral().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Self::start(&path, limits, keys, Arc::new(System::start()), Box::new(store::open_in_memory))
    }

    fn open_with(options: Options, clock: Arc<dyn Clock>, opener: Opener) -> Result<Self, OpenError> {
        let Options { path, limits, key_file } = options;
        Self::start(&path, limits, Keys::load_or_create(&key_file)?, clock, opener)
    }

    fn start(
        path: &Path,
        limits: Limits,
        keys: Keys,
        clock: Arc<dyn Clock>,
        opener: Opener,
    ) -> Result<Self, OpenError> {
        let opened = Store::open(path, opener)?;
        opened.store.prepare(&keys.fingerprints(), &limits)?;
        let handle = Handle::start(opened, limits, Arc::clone(&clock), Interruption::Process)?;
        Ok(Self { handle, keys: Arc::new(keys), clock, limits })
    }

    /// Opens the file for an operator while no host has it: makes neither file nor key, and leaves the tasks as the last
    /// host left them, but for what time does by itself. That goes by the limits of that host. Blocks while the file is read.
    ///
    /// # Errors
    /// The file cannot be used, or there is none; the error says what to do.
    pub(crate) fn visit(path: &Path, limits: Limits) -> Result<impl Admin, OpenError> {
        Self::visit_with(path, limits, Arc::new(System::start()))
    }

    /// Looks whether [`Embedded::open`] would succeed and what it would find. Makes neither file nor key, and notes nothing.
    ///
    /// # Errors
    /// The file or the key file cannot be used or made; the error says what to do.
    pub(crate) async fn examine(options: Options) -> Result<Checkup, OpenError> {
        let Options { path, limits, key_file } = options;
        let keys = Keys::find(&key_file)?;
        let count = keys.as_ref().map_or(0, Keys::count);
        let mut warnings: Vec<_> = aside::found_beside(&path).into_iter().map(|file| aside::reminder(&file)).collect();
        let handle = match Self::visit_with(&path, limits, Arc::new(System::start())) {
            Ok(handle) => handle,
            Err(OpenError::Missing { path }) => {
                private::could_create(&path).map_err(|source| OpenError::Io { path, source })?;
                return Ok(Checkup { stats: None, keys: count, warnings });
            }
            Err(error) => return Err(error),
        };
        let fingerprints = keys.map(|keys| keys.fingerprints()).unwrap_or_default();
        let sealed_otherwise = handle.store.is_sealed_otherwise(&fingerprints)?;
        warnings.extend(sealed_otherwise.then(|| {
            format!(
                "key file {}: it is not the one that the waiting photographs were sealed with; put that one back, or their \
                 tasks end as processing_failed",
                key_file.display()
            )
        }));
        let written: Result<(), Unavailable> = handle.ask(|answer| Command::Ping { answer }).await;
        let stats = match written {
            Ok(()) => handle.stats().await,
            Err(error) => Err(error),
        };
        handle.close().await;
        Ok(Checkup { stats: Some(stats?), keys: count, warnings })
    }

    fn visit_with(path: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Handle, OpenError> {
        if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let opened = Store::open(path, Box::new(store::open_file))?;
        let limits = opened.store.limits()?.unwrap_or(limits);
        Handle::start(opened, limits, clock, Interruption::Storage)
    }

    /// Reads a claimed task's payload.
    async fn payload(&self, id: TaskId) -> Result<Result<Payload, String>, Unavailable> {
        let (store, keys) = (Arc::clone(&self.handle.store), Arc::clone(&self.keys));
        blocking(move || {
            let Some(mut bytes) = store.payload(id)? else { return Ok(Err("there is no payload".to_owned())) };
            if let Err(e) = keys.open(id, &mut bytes) {
                return Ok(Err(e.to_string()));
            }
            Ok(codec::decode(bytes).map_err(|e| e.to_string()))
        })
        .await?
    }

    /// The view of a task; `None` when it was forgotten meanwhile.
    async fn view(&self, id: TaskId, state: State) -> Result<Option<TaskView>, Unavailable> {
        let (state, outcome) = match state {
            State::Pending | State::Started | State::Retry => (state, None),
            State::Revoked => (state, Some(revoked())),
            State::Success | State::Failure => {
                let store = Arc::clone(&self.handle.store);
                // A task that was opened again meanwhile may have ended in another way.
                match blocking(move || store.outcome(id)).await?? {
                    Some(outcome @ Outcome::Success(_)) => (State::Success, Some(outcome)),
                    Some(outcome @ Outcome::Failure(_)) => (State::Failure, Some(outcome)),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(TaskView { id, state, outcome }))
    }
}

#[async_trait]
impl Admin for Embedded {
    async fn line(&self) -> Result<Line, Unavailable> {
        self.handle.line().await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable> {
        self.handle.dead(limit).await
    }

    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError> {
        self.handle.redeliver(id).await
    }

    async fn purge(&self, id: TaskId) -> Result<(), DeadError> {
        self.handle.purge(id).await
    }

    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable> {
        self.handle.forget(id).await
    }

    async fn close(&self) {
        self.handle.close().await;
    }
}

#[async_trait]
impl Queue for Embedded {
    async fn submit(&self, submission: Submission) -> Result<TaskId, SubmitError> {
        let Submission { payload, idempotency_key, client, max_waiting, owner, callback, trace } = submission;
        // Spares the sealing when the answer is known. With a key, the task may be there already.
        let figures = self.handle.board.figures();
        if idempotency_key.is_none() && figures.stats.waiting >= self.limits.max_length {
            return Err(SubmitError::Full { retry_after: figures.retry_after });
        }
        if idempotency_key.is_none() && figures.overloaded {
            return Err(SubmitError::Overloaded { retry_after: figures.retry_after });
        }
        let id = TaskId::random();
        let keys = Arc::clone(&self.keys);
        let most = max_waiting.or(self.limits.max_waiting_per_client);
        let crowd = most.zip(client).map(|(most, text)| Crowd { client: keys.hash_client(&text), most });
        let owned = owner.as_deref().map(|text| keys.hash_owner(text));
        let (idempotency, sealed, callback) = blocking(move || {
            let mut bytes = codec::encode(payload, seal::OVERHEAD);
            let stand = |text: String| keys.stand(&text, owner.as_deref(), &bytes, callback.as_deref());
            let stand = idempotency_key.map(stand).unwrap_or_default();
            let idempotency = stand.into_iter().map(|Stand { key, payload }| Idempotency { key, payload }).collect();
            keys.seal(id, &mut bytes);
            (idempotency, bytes, callback.map(|url| keys.seal_callback(id, url)))
        })
        .await?;
        let trace = trace.write();
        let submit = |answer| Command::Submit { id, idempotency, crowd, owner: owned, trace, sealed, callback, answer };
        self.handle.ask(submit).await
    }

    async fn claim(&self, wait: Duration) -> Result<Option<Claim>, Unavailable> {
        let deadline = self.clock.now().after(wait);
        loop {
            let Some(grant) = self.handle.ask(|answer| Command::Claim { deadline, answer }).await? else {
                return Ok(None);
            };
            let lease = grant.claimed.lease;
            match self.payload(lease.id).await? {
                Ok(payload) => {
                    let Claimed { retries, age, ref trace, .. } = grant.claimed;
                    let trace = trace.as_deref().map(TraceContext::read).unwrap_or_default();
                    let claim = Claim { lease, retries, payload, age, trace };
                    grant.keep();
                    return Ok(Some(claim));
                }
                Err(why) => {
                    let message = "the stored photographs cannot be read any more; send them again".to_owned();
                    let error = TaskError { code: ErrorCode::ProcessingFailed, message, image: None, details: None };
                    match self.settle(lease, Outcome::Failure(error)).await {
                        Ok(()) => tracing::error!(task = %lease.id, %why, "a payload cannot be read"),
                        // Revoked meanwhile, and the payload deleted with that.
                        Err(LeaseError::Lost) => {}
                        Err(LeaseError::Unavailable(e)) => return Err(e),
                    }
                }
            }
        }
    }

    async fn extend(&self, lease: Lease) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Extend { lease, answer }).await
    }

    async fn settle(&self, lease: Lease, outcome: Outcome) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Settle { lease, outcome, answer }).await
    }

    async fn bury(&self, lease: Lease, error: TaskError) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Bury { lease, error, answer }).await
    }

    async fn retry(&self, lease: Lease, delay: Duration, error: TaskError) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Retry { lease, delay, error, answer }).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Release { lease, answer: Some(answer) }).await
    }

    async fn status(&self, id: TaskId, wait: Duration) -> Result<Option<TaskView>, Unavailable> {
        let ended = async {
            loop {
                let (standing, changed) = self.handle.board.watch(id)?;
                if standing.state.is_final() {
                    return Some(standing);
                }
                changed.await;
            }
        };
        let look = async {
            let standing = if wait.is_zero() {
                self.handle.board.look(id)
            } else {
                tokio::time::timeout(wait, ended).await.unwrap_or_else(|_| self.handle.board.look(id))
            };
            match standing {
                Some(Standing { state, .. }) => self.view(id, state).await,
                None => Ok(None),
            }
        };
        self.handle.unless_closed(look).await
    }

    async fn belongs_to(&self, id: TaskId, owner: &str) -> Result<bool, Unavailable> {
        let is_owner = |hash| self.keys.is_owner(owner, &hash);
        let known = async { Ok(self.handle.board.look(id).and_then(|standing| standing.owner).is_some_and(is_owner)) };
        self.handle.unless_closed(known).await
    }

    async fn revoke(&self, id: TaskId) -> Result<TaskView, RevokeError> {
        match self.handle.ask(|answer| Command::Revoke { id, answer }).await {
            Ok(()) => Ok(TaskView { id, state: State::Revoked, outcome: Some(revoked()) }),
            Err(Refusal::Unknown) => Err(RevokeError::Unknown),
            Err(Refusal::Ended) => match self.status(id, Duration::ZERO).await? {
                Some(view) => Err(RevokeError::Ended(Box::new(view))),
                None => Err(RevokeError::Unknown),
            },
            Err(Refusal::Unavailable(e)) => Err(e.into()),
        }
    }

    async fn lost(&self, lease: Lease) {
        while let Some((standing, changed)) = self.handle.board.watch(lease.id)
            && (standing.state, standing.delivery) == (State::Started, lease.delivery)
        {
            changed.await;
        }
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.handle.ask(|answer| Command::Ping { answer }).await
    }

    fn lease(&self) -> Duration {
        self.limits.lease
    }
}

/// Runs what reads the disk or takes long to compute, off the threads that serve requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Unavailable(format!("the queue's helper failed: {e}")))
}

fn revoked() -> Outcome {
    let message = "the task was revoked".to_owned();
    Outcome::Failure(TaskError { code: ErrorCode::Revoked, message, image: None, details: None })
}
