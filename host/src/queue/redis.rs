//! The durable queue of many nodes, on a Redis.
//!
//! Owns the way from callers to the scripts on the server and back, the sealing of payloads before they leave this node,
//! and the waiting. Each change is one script, and the server runs one at a time: so what holds after every script holds
//! always, whichever node dies where. Must never know HTTP, WebAssembly or models.
//!
//! # Layout
//!
//! - `options`: set-up.
//! - `url`: what the URL says.
//! - `finder`: which server holds the queue at the moment.
//! - `lua`: the scripts; `ledger.lua` has the rules and says which keys there are.
//! - `scripts`: how a script is called.
//! - `link`: the connection, kept up.
//! - `entry`: how a process becomes a node.
//! - `replicas`: the wait for replicas.
//! - `submission`: a task on its way in.
//! - `server`: whether a server is fit to hold a queue.
//! - `callbacks`: the news of ends, for who tells it.
//! - `bell`: who is woken by what happens elsewhere.
//! - `grant`: a task on its way to a worker.
//! - `fleet`: what nodes tell each other beside tasks.
//! - `admin`: what an operator asks, also without being a node.
//! - `answer`: what the scripts answer, in the words of the house.

mod admin;
mod answer;
mod bell;
mod callbacks;
mod entry;
mod finder;
pub(crate) mod fleet;
mod grant;
mod link;
mod options;
mod replicas;
mod scripts;
mod server;
mod submission;
#[cfg(test)]
mod tests;
mod url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

pub(crate) use self::admin::{examine, visit};
use self::answer::{damaged, digits, view};
use self::bell::Bell;
use self::entry::Entry;
use self::finder::Finder;
use self::fleet::Fleet;
use self::grant::{Errands, Grant};
use self::link::Link;
use self::options::tag;
pub(crate) use self::options::{OpenError, Options, Tls};
use self::scripts::{Call, Context, Script, Scripts, Time, millis};
use self::server::NoConnection;
use super::seal::Keys;
use super::{
    Claim, Lease, LeaseError, Limits, Line, Queue, RevokeError, Stats, Submission, SubmitError, Unavailable, codec,
};
use crate::task::{ErrorCode, Outcome, Payload, State, TaskError, TaskId, TaskView};

/// Who waits looks again after so long, should a message have been lost.
const SAFETY: Duration = Duration::from_secs(5);
/// Between two rounds of tending, at least and at most.
const ROUND: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Why a try failed is stored up to this length.
const LONGEST_REASON: usize = 1000;

/// The queue.
pub(crate) struct Redis {
    inner: Arc<Inner>,
    keys: Arc<Keys>,
    tender: JoinHandle<()>,
}

/// What outlives a caller that goes away: a claim must be able to give its task back.
struct Inner {
    /// Where the server was looked for, without user and password.
    address: String,
    link: Link,
    bell: Arc<Bell>,
    scripts: Scripts,
    context: Context,
    /// Wakes the tender early.
    sooner: Notify,
    errands: Errands,
    node: String,
    limits: Limits,
}

impl Redis {
    /// Connects, and takes back at once what the last process under this node's name ran when it died. A server that cannot
    /// be reached is no error: the queue refuses everything until it can be, and then goes on by itself.
    ///
    /// # Errors
    /// The server does not take this node, or the key file or what the options name cannot be used; the error says what to do.
    pub(crate) async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, Time::Server).await
    }

    async fn open_with(options: Options, time: Time) -> Result<Self, OpenError> {
        let keys = Keys::load_or_create(&options.key_file)?;
        let (inner, connected) = Inner::connect(&options, time, As::Node(&keys)).await?;
        let inner = Arc::new(inner);
        if let Err(NoConnection { why, lasting }) = connected {
            let address = inner.address.clone();
            if lasting {
                return Err(OpenError::Unreachable { address, why });
            }
            tracing::warn!(
                address,
                why = why.0,
                "Redis cannot be reached; the host starts without it, and tries again"
            );
        }
        let tender = tokio::spawn(tend(Arc::clone(&inner)));
        Ok(Self { inner, keys: Arc::new(keys), tender })
    }
}

impl Redis {
    /// Where the nodes of this queue tell each other what to run.
    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::new(Arc::clone(&self.inner), Arc::clone(&self.keys))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tender.abort();
    }
}

/// Who connects.
enum As<'k> {
    /// One who seals and reads photographs with these keys.
    Node(&'k Keys),
    /// One who only asks whether a node with these keys, or with a new one, would be let in.
    Candidate(Option<&'k Keys>),
    /// One who needs no key.
    Visitor,
}

/// Lets happen what time does by itself, also while nobody asks for anything. Every node does, and none is needed.
async fn tend(inner: Arc<Inner>) {
    loop {
        let pause = match inner.tend().await {
            Ok(Tended { all: false, .. }) => Duration::ZERO,
            Ok(Tended { next, .. }) => next.unwrap_or(ROUND.1).clamp(ROUND.0, ROUND.1),
            // Whoever calls is told.
            Err(_) => ROUND.1,
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = inner.sooner.notified() => {}
        }
    }
}

/// What a round of tending found.
struct Tended {
    /// Nothing is left to do.
    all: bool,
    /// When there is something to do next.
    next: Option<Duration>,
    line: Line,
}

impl Inner {
    /// Yields as well what came of the first attempt to connect.
    async fn connect(
        options: &Options,
        time: Time,
        who: As<'_>,
    ) -> Result<(Self, Result<(), NoConnection>), OpenError> {
        let tag = tag(&options.name)?;
        let finder = Finder::new(&options.url, &options.tls, &tag)?;
        let address = finder.address();
        let (bell, scripts) = (Arc::new(Bell::default()), Scripts::new());
        let node = options.node.clone().unwrap_or_else(|| hex::encode(TaskId::random().0));
        let context = Context { tag: tag.clone(), time, limits: figures(options.limits) };
        let known_as = match who {
            As::Node(keys) => Some((node.as_str(), keys.fingerprints())),
            As::Candidate(keys) => Some(("", keys.map(Keys::fingerprints).unwrap_or_default())),
            As::Visitor => None,
        };
        let entry = match known_as {
            Some((name, fingerprints)) => {
                let fingerprints: Vec<_> = fingerprints.iter().map(hex::encode).collect();
                let limits = serde_json::to_string(&options.limits).map_err(|error| OpenError::Unreachable {
                    address: address.clone(),
                    why: Unavailable(format!("the limits: {error}")),
                })?;
                let call = scripts.enter.call(&context).arg(name).arg(fingerprints.join(" ")).arg(limits);
                Some(Entry::new(call, node.clone(), options.key_file.clone()))
            }
            None => None,
        };
        let (link, connected) = Link::open(finder, tag, options.wait_replicas, Arc::clone(&bell), entry).await;
        let (sooner, errands) = (Notify::new(), Errands::default());
        let inner = Self { address, link, bell, scripts, context, sooner, errands, node, limits: options.limits };
        Ok((inner, connected))
    }

    fn go_by(&mut self, limits: Limits) {
        self.context.limits = figures(limits);
        self.limits = limits;
    }

    fn call(&self, script: &Script) -> Call {
        script.call(&self.context)
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        let written: bool = self.call(&self.scripts.probe).commit().send(&self.link).await?;
        written.then_some(()).ok_or_else(|| Unavailable("the server did not write".to_owned()))
    }

    async fn tend(&self) -> Result<Tended, Unavailable> {
        let (all, next, waiting, running, ended, dead, webhooks, oldest): (bool, i64, u64, u64, u64, u64, u64, i64) =
            self.call(&self.scripts.tend).send(&self.link).await?;
        let milliseconds = |figure: i64| figure.try_into().ok().map(Duration::from_millis);
        let stats = Stats { waiting, running, ended, dead, webhooks };
        Ok(Tended { all, next: milliseconds(next), line: Line { stats, oldest: milliseconds(oldest) } })
    }

    /// Calls a script that only the holder of a lease may call.
    async fn as_holder(&self, call: Call) -> Result<(), LeaseError> {
        let held: bool = call.send(&self.link).await.map_err(Unavailable::from)?;
        held.then_some(()).ok_or(LeaseError::Lost)
    }

    fn with_lease(&self, script: &Script, lease: Lease) -> Call {
        self.call(script).arg(digits(lease.id)).arg(lease.delivery)
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        self.as_holder(self.with_lease(&self.scripts.release, lease)).await
    }

    /// Where a task stands, and the lease that counts while it runs; `None` when there is no such task.
    async fn look(&self, id: TaskId) -> Result<Option<(TaskView, Lease)>, Unavailable> {
        let answer: Vec<redis::Value> = self.call(&self.scripts.status).arg(digits(id)).send(&self.link).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        let (phase, delivery, tries, outcome): (String, u32, u32, String) =
            redis::from_redis_value(redis::Value::Array(answer)).map_err(|error| damaged(id, error))?;
        Ok(Some((view(id, &phase, tries, &outcome)?, Lease { id, delivery })))
    }

    /// Ends a task that no worker can do.
    async fn give_up(&self, lease: Lease, why: &str) -> Result<(), Unavailable> {
        let message = "the stored photographs cannot be read any more; send them again".to_owned();
        let error = TaskError { code: ErrorCode::ProcessingFailed, message, image: None, details: None };
        match self.settle(lease, &Outcome::Failure(error)).await {
            Ok(()) => tracing::error!(task = %lease.id, why, "a payload cannot be read"),
            // Revoked meanwhile, and the payload deleted with that.
            Err(LeaseError::Lost) => {}
            Err(LeaseError::Unavailable(error)) => return Err(error),
        }
        Ok(())
    }

    async fn settle(&self, lease: Lease, outcome: &Outcome) -> Result<(), LeaseError> {
        let phase = match outcome {
            Outcome::Success(_) => "S",
            Outcome::Failure(_) => "F",
        };
        self.as_holder(self.with_lease(&self.scripts.settle, lease).arg(phase).arg(json(outcome)?).commit()).await
    }
}

#[async_trait]
impl Queue for Redis {
    async fn submit(&self, submission: Submission) -> Result<TaskId, SubmitError> {
        self.accept(submission).await
    }

    async fn claim(&self, wait: Duration) -> Result<Option<Claim>, Unavailable> {
        let deadline = deadline(wait);
        let mut waited = false;
        loop {
            let mut due = std::pin::pin!(self.inner.bell.due());
            due.as_mut().enable();
            let granted = match Grant::ask(&self.inner).await {
                // Who waited until the end has waited in vain, no more.
                Err(_) if waited && self.inner.link.is_closed() => return Ok(None),
                granted => granted?,
            };
            if let Some(granted) = granted {
                let lease = granted.lease();
                let (keys, sealed) = (Arc::clone(&self.keys), granted.sealed);
                match blocking(move || unseal(&keys, lease.id, sealed)).await? {
                    Ok(payload) => {
                        granted.grant.keep();
                        let (retries, age, trace) = (granted.retries, granted.age, granted.trace);
                        return Ok(Some(Claim { lease, retries, payload, age, trace }));
                    }
                    Err(why) => self.inner.give_up(lease, &why).await?,
                }
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            waited = true;
            tokio::select! {
                () = due => {}
                () = sleep(SAFETY) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    async fn extend(&self, lease: Lease) -> Result<(), LeaseError> {
        self.inner.as_holder(self.inner.with_lease(&self.inner.scripts.extend, lease)).await
    }

    async fn settle(&self, lease: Lease, outcome: Outcome) -> Result<(), LeaseError> {
        self.inner.settle(lease, &outcome).await
    }

    async fn bury(&self, lease: Lease, error: TaskError) -> Result<(), LeaseError> {
        let why = reason(&error);
        let call = self.inner.with_lease(&self.inner.scripts.bury, lease).arg(json(&Outcome::Failure(error))?).arg(why);
        self.inner.as_holder(call.commit()).await
    }

    async fn retry(&self, lease: Lease, delay: Duration, error: TaskError) -> Result<(), LeaseError> {
        let call = self.inner.with_lease(&self.inner.scripts.retry, lease).arg(millis(delay)).arg(reason(&error));
        self.inner.as_holder(call).await?;
        self.inner.sooner.notify_one();
        Ok(())
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        self.inner.release(lease).await
    }

    async fn status(&self, id: TaskId, wait: Duration) -> Result<Option<TaskView>, Unavailable> {
        let look = async || Ok(self.inner.look(id).await?.map(|(view, _)| view));
        if wait.is_zero() {
            return look().await;
        }
        let deadline = deadline(wait);
        let watch = self.inner.bell.watch(id);
        loop {
            let changed = watch.changed();
            let seen = look().await?;
            if seen.as_ref().is_none_or(|view| view.state.is_final()) || Instant::now() >= deadline {
                return Ok(seen);
            }
            tokio::select! {
                () = changed => {}
                () = sleep(SAFETY) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    async fn belongs_to(&self, id: TaskId, owner: &str) -> Result<bool, Unavailable> {
        let mut get = redis::cmd("HGET");
        get.arg(self.inner.context.task_key(id)).arg("owner");
        let known: Option<String> = self.inner.link.query(&get).await?;
        let is_owner = |text: String| {
            let mut hash = [0; 16];
            hex::decode_to_slice(text, &mut hash).is_ok() && self.keys.is_owner(owner, &hash)
        };
        Ok(known.is_some_and(is_owner))
    }

    async fn revoke(&self, id: TaskId) -> Result<TaskView, RevokeError> {
        let call = self.inner.call(&self.inner.scripts.revoke).arg(digits(id)).commit();
        let answer: Vec<String> = call.send(&self.inner.link).await.map_err(Unavailable::from)?;
        match answer.as_slice() {
            [] => Err(RevokeError::Unknown),
            [phase] => Ok(view(id, phase, 0, "")?),
            [phase, outcome, ..] => Err(RevokeError::Ended(Box::new(view(id, phase, 0, outcome)?))),
        }
    }

    async fn lost(&self, lease: Lease) {
        let watch = self.inner.bell.watch(lease.id);
        loop {
            let changed = watch.changed();
            match self.inner.look(lease.id).await {
                Ok(Some((TaskView { state: State::Started, .. }, held))) if held == lease => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep(SAFETY) => {}
                    }
                }
                Ok(_) => return,
                // The lease may still be held; `extend` and `settle` tell.
                Err(_) => sleep(ROUND.1).await,
            }
        }
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.inner.ping().await
    }

    fn lease(&self) -> Duration {
        self.inner.limits.lease
    }
}

/// The limits as every script is given them.
fn figures(limits: Limits) -> [u64; 4] {
    let Limits { lease, max_deliveries, result_ttl, payload_ttl, .. } = limits;
    [millis(lease), u64::from(max_deliveries), millis(result_ttl), millis(payload_ttl)]
}

/// Why a try failed, for people.
fn reason(error: &TaskError) -> String {
    let mut why = format!("{}: {}", error.code.as_str(), error.message);
    why.truncate(why.floor_char_boundary(LONGEST_REASON));
    why
}

fn json(outcome: &Outcome) -> Result<String, Unavailable> {
    serde_json::to_string(outcome).map_err(|error| Unavailable(format!("an outcome: {error}")))
}

/// When a wait ends. The end of time is far enough away for all who wait.
fn deadline(wait: Duration) -> Instant {
    Instant::now() + wait.min(Duration::from_secs(86_400 * 365))
}

fn unseal(keys: &Keys, id: TaskId, mut sealed: Vec<u8>) -> Result<Payload, String> {
    keys.open(id, &mut sealed).map_err(|error| error.to_string())?;
    codec::decode(sealed).map_err(|error| error.to_string())
}

/// Runs what takes long to compute, off the threads that serve requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Unavailable(format!("the queue's helper failed: {e}")))
}
