//! A queue as simple as can be: a list of all tasks ever accepted, searched from end to end.
//!
//! Owns what the contract says of tasks, their leases and time. Must never know the queue that is compared with it.

use std::time::Duration;

use super::Limits;
use crate::queue::{DeadTask, Lease};
use crate::task::{ErrorCode, Outcome, State, TaskId};

pub(super) const LIMITS: Limits = Limits {
    max_length: 5,
    max_age: None,
    max_waiting_per_client: Some(3),
    lease: Duration::from_millis(100),
    max_deliveries: 3,
    result_ttl: Duration::from_millis(700),
    payload_ttl: Duration::from_millis(900),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting { due: u64 },
    Running { until: u64 },
    Ended { state: State, at: u64, dead: bool },
    Forgotten,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) seed: u8,
    pub(super) key: Option<u8>,
    pub(super) client: Option<u8>,
    pub(super) submitted: u64,
    pub(super) phase: Phase,
    pub(super) delivery: u32,
    pub(super) tries: u32,
    pub(super) retries: u32,
    /// Why the last try failed.
    pub(super) reason: String,
    /// As settled; what the queue itself ends a task with is told by its code.
    pub(super) outcome: Option<Result<Outcome, ErrorCode>>,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) now: u64,
    /// In the order of submission.
    pub(super) tasks: Vec<Task>,
    pub(super) leases: Vec<Lease>,
}

pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Model {
    pub(super) fn counts(&self) -> [u64; 4] {
        let count = |test: fn(Phase) -> bool| self.tasks.iter().filter(|task| test(task.phase)).count() as u64;
        [
            count(|phase| matches!(phase, Phase::Waiting { .. })),
            count(|phase| matches!(phase, Phase::Running { .. })),
            count(|phase| matches!(phase, Phase::Ended { .. })),
            count(|phase| matches!(phase, Phase::Ended { dead: true, .. })),
        ]
    }

    pub(super) fn waiting_of(&self, client: Option<u8>) -> u64 {
        let waits = |task: &&Task| task.client == client && matches!(task.phase, Phase::Waiting { .. });
        self.tasks.iter().filter(waits).count() as u64
    }

    pub(super) fn lease(&self, back: usize) -> Lease {
        let none = Lease { id: TaskId([0; 16]), delivery: 1 };
        self.leases.iter().rev().nth(back).copied().unwrap_or(none)
    }

    pub(super) fn holder(&mut self, lease: Lease) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| {
            task.id == lease.id && task.delivery == lease.delivery && matches!(task.phase, Phase::Running { .. })
        })
    }

    /// Those that were given up, in the order in which the queue lists them.
    pub(super) fn dead(&self) -> Vec<DeadTask> {
        let ended = |task: &&Task| matches!(task.phase, Phase::Ended { dead: true, .. });
        let mut tasks: Vec<_> = self.tasks.iter().filter(ended).collect();
        tasks.sort_by_key(|task| match task.phase {
            Phase::Ended { at, .. } => (at, task.id),
            _ => (0, task.id),
        });
        let described = tasks.into_iter().map(|task| DeadTask {
            id: task.id,
            age: Duration::from_millis(self.now - task.submitted),
            tries: task.tries,
            reason: task.reason.clone(),
            payload_left: task.payload_left(self.now),
        });
        described.collect()
    }

    /// The task that an operator means: the dead are more likely to be meant.
    pub(super) fn meant(&mut self, back: usize) -> Option<&mut Task> {
        let dead = |task: &Task| matches!(task.phase, Phase::Ended { dead: true, .. });
        let mut order: Vec<_> = self.tasks.iter_mut().rev().collect();
        order.sort_by_key(|task| !dead(task));
        order.into_iter().nth(back)
    }

    pub(super) fn due(&mut self) -> Option<&mut Task> {
        let now = self.now;
        self.tasks.iter_mut().find(|task| matches!(task.phase, Phase::Waiting { due } if due <= now))
    }

    /// What time does by itself, again and again until there is no more of it.
    pub(super) fn elapse(&mut self) {
        let now = self.now;
        for task in &mut self.tasks {
            loop {
                match task.phase {
                    Phase::Running { until } if until <= now => {
                        task.give_back(now, 0, Some("the worker stopped answering"))
                    }
                    Phase::Waiting { .. } if task.submitted + millis(LIMITS.payload_ttl) <= now => {
                        task.end(State::Failure, now, false, Err(ErrorCode::Timeout));
                    }
                    Phase::Ended { at, .. } if at + millis(LIMITS.result_ttl) <= now => task.phase = Phase::Forgotten,
                    _ => break,
                }
            }
        }
    }
}

impl Task {
    pub(super) fn end(&mut self, state: State, at: u64, dead: bool, outcome: Result<Outcome, ErrorCode>) {
        assert_eq!(self.outcome, None, "the model itself gives one outcome only");
        self.phase = Phase::Ended { state, at, dead };
        self.outcome = Some(outcome);
    }

    /// For how much longer the payload of a dead task is kept.
    pub(super) fn payload_left(&self, now: u64) -> Option<Duration> {
        let until = self.submitted + millis(LIMITS.payload_ttl);
        (now < until).then(|| Duration::from_millis(until - now))
    }

    pub(super) fn give_back(&mut self, now: u64, delay: u64, why: Option<&str>) {
        if let Some(why) = why {
            self.reason = why.to_owned();
        }
        if self.tries >= LIMITS.max_deliveries {
            self.end(State::Failure, now, true, Err(ErrorCode::ProcessingFailed));
        } else {
            self.phase = Phase::Waiting { due: now + delay };
        }
    }
}
