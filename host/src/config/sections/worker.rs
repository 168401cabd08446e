//! Section `worker`: how tasks are done.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from.

use std::time::Duration;

use crate::config::sections::{Field, HOUR, field};
use crate::config::value::{Count, Or, Span};

/// Section `worker`: how tasks are done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Worker {
    /// How many tasks are done at once; `None`: as many as there are processors for this process.
    pub(crate) concurrency: Option<usize>,
    /// How long one try of a task may take.
    pub(crate) task_timeout: Duration,
    /// How often a task is tried again after the host or a component failed; less than `queue.max_deliveries`.
    pub(crate) retries: u32,
}

impl Worker {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self { concurrency: None, task_timeout: Duration::from_secs(30), retries: 3 }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field(
                "worker.concurrency",
                Or { word: "auto", value: &mut self.concurrency, of: |it| Box::new(Count(it, 1..=1024)) },
            ),
            field("worker.task_timeout", Span(&mut self.task_timeout, Duration::from_millis(100)..=HOUR)),
            field("worker.retries", Count(&mut self.retries, 0..=100)),
        ]
    }
}
