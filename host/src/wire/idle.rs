//! Connections on which nothing is asked.
//!
//! Owns who leaves when somebody new finds no seat: the connection that has been idle the longest. So clients that connect and
//! say nothing, however many, keep nobody out. Must never know a socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The idle connections of a listener, those first that have been idle the longest.
#[derive(Default)]
pub(super) struct Idle {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    since: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One connection. It is idle from the start, and gone when this is dropped.
pub(super) struct Presence {
    idle: Arc<Idle>,
    leave: CancellationToken,
    /// Its place among the idle; `None` while something is asked.
    place: Mutex<Option<u64>>,
}

impl Idle {
    /// Asks the connection to leave that has been idle the longest; whether there is one.
    pub(super) fn send_away(&self) -> bool {
        let first = self.waiting().since.pop_first();
        first.map(|(_, leave)| leave.cancel()).is_some()
    }

    /// Waits for another connection to be idle.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    pub(super) fn new(idle: &Arc<Idle>) -> Self {
        let presence = Self { idle: Arc::clone(idle), leave: CancellationToken::new(), place: Mutex::new(None) };
        presence.rest();
        presence
    }

    /// Notes that nothing is asked any more.
    pub(super) fn rest(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.idle.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.since.insert(number, self.leave.clone());
        if let Some(before) = place.replace(number) {
            waiting.since.remove(&before);
        }
        self.idle.more.notify_one();
    }

    /// Notes that something is asked.
    pub(super) fn ask(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = place.take() {
            self.idle.waiting().since.remove(&number);
        }
    }

    /// Tells when the connection is to leave.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_leaves_first_and_who_asks_stays() {
        let idle = Arc::new(Idle::default());
        let [first, second, third] = [0; 3].map(|_| Presence::new(&idle));
        let gone = |presence: &Presence| presence.leave().is_cancelled();
        first.ask();
        assert!(idle.send_away());
        assert_eq!([gone(&first), gone(&second), gone(&third)], [false, true, false]);
        // Who has been answered is the last to have been idle.
        first.rest();
        assert!(idle.send_away());
        assert_eq!([gone(&first), gone(&third)], [false, true]);
        drop(first);
        assert!(!idle.send_away(), "nobody is left");
    }
}
