//! Wakes those who wait for something to happen in the queue.
//!
//! Owns who waits for what, on this node. A ring is a hint and may be missed or come for nothing: whoever is woken looks
//! again. Must never know connections or what a task is about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::task::TaskId;

/// More claims than this are not woken by one message; each that finds a task wakes the next.
const MOST: usize = 64;

/// The bell.
#[derive(Default)]
pub(super) struct Bell {
    due: Notify,
    posted: Notify,
    news: Notify,
    tasks: Mutex<HashMap<TaskId, Watched>>,
}

struct Watched {
    changed: Arc<Notify>,
    watches: usize,
}

impl Bell {
    /// A future that ends when a task may be due. Enable it before looking whether one is.
    pub(super) fn due(&self) -> Notified<'_> {
        self.due.notified()
    }

    /// Wakes one who waits for a task that is due.
    pub(super) fn ring_due(&self) {
        self.due.notify_one();
    }

    /// A future that ends when something was posted for all nodes.
    pub(super) fn posted(&self) -> Notified<'_> {
        self.posted.notified()
    }

    /// A future that ends when there is an end to be told. Enable it before looking whether there is one.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Watches one task until dropped.
    pub(super) fn watch(&self, id: TaskId) -> Watch<'_> {
        let mut tasks = self.tasks();
        let watched = tasks.entry(id).or_insert_with(|| Watched { changed: Arc::default(), watches: 0 });
        watched.watches += 1;
        Watch { bell: self, id, changed: Arc::clone(&watched.changed) }
    }

    /// Wakes whom a message of the scripts concerns: `+N`, `!`, `@`, or the digits of a task's id.
    pub(super) fn ring(&self, message: &[u8]) {
        if let Some(count) = message.strip_prefix(b"+") {
            let count = std::str::from_utf8(count).ok().and_then(|digits| digits.parse().ok()).unwrap_or(1);
            (0..MOST.min(count)).for_each(|_| self.due.notify_one());
            return;
        }
        if message == b"!" {
            self.posted.notify_waiters();
            return;
        }
        if message == b"@" {
            self.news.notify_one();
            return;
        }
        let mut id = [0; 16];
        if hex::decode_to_slice(message, &mut id).is_ok()
            && let Some(watched) = self.tasks().get(&TaskId(id))
        {
            watched.changed.notify_waiters();
        }
    }

    /// Wakes all: messages may have been missed.
    pub(super) fn ring_all(&self) {
        self.due.notify_waiters();
        self.posted.notify_waiters();
        self.news.notify_one();
        self.tasks().values().for_each(|watched| watched.changed.notify_waiters());
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Watched>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An eye on one task.
pub(super) struct Watch<'a> {
    bell: &'a Bell,
    id: TaskId,
    changed: Arc<Notify>,
}

impl Watch<'_> {
    /// A future that ends at the next ring for the task after this call, even when it is polled late.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut tasks = self.bell.tasks();
        if let Some(watched) = tasks.get_mut(&self.id) {
            watched.watches -= 1;
            if watched.watches == 0 {
                tasks.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_ring_wakes_whom_it_concerns() {
        let (bell, id, other) = (Bell::default(), TaskId([0xAB; 16]), TaskId([1; 16]));
        let (watch, elsewhere) = (bell.watch(id), bell.watch(other));
        let (changed, still) = (watch.changed(), elsewhere.changed());
        bell.ring("ab".repeat(16).as_bytes());
        timeout(MOMENT, changed).await.expect("it was for this one");
        assert!(timeout(MOMENT, still).await.is_err());
        let (changed, still) = (watch.changed(), elsewhere.changed());
        bell.ring_all();
        timeout(MOMENT, async { tokio::join!(changed, still) }).await.expect("it was for all");
    }

    #[tokio::test]
    async fn as_many_claims_are_woken_as_tasks_are_due() {
        let bell = Bell::default();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bell.due())).collect();
        waiting.iter_mut().for_each(|due| assert!(!due.as_mut().enable()));
        bell.ring(b"+2");
        let woken = waiting.iter_mut().map(|due| due.as_mut().enable()).filter(|woken| *woken).count();
        assert_eq!(woken, 2);
    }

    #[test]
    fn nothing_is_left_of_a_watch() {
        let (bell, id) = (Bell::default(), TaskId([3; 16]));
        let two = (bell.watch(id), bell.watch(id));
        drop(two.0);
        assert_eq!(bell.tasks().len(), 1);
        drop(two.1);
        assert_eq!(bell.tasks().len(), 0);
        for strange in [&b""[..], b"+", b"+x", b"zz", b"abcd"] {
            bell.ring(strange);
        }
    }
}
