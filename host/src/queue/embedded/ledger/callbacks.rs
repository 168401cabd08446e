//! The rules of callbacks: when the news of an end is due, and who may say what became of it.
//!
//! Owns no more than [`Callback`] of each task and the order in which they are due. Must never know an address.

use std::time::Duration;

use super::{Interruption, Ledger, Lost, Phase};
use crate::queue::embedded::clock::Stamp;
use crate::queue::embedded::record::{Callback, Task};
use crate::queue::{CALLBACK_LEASE, CallbackLease};
use crate::task::{State, TaskId};

/// The news of an end, handed out.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Announced {
    pub(in super::super) lease: CallbackLease,
    pub(in super::super) state: State,
    pub(in super::super) age: Duration,
}

impl Ledger {
    /// Hands out the news that is due the longest.
    pub(in super::super) fn claim_callback(&mut self, now: Stamp) -> Option<Announced> {
        let &(due, id) = self.callbacks.first()?;
        let task = self.tasks.get(&id).filter(|_| due <= now)?;
        let (state, age, attempts) = (task.standing().state, now.since(task.since), task.callback?.attempts + 1);
        self.set_callback(id, Callback { attempts, due: Some(now.after(CALLBACK_LEASE)) });
        Some(Announced { lease: CallbackLease { id, attempt: attempts }, state, age })
    }

    /// Has it handed out again later.
    pub(in super::super) fn retry_callback(
        &mut self,
        lease: CallbackLease,
        delay: Duration,
        now: Stamp,
    ) -> Result<(), Lost> {
        let callback = self.telling(lease)?;
        self.set_callback(lease.id, Callback { due: Some(now.after(delay)), ..callback });
        Ok(())
    }

    /// Has it handed out no more.
    pub(in super::super) fn end_callback(&mut self, lease: CallbackLease) -> Result<(), Lost> {
        let callback = self.telling(lease)?;
        self.set_callback(lease.id, Callback { due: None, ..callback });
        Ok(())
    }

    /// When there is news next.
    pub(in super::super) fn next_callback(&self) -> Option<Stamp> {
        self.callbacks.first().map(|&(due, _)| due)
    }

    /// A task has come into another phase: is that news?
    pub(super) fn announce(&mut self, id: TaskId, now: Stamp) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(callback) = task.callback else { return };
        let news = matches!(task.phase, Phase::Ended { state: State::Success | State::Failure, .. });
        // One that is opened again has news again: what is still being told of its first end says nothing of that.
        let attempts = callback.attempts + u32::from(callback.attempts > 0 && !news);
        self.set_callback(id, Callback { attempts, due: news.then_some(now) });
    }

    fn telling(&self, lease: CallbackLease) -> Result<Callback, Lost> {
        let callback = self.tasks.get(&lease.id).and_then(|task| task.callback);
        callback.filter(|it| it.attempts == lease.attempt && it.due.is_some()).ok_or(Lost)
    }

    fn set_callback(&mut self, id: TaskId, callback: Callback) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let before = task.callback.replace(callback);
        self.callbacks.remove(&(before.and_then(|callback| callback.due).unwrap_or_default(), id));
        self.callbacks.extend(callback.due.map(|due| (due, id)));
        // Beside an outcome that is to be written as well.
        self.changes.entry(id).or_default();
    }
}

impl Task {
    /// After an interruption: whoever told has died with the process, and no stamp may lie far ahead.
    pub(super) fn resume_callback(&mut self, now: Stamp, after: Interruption) {
        if after == Interruption::Process
            && let Some(Callback { due: Some(due), .. }) = &mut self.callback
        {
            *due = now;
        }
    }
}
