//! The rules of the queue as a state machine in memory: no storage, no threads, and the time is told.
//!
//! Owns the life of a task: who may do what to it, when it is due, when it is over. Says what must be written
//! ([`Ledger::take_changes`]). Must never know redb, channels, or what a payload holds.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::board::Standing;
use super::clock::Stamp;
use super::record::{Idempotency, Phase, Task};
use crate::queue::{Lease, Limits, Stats};
use crate::task::{ErrorCode, Outcome, State, TaskError, TaskId};

/// What became of a submission.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    New,
    /// The idempotency key belongs to this task, with the same payload.
    Known(TaskId),
    /// The idempotency key belongs to a task with another payload.
    Conflict,
    Full,
}

/// What a claim gives.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) lease: Lease,
    pub(super) retries: u32,
    pub(super) age: Duration,
}

/// The lease is no longer the caller's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Why a task cannot be revoked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotRevoked {
    Unknown,
    Ended,
}

/// Why the ledger is made anew from what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The process ended, and the workers with it: what ran is due again.
    Process,
    /// A write failed. The workers live on: what runs keeps running, with a lease of full length.
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
    /// One for each task.
    timers: BTreeSet<(Stamp, TaskId)>,
    keys: HashMap<[u8; 32], TaskId>,
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
            timers: BTreeSet::new(),
            keys: HashMap::new(),
            next_seq: 0,
            stats: Stats::default(),
            changes: Changes::new(),
        };
        for (id, mut task) in tasks {
            task.submitted = task.submitted.min(now);
            task.since = task.since.min(now);
            let interrupted = task.phase == Phase::Running;
            ledger.insert(id, task, now);
            if interrupted && after == Interruption::Process {
                ledger.give_back(id, Duration::ZERO, Some("the host stopped".to_owned()), now);
            }
        }
        ledger
    }

    /// Accepts a task, or says why not.
    pub(super) fn submit(&mut self, id: TaskId, idempotency: Option<Idempotency>, now: Stamp) -> Submitted {
        if let Some(wanted) = &idempotency
            && let Some(known) = self.keys.get(&wanted.key)
        {
            let same = self.tasks.get(known).and_then(|task| task.idempotency).is_some_and(|it| it == *wanted);
            return if same { Submitted::Known(*known) } else { Submitted::Conflict };
        }
        if self.stats.waiting >= self.limits.max_length {
            return Submitted::Full;
        }
        self.insert(id, Task::new(self.next_seq, idempotency, now), now);
        self.changes.insert(id, None);
        Submitted::New
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
        self.end(lease.id, outcome, false, now);
        Ok(())
    }

    /// Schedules another try, or gives the task up when there were too many.
    pub(super) fn retry(&mut self, lease: Lease, delay: Duration, error: &TaskError, now: Stamp) -> Result<(), Lost> {
        self.held(lease)?.retries += 1;
        let error = format!("{}: {}", error.code.as_str(), error.message);
        self.give_back(lease.id, delay, Some(error), now);
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
                self.enter(id, Phase::Ended { state: State::Revoked, dead: false }, now);
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
        tally(&mut self.stats, task.phase, -1);
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
        self.stats
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
        let Some(task) = self.tasks.get(&id) else { return };
        match task.phase {
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
                self.end(id, failure(ErrorCode::Timeout, message), false, now);
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
            self.end(id, failure(ErrorCode::ProcessingFailed, message), true, now);
        } else {
            let delay = delay.as_millis().try_into().unwrap_or(u64::MAX);
            self.enter(id, Phase::Waiting { delay }, now);
        }
    }

    fn end(&mut self, id: TaskId, outcome: Outcome, dead: bool, now: Stamp) {
        let state = match outcome {
            Outcome::Success(_) => State::Success,
            Outcome::Failure(_) => State::Failure,
        };
        self.enter(id, Phase::Ended { state, dead }, now);
        self.changes.insert(id, Some(outcome));
    }

    fn enter(&mut self, id: TaskId, phase: Phase, now: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.ready.remove(&(task.seq, id));
        tally(&mut self.stats, task.phase, -1);
        tally(&mut self.stats, phase, 1);
        task.phase = phase;
        task.since = now;
        self.place(id, now);
        self.changes.insert(id, None);
    }

    fn insert(&mut self, id: TaskId, task: Task, now: Stamp) {
        self.next_seq = self.next_seq.max(task.seq + 1);
        tally(&mut self.stats, task.phase, 1);
        if let Some(idempotency) = &task.idempotency {
            self.keys.insert(idempotency.key, id);
        }
        self.tasks.insert(id, task);
        self.place(id, now);
    }

    /// Puts a task in line when it is due, and sets its timer to what happens to it next.
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
            Phase::Ended { .. } => task.since.after(self.limits.result_ttl),
        };
        self.set_timer(id, timer);
    }

    fn set_timer(&mut self, id: TaskId, at: Stamp) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.timers.remove(&(task.timer, id));
        task.timer = at;
        self.timers.insert((at, id));
    }
}

fn tally(stats: &mut Stats, phase: Phase, by: i64) {
    let count = |figure: &mut u64| *figure = figure.saturating_add_signed(by);
    match phase {
        Phase::Waiting { .. } => count(&mut stats.waiting),
        Phase::Running => count(&mut stats.running),
        Phase::Ended { dead, .. } => {
            count(&mut stats.ended);
            if dead {
                count(&mut stats.dead);
            }
        }
    }
}

fn failure(code: ErrorCode, message: String) -> Outcome {
    Outcome::Failure(TaskError { code, message, image: None, details: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_length: 10,
        lease: Duration::from_millis(100),
        max_deliveries: 2,
        result_ttl: Duration::from_millis(1000),
        payload_ttl: Duration::from_millis(5000),
    };

    fn ledger() -> Ledger {
        Ledger::restore(LIMITS, Vec::new(), Stamp(0), Interruption::Process)
    }

    fn reload(ledger: &Ledger, now: Stamp, after: Interruption) -> Ledger {
        let tasks = ledger.tasks.iter().map(|(id, task)| {
            let json = serde_json::to_vec(task).unwrap();
            (*id, serde_json::from_slice(&json).unwrap())
        });
        Ledger::restore(LIMITS, tasks.collect(), now, after)
    }

    #[test]
    fn a_clock_set_back_between_two_starts_delays_nothing_for_longer_than_configured() {
        let mut ledger = ledger();
        let id = TaskId::random();
        let late = Stamp(1_000_000);
        ledger.submit(id, None, late);
        let lease = ledger.claim(late).unwrap().lease;
        let error = TaskError { code: ErrorCode::ProcessingFailed, message: String::new(), image: None, details: None };
        ledger.retry(lease, Duration::from_millis(300), &error, late).unwrap();

        let mut again = reload(&ledger, Stamp(10), Interruption::Process);
        assert!(again.claim(Stamp(10)).is_none());
        assert_eq!(again.next_timer(), Some(Stamp(310)));
        again.expire(Stamp(310));
        assert_eq!(again.claim(Stamp(310)).unwrap().lease, Lease { id, delivery: 2 });
    }

    #[test]
    fn a_failed_write_leaves_running_tasks_to_their_workers() {
        let mut ledger = ledger();
        let id = TaskId::random();
        ledger.submit(id, None, Stamp(0));
        let lease = ledger.claim(Stamp(0)).unwrap().lease;
        let mut again = reload(&ledger, Stamp(90), Interruption::Storage);
        again.expire(Stamp(189));
        assert_eq!(again.extend(lease, Stamp(189)), Ok(()));
        again.expire(Stamp(289));
        assert_eq!(again.extend(lease, Stamp(289)), Err(Lost));
    }

    #[test]
    fn every_task_has_one_timer_and_a_forgotten_one_none() {
        let mut ledger = ledger();
        for i in 0..5 {
            ledger.submit(TaskId::random(), None, Stamp(i));
        }
        let lease = ledger.claim(Stamp(5)).unwrap().lease;
        ledger.extend(lease, Stamp(50)).unwrap();
        ledger.settle(lease, Outcome::Success(serde_json::Value::Null), Stamp(60)).unwrap();
        assert_eq!(ledger.timers.len(), 5);
        ledger.expire(Stamp(1060));
        assert_eq!((ledger.timers.len(), ledger.tasks.len()), (4, 4));
        ledger.expire(Stamp(u64::MAX));
        ledger.expire(Stamp(u64::MAX));
        assert_eq!((ledger.timers.len(), ledger.ready.len(), ledger.keys.len()), (0, 0, 0));
        assert_eq!(ledger.stats(), Stats::default());
    }

    #[test]
    fn the_end_of_time_does_not_loop() {
        let mut ledger = ledger();
        ledger.limits.payload_ttl = Duration::MAX;
        ledger.submit(TaskId::random(), None, Stamp(0));
        ledger.expire(Stamp(u64::MAX - 1));
        assert_eq!(ledger.stats().waiting, 1);
    }
}
