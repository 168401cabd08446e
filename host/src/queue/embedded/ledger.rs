//! The rules of the queue as a state machine in memory: no storage, no threads, and the time is told.
//!
//! Owns the life of a task: who may do what to it, when it is due, when it is over, and what an operator may do after that.
//! Says what must be written ([`Ledger::take_changes`]). Must never know redb, channels, or what a payload holds.
//!
//! # Layout
//!
//! - `answers`: what callers are told.
//! - `callbacks`: the news of ends, and who tells it.
//! - `dead`: tasks that were given up, and what an operator may do with them.

mod answers;
mod callbacks;
mod dead;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

pub(super) use self::answers::{Claimed, Lost, NotDead, NotRevoked, Submitted};
pub(super) use self::callbacks::Announced;
use super::board::Standing;
use super::clock::Stamp;
use super::record::{Client, Crowd, Idempotency, Owner, Phase, Task};
use crate::queue::{Lease, Limits, Stats};
use crate::task::{ErrorCode, Outcome, State, TaskError, TaskId};

/// Why the ledger is made anew from what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The process ended, and the workers with it: what ran is due again.
    Process,
    /// A write failed, or somebody only looks. The workers are left alone: what runs keeps running, with a lease of full
    /// length.
    Storage,
}

/// The tasks that must be written, each with its outcome when it has just got one. A task that [`Ledger::task`] no
/// longer knows is to be forgotten.
pub(super) type Changes = HashMap<TaskId, Option<Outcome>>;

/// The state machine.
pub(super) struct Ledger {
    limits: Limits,
    tasks: HashMap<TaskId, Task>,
    /// Waiting tasks that are due, oldest first.
    ready: BTreeSet<(u64, TaskId)>,
    /// Tasks that were given up, by when.
    dead: BTreeSet<(Stamp, TaskId)>,
    /// One for each task.
    timers: BTreeSet<(Stamp, TaskId)>,
    /// Ends that are yet to be told, by when the next attempt may begin.
    callbacks: BTreeSet<(Stamp, TaskId)>,
    keys: HashMap<[u8; 32], TaskId>,
    /// How many tasks wait of each client that has some.
    clients: HashMap<Client, u64>,
    next_seq: u64,
    stats: Stats,
    changes: Changes,
}

impl Ledger {
    /// Takes up the tasks that the disk holds.
    pub(super) fn restore(limits: Limits, tasks: Vec<(TaskId, Task)>, now: Stamp, after: Interruption) -> Self {
        let mut ledger = Self {
            limits,
            tasks: HashMap::with_capacity(tasks.len()),
            ready: BTreeSet::new(),
            dead: BTreeSet::new(),
            timers: BTreeSet::new(),
            callbacks: BTreeSet::new(),
            keys: HashMap::new(),
            clients: HashMap::new(),
            next_seq: 0,
            stats: Stats::default(),
            changes: Changes::new(),
        };
        for (id, mut task) in tasks {
            task.submitted = task.submitted.min(now);
            task.since = task.since.min(now);
            let interrupted = task.phase == Phase::Running;
            task.resume_callback(now, after);
            ledger.insert(id, task, now);
            if interrupted && after == Interruption::Process {
                ledger.give_back(id, Duration::ZERO, Some("the host stopped".to_owned()), now);
            }
        }
        ledger
    }

    /// Accepts a task, or says why not. `idempotency` is by each key that hashes, the one to be written first; `in_time` is whether
    /// the task would end in time.
    pub(super) fn submit(
        &mut self,
        id: TaskId,
        idempotency: &[Idempotency],
        crowd: Option<Crowd>,
        calls_back: bool,
        in_time: bool,
        now: Stamp,
    ) -> Submitted {
        let known = idempotency.iter().find_map(|wanted| Some((wanted, *self.keys.get(&wanted.key)?)));
        if let Some((wanted, known)) = known {
            let same = self.tasks.get(&known).and_then(|task| task.idempotency).is_some_and(|it| it == *wanted);
            return if same { Submitted::Known(known) } else { Submitted::Conflict };
        }
        if self.stats.waiting >= self.limits.max_length {
            return Submitted::Full;
        }
        if !in_time {
            return Submitted::Overloaded;
        }
        if let Some(Crowd { client, most }) = &crowd
            && self.clients.get(client).is_some_and(|waiting| waiting >= most)
        {
            return Submitted::TooManyWaiting;
        }
        let (callback, client) = (calls_back.then(Default::default), crowd.map(|crowd| crowd.client));
        self.insert(id, Task { callback, ..Task::new(self.next_seq, idempotency.first().copied(), client, now) }, now);
        self.changes.insert(id, None);
        Submitted::New
    }

    /// Notes who may see a task, and the trace that it was submitted in.
    pub(super) fn note_origin(&mut self, id: TaskId, owner: Option<Owner>, trace: Option<String>) {
        if let Some(task) = self.tasks.get_mut(&id) {
            (task.owner, task.trace) = (owner, trace);
        }
    }

    /// Hands out the oldest task that is due.
    pub(super) fn claim(&mut self, now: Stamp) -> Option<Claimed> {
        let &(_, id) = self.ready.first()?;
        let task = self.tasks.get_mut(&id)?;
        task.delivery += 1;
        let claimed = Claimed {
            lease: Lease { id, delivery: task.delivery },
            retries: task.retries,
            age: now.since(task.submitted),
            trace: task.trace.clone(),
        };
        self.enter(id, Phase::Running, now);
        Some(claimed)
    }

    /// Renews a lease. Nothing needs to be written: leases die with the process.
    pub(super) fn extend(&mut self, lease: Lease, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?;
        self.set_timer(lease.id, now.after(self.limits.lease));
        Ok(())
    }

    /// Ends a task.
    pub(super) fn settle(&mut self, lease: Lease, outcome: Outcome, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?;
        self.end(lease.id, outcome, now);
        Ok(())
    }

    /// Gives a task up.
    pub(super) fn bury(&mut self, lease: Lease, error: TaskError, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?.error = Some(reason(&error));
        self.give_up(lease.id, error, now);
        Ok(())
    }

    /// Schedules another try, or gives the task up when there were too many.
    pub(super) fn retry(&mut self, lease: Lease, delay: Duration, error: &TaskError, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?.retries += 1;
        self.give_back(lease.id, delay, Some(reason(error)), now);
        Ok(())
    }

    /// Takes a task back as if it had not been claimed.
    pub(super) fn release(&mut self, lease: Lease, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?.released += 1;
        self.give_back(lease.id, Duration::ZERO, None, now);
        Ok(())
    }

    /// Revokes a task that has not ended.
    pub(super) fn revoke(&mut self, id: TaskId, now: Stamp) -> Result<(), NotRevoked> {
        match self.tasks.get(&id) {
            None => Err(NotRevoked::Unknown),
            Some(task) if task.has_ended() => Err(NotRevoked::Ended),
            Some(_) => {
                self.enter(id, Phase::Ended { state: State::Revoked, dead: false, kept: false }, now);
                Ok(())
            }
        }
    }

    /// Does all that time does by itself.
    pub(super) fn expire(&mut self, now: Stamp) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.fire(id, now);
        }
    }

    /// Removes all traces of a task, if there is one.
    pub(super) fn forget(&mut self, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.timers.remove(&(task.timer, id));
        self.ready.remove(&(task.seq, id));
        self.dead.remove(&(task.since, id));
        self.callbacks.remove(&(task.callback.and_then(|callback| callback.due).unwrap_or_default(), id));
        self.tally(task.phase, task.client, -1);
        if let Some(idempotency) = &task.idempotency {
            self.keys.remove(&idempotency.key);
        }
        self.changes.insert(id, None);
    }

    /// When [`Ledger::expire`] has something to do next.
    pub(super) fn next_timer(&self) -> Option<Stamp> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// What is known of a task.
    pub(super) fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// Where every task stands.
    pub(super) fn standings(&self) -> HashMap<TaskId, Standing> {
        self.tasks.iter().map(|(id, task)| (*id, task.standing())).collect()
    }

    /// Counts tasks.
    pub(super) fn stats(&self) -> Stats {
        Stats { webhooks: self.callbacks.len() as u64, ..self.stats }
    }

    /// When the oldest task that is due was submitted.
    pub(super) fn oldest(&self) -> Option<Stamp> {
        let (_, id) = self.ready.first()?;
        Some(self.tasks.get(id)?.submitted)
    }

    /// Whether a task runs, or is due.
    pub(super) fn is_busy(&self) -> bool {
        self.stats.running > 0 || !self.ready.is_empty()
    }

    /// What has to be written since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    fn held(&mut self, lease: Lease) -> Result<&mut Task, Lost> {
        match self.tasks.get_mut(&lease.id) {
            Some(task) if task.phase == Phase::Running && task.delivery == lease.delivery => Ok(task),
            _ => Err(Lost),
        }
    }

    fn fire(&mut self, id: TaskId, now: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match &mut task.phase {
            Phase::Ended { kept, .. } if *kept && now < task.since.after(self.limits.result_ttl) => {
                *kept = false;
                self.place(id, now);
                self.changes.entry(id).or_default();
            }
            Phase::Ended { .. } => self.forget(id),
            Phase::Running => {
                self.give_back(id, Duration::ZERO, Some("the worker stopped answering".to_owned()), now);
            }
            Phase::Waiting { .. } if now < task.submitted.after(self.limits.payload_ttl) => self.place(id, now),
            Phase::Waiting { .. } => {
                let message = format!(
                    "the task waited longer than {} s for a worker; send the photographs again later",
                    self.limits.payload_ttl.as_secs()
                );
                self.end(id, Outcome::Failure(error_of(ErrorCode::Timeout, message)), now);
            }
        }
    }

    fn give_back(&mut self, id: TaskId, delay: Duration, error: Option<String>, now: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if error.is_some() {
            task.error = error;
        }
        let tries = task.tries();
        if tries >= self.limits.max_deliveries {
            let last = task.error.as_deref().unwrap_or("unknown");
            let message = format!("given up after {tries} tries; the last one failed with: {last}");
            self.give_up(id, error_of(ErrorCode::ProcessingFailed, message), now);
        } else {
            let delay = delay.as_millis().try_into().unwrap_or(u64::MAX);
            self.enter(id, Phase::Waiting { delay }, now);
        }
    }

    fn end(&mut self, id: TaskId, outcome: Outcome, now: Stamp) {
        let state = match outcome {
            Outcome::Success(_) => State::Success,
            Outcome::Failure(_) => State::Failure,
        };
        self.enter(id, Phase::Ended { state, dead: false, kept: false }, now);
        self.changes.insert(id, Some(outcome));
    }

    fn give_up(&mut self, id: TaskId, error: TaskError, now: Stamp) {
        let Some(task) = self.tasks.get(&id) else { return };
        let kept = now < task.submitted.after(self.limits.payload_ttl);
        self.enter(id, Phase::Ended { state: State::Failure, dead: true, kept }, now);
        self.changes.insert(id, Some(Outcome::Failure(error)));
    }

    fn enter(&mut self, id: TaskId, phase: Phase, now: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.ready.remove(&(task.seq, id));
        self.dead.remove(&(task.since, id));
        let (before, client) = (task.phase, task.client);
        task.phase = phase;
        task.since = now;
        self.tally(before, client, -1);
        self.tally(phase, client, 1);
        self.place(id, now);
        self.announce(id, now);
        self.changes.insert(id, None);
    }

    fn insert(&mut self, id: TaskId, task: Task, now: Stamp) {
        self.next_seq = self.next_seq.max(task.seq + 1);
        self.tally(task.phase, task.client, 1);
        if let Some(idempotency) = &task.idempotency {
            self.keys.insert(idempotency.key, id);
        }
        self.callbacks.extend(task.callback.and_then(|callback| callback.due).map(|due| (due, id)));
        self.tasks.insert(id, task);
        self.place(id, now);
    }

    /// Puts a task in line when it is due or among the dead when it is one, and sets its timer to what happens to it next.
    fn place(&mut self, id: TaskId, now: Stamp) {
        let Some(task) = self.tasks.get(&id) else { return };
        let timer = match task.phase {
            Phase::Waiting { delay } => {
                let overdue = task.submitted.after(self.limits.payload_ttl);
                let due = task.since.after(Duration::from_millis(delay));
                if due <= now {
                    self.ready.insert((task.seq, id));
                    overdue
                } else {
                    due.min(overdue)
                }
            }
            Phase::Running => now.after(self.limits.lease),
            Phase::Ended { dead, kept, .. } => {
                if dead {
                    self.dead.insert((task.since, id));
                }
                let forgotten = task.since.after(self.limits.result_ttl);
                if kept { forgotten.min(task.submitted.after(self.limits.payload_ttl)) } else { forgotten }
            }
        };
        self.set_timer(id, timer);
    }

    /// Counts a task in or out of a phase.
    fn tally(&mut self, phase: Phase, client: Option<Client>, by: i64) {
        let count = |figure: &mut u64| *figure = figure.saturating_add_signed(by);
        match phase {
            Phase::Waiting { .. } => {
                count(&mut self.stats.waiting);
                if let Some(client) = client {
                    let waiting = self.clients.entry(client).or_default();
                    count(waiting);
                    if *waiting == 0 {
                        self.clients.remove(&client);
                    }
                }
            }
            Phase::Running => count(&mut self.stats.running),
            Phase::Ended { dead, .. } => {
                count(&mut self.stats.ended);
                if dead {
                    count(&mut self.stats.dead);
                }
            }
        }
    }

    fn set_timer(&mut self, id: TaskId, at: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.timers.remove(&(task.timer, id));
        task.timer = at;
        self.timers.insert((at, id));
    }
}

/// Why a try failed, for people.
fn reason(error: &TaskError) -> String {
    format!("{}: {}", error.code.as_str(), error.message)
}

fn error_of(code: ErrorCode, message: String) -> TaskError {
    TaskError { code, message, image: None, details: None }
}

#[cfg(test)]
mod tests;
