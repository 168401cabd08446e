//! Tasks that were given up: failures for their clients, and still here for an operator.
//!
//! Owns the way back and the way out of there. Must never give a task up itself.

use std::time::Duration;

use super::{Ledger, NotDead, Phase, Task};
use crate::queue::DeadTask;
use crate::queue::embedded::clock::Stamp;
use crate::task::TaskId;

impl Ledger {
    /// The first `limit` of the tasks that were given up.
    pub(in super::super) fn dead(&self, limit: usize, now: Stamp) -> Vec<DeadTask> {
        let tasks = self.dead.iter().filter_map(|(_, id)| Some((*id, self.tasks.get(id)?)));
        let described = tasks.map(|(id, task)| DeadTask {
            id,
            age: now.since(task.submitted),
            tries: task.tries(),
            reason: task.error.clone().unwrap_or_default(),
            payload_left: self.payload_left(task, now),
        });
        described.take(limit).collect()
    }

    /// Opens a task again that was given up, with all its tries before it.
    pub(in super::super) fn redeliver(&mut self, id: TaskId, now: Stamp) -> Result<(), NotDead> {
        let task = self.buried(id)?;
        if self.payload_left(task, now).is_none() {
            return Err(NotDead::PayloadGone);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return Err(NotDead::Unknown) };
        // The count of deliveries goes on: it fences.
        task.released = task.delivery;
        task.retries = 0;
        task.error = None;
        self.enter(id, Phase::Waiting { delay: 0 }, now);
        Ok(())
    }

    /// Removes all traces of a task that was given up.
    pub(in super::super) fn purge(&mut self, id: TaskId) -> Result<(), NotDead> {
        self.buried(id)?;
        self.forget(id);
        Ok(())
    }

    fn buried(&self, id: TaskId) -> Result<&Task, NotDead> {
        match self.tasks.get(&id) {
            None => Err(NotDead::Unknown),
            Some(task) if matches!(task.phase, Phase::Ended { dead: true, .. }) => Ok(task),
            Some(_) => Err(NotDead::Alive),
        }
    }

    /// How much longer the payload of a task that was given up is kept.
    fn payload_left(&self, task: &Task, now: Stamp) -> Option<Duration> {
        let until = task.submitted.after(self.limits.payload_ttl);
        (task.keeps_payload() && now < until).then(|| until.since(now))
    }
}
