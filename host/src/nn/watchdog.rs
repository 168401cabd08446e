//! The thread that stops runs at their deadline.
//!
//! Owns deadlines and when to act on them. Must never know what is stopped.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

type Stop = Box<dyn FnOnce() + Send>;

/// One thread for all runs; it ends with this.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By deadline; the number tells runs of one deadline apart.
    runs: BTreeMap<(Instant, u64), Stop>,
    started: u64,
    /// When the thread looks next if nobody wakes it; `None` is never.
    looks_at: Option<Instant>,
    closed: bool,
}

impl Watchdog {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start() -> Result<Self, std::io::Error> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("nn-watchdog".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep_watch()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Calls `stop` at `deadline`, unless the watch has ended before. `stop` only raises a flag: it runs under the
    /// lock, so that it is never called once [`Watch::end`] has returned.
    pub(crate) fn watch(&self, deadline: Instant, stop: impl FnOnce() + Send + 'static) -> Watch<'_> {
        let mut state = self.shared.lock();
        let key = (deadline, state.started);
        state.started += 1;
        state.runs.insert(key, Box::new(stop));
        // A thread that looks early enough is left asleep: most runs end long before their deadline and cost no
        // wake-up.
        if state.looks_at.is_none_or(|at| deadline < at) {
            state.looks_at = Some(deadline);
            self.shared.changed.notify_one();
        }
        Watch { shared: &self.shared, key }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn keep_watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let pending = state.runs.split_off(&(Instant::now(), u64::MAX));
            for stop in mem::replace(&mut state.runs, pending).into_values() {
                stop();
            }
            state.looks_at = state.runs.keys().next().map(|(deadline, _)| *deadline);
            state = match state.looks_at {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run under watch, until this is dropped.
pub(crate) struct Watch<'w> {
    shared: &'w Shared,
    key: (Instant, u64),
}

impl Watch<'_> {
    /// Ends the watch; whether the deadline came first and the run was told to stop.
    pub(crate) fn end(self) -> bool {
        self.shared.lock().runs.remove(&self.key).is_none()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.shared.lock().runs.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn stops_come_at_their_deadlines_in_order() {
        let watchdog = Watchdog::start().unwrap();
        let (stopped, order) = mpsc::channel();
        let start = Instant::now();
        let watches: Vec<_> = [60, 20, 40, 20]
            .map(|after| {
                let stopped = stopped.clone();
                watchdog.watch(start + Duration::from_millis(after), move || {
                    let _ = stopped.send((after, start.elapsed()));
                })
            })
            .into();
        let seen: Vec<_> = order.iter().take(4).collect();
        assert_eq!(seen.iter().map(|(after, _)| *after).collect::<Vec<_>>(), [20, 20, 40, 60]);
        assert!(seen.iter().all(|(after, elapsed)| *elapsed >= Duration::from_millis(*after)), "{seen:?}");
        assert!(watches.into_iter().all(Watch::end));
    }

    #[test]
    fn a_run_that_ended_is_not_stopped() {
        let watchdog = Watchdog::start().unwrap();
        let (stopped, stops) = mpsc::channel();
        let watch = watchdog.watch(Instant::now() + Duration::from_millis(20), move || {
            let _ = stopped.send(());
        });
        assert!(!watch.end());
        // The closure, and with it the sender, is gone without having been called.
        assert_eq!(stops.recv_timeout(Duration::from_secs(5)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
