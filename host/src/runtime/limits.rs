//! The meter of one store: how much memory its guest may take, and for how long it may run.
//!
//! Owns every bound on a guest. Must never know what the guest does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::engine::{TABLE_ELEMENTS, TICK};

/// What one instance may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All of its linear memories together, bytes.
    pub(crate) memory: usize,
    /// For a gateway: its own computing time; the wait for a task does not count. For the others: wall time of one call.
    pub(crate) deadline: Duration,
}

/// Lets somebody else stop a guest. Clones share the switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the guest within a tick, unless it waits in the host.
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a guest was interrupted; it travels inside wasmtime's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("it ran past its deadline")]
    Deadline,
    #[error("it was cancelled")]
    Cancelled,
}

/// Until when a guest may run, and who may stop it before.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) deadline: Instant,
    pub(super) cancel: Cancel,
}

impl Bound {
    /// Why the guest must stop by now; `None` while it may run.
    pub(super) fn reached(&self) -> Option<Stop> {
        if self.cancel.is_cancelled() {
            Some(Stop::Cancelled)
        } else if Instant::now() >= self.deadline {
            Some(Stop::Deadline)
        } else {
            None
        }
    }
}

/// Counts what the guest of one store takes.
#[derive(Debug)]
pub(super) struct Meter {
    memory_left: usize,
    /// Whether it asked for more than it may have.
    pub(super) refused: bool,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { memory_left: limits.memory, refused: false }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let granted = more <= self.memory_left;
        if granted {
            self.memory_left -= more;
        } else {
            self.refused = true;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

/// Interrupts the guest's computing at its bound. For a guest called synchronously.
pub(super) fn stop_at<T>(store: &mut Store<T>, bound: Bound) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| match bound.reached() {
        Some(stop) => Err(stop.into()),
        None => Ok(UpdateDeadline::Continue(1)),
    });
}

/// Lets the guest compute for `budget`, giving way to others at every tick. For a guest called asynchronously.
pub(super) fn give_way<T>(store: &mut Store<T>, budget: Duration) {
    let mut ticks = u64::try_from(budget.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        ticks -= 1;
        if ticks == 0 { Err(Stop::Deadline.into()) } else { Ok(UpdateDeadline::Yield(1)) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_allowance() {
        let mut meter = Meter::new(Limits { memory: 100, deadline: Duration::from_secs(1) });
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert!(!meter.memory_growing(100, 101, None).unwrap());
    }
}
