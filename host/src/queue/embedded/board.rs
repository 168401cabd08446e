//! What readers see: where each task stands as of the last write that reached the disk.
//!
//! Owns the waking of those who wait for a change. Must never be ahead of the disk: only the writer publishes, and only
//! after a commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::clock::Stamp;
use super::record::Owner;
use crate::queue::Stats;
use crate::task::{State, TaskId};

/// Where one task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: State,
    /// The newest delivery, 0 before the first.
    pub(super) delivery: u32,
    /// Who alone may see it.
    pub(super) owner: Option<Owner>,
}

/// The figures of the whole queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) stats: Stats,
    /// When the oldest task that is due was submitted.
    pub(super) oldest: Option<Stamp>,
    /// When a client that finds the queue full should come back.
    pub(super) retry_after: Duration,
    /// One more task would not end in time.
    pub(super) overloaded: bool,
    /// When there is news of an end to be told.
    pub(super) next_callback: Option<Stamp>,
}

/// The board. Locked for moments only.
#[derive(Default)]
pub(super) struct Board(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tasks: HashMap<TaskId, Entry>,
    figures: Figures,
    /// Who waits for news of an end.
    news: Arc<Notify>,
}

struct Entry {
    standing: Standing,
    /// There once somebody waits for this entry to change.
    changed: Option<Arc<Notify>>,
}

impl Board {
    /// Where a task stands; `None` when there is no such task.
    pub(super) fn look(&self, id: TaskId) -> Option<Standing> {
        self.inner().tasks.get(&id).map(|entry| entry.standing)
    }

    /// Where a task stands, and a future that ends at its next change, even when it is polled late.
    pub(super) fn watch(&self, id: TaskId) -> Option<(Standing, OwnedNotified)> {
        let mut inner = self.inner();
        let entry = inner.tasks.get_mut(&id)?;
        let notify = entry.changed.get_or_insert_default();
        Some((entry.standing, Arc::clone(notify).notified_owned()))
    }

    /// When there is news of an end, and a future that ends when that has changed, even when it is polled late.
    pub(super) fn watch_news(&self) -> (Option<Stamp>, OwnedNotified) {
        let inner = self.inner();
        (inner.figures.next_callback, Arc::clone(&inner.news).notified_owned())
    }

    /// The figures of the whole queue.
    pub(super) fn figures(&self) -> Figures {
        self.inner().figures
    }

    /// Publishes what changed (`None`: forgotten) and wakes those who wait for it.
    pub(super) fn publish(&self, changes: impl IntoIterator<Item = (TaskId, Option<Standing>)>, figures: Figures) {
        let mut inner = self.inner();
        inner.note(figures);
        for (id, standing) in changes {
            inner.set(id, standing);
        }
    }

    /// Publishes all tasks anew.
    pub(super) fn replace(&self, tasks: &HashMap<TaskId, Standing>, figures: Figures) {
        let mut inner = self.inner();
        inner.note(figures);
        let known: HashSet<TaskId> = inner.tasks.keys().chain(tasks.keys()).copied().collect();
        for id in known {
            inner.set(id, tasks.get(&id).copied());
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, figures: Figures) {
        if figures.next_callback != self.figures.next_callback {
            self.news.notify_waiters();
        }
        self.figures = figures;
    }

    fn set(&mut self, id: TaskId, standing: Option<Standing>) {
        let previous = match standing {
            Some(standing) => match self.tasks.get_mut(&id) {
                Some(entry) if entry.standing == standing => return,
                _ => self.tasks.insert(id, Entry { standing, changed: None }),
            },
            None => self.tasks.remove(&id),
        };
        if let Some(notify) = previous.and_then(|entry| entry.changed) {
            notify.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: Standing = Standing { state: State::Pending, delivery: 0, owner: None };
    const STARTED: Standing = Standing { state: State::Started, delivery: 1, owner: None };

    #[tokio::test]
    async fn a_change_before_the_first_poll_still_wakes() {
        let (board, id) = (Board::default(), TaskId::random());
        assert!(board.watch(id).is_none());
        board.publish([(id, Some(PENDING))], Figures::default());
        let (standing, changed) = board.watch(id).unwrap();
        assert_eq!(standing, PENDING);
        board.publish([(id, Some(STARTED))], Figures::default());
        changed.await;
        assert_eq!(board.look(id), Some(STARTED));
    }

    #[tokio::test]
    async fn only_a_change_wakes() {
        let (board, id) = (Board::default(), TaskId::random());
        board.publish([(id, Some(PENDING))], Figures::default());
        let (_, changed) = board.watch(id).unwrap();
        let mut changed = Box::pin(changed);
        board.replace(&HashMap::from([(id, PENDING)]), Figures::default());
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut changed).await.is_err());
        board.replace(&HashMap::new(), Figures::default());
        changed.await;
        assert_eq!(board.look(id), None);
    }
}
