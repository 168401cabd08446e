//! What one request to a gateway takes while it is served, and what it waits for.
//!
//! Owns the seat, which is taken until the request's instance is gone, not only until it has answered. Must never know how many
//! seats there are, or who is to give way.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// An answer may take so long, whoever needs its seat. Who gave up waiting for that has done what was asked of it.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing: its component computes.
    Computing,
    /// More of its body, from the client.
    Receiving,
    /// The end of a task.
    Waiting,
    /// The client, which has the head of the answer.
    Answering,
}

/// One request's seat. Whoever holds a share of it keeps it taken.
pub(crate) struct Seat {
    since: Instant,
    stage: AtomicU8,
    received: AtomicU64,
    /// Milliseconds from `since` to the head of the answer.
    answered: AtomicU64,
    hurry: CancellationToken,
    /// The seat itself, and the room for the request's body.
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    kibibytes: u32,
}

impl Seat {
    /// A seat, and room for so many KiB of a body.
    pub(crate) fn new(seat: OwnedSemaphorePermit, body: OwnedSemaphorePermit, kibibytes: u32) -> Self {
        Self {
            since: Instant::now(),
            stage: AtomicU8::new(Stage::Computing as u8),
            received: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            hurry: CancellationToken::new(),
            _permits: (seat, body),
            kibibytes,
        }
    }

    /// Notes what the request waits for now.
    pub(crate) fn enter(&self, stage: Stage) {
        if stage == Stage::Answering {
            self.answered.store(self.millis(), Ordering::Relaxed);
        }
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Notes that so many bytes of the body have come.
    pub(crate) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What the request waits for.
    pub(crate) fn stage(&self) -> Stage {
        const STAGES: [Stage; 4] = [Stage::Computing, Stage::Receiving, Stage::Waiting, Stage::Answering];
        STAGES[usize::from(self.stage.load(Ordering::Relaxed)) % STAGES.len()]
    }

    /// For how long it is taken.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// For how long it is answered; its whole age before.
    pub(crate) fn answered_for(&self) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(self.answered.load(Ordering::Relaxed)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX)
    }

    /// How fast its body comes, bytes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.received.load(Ordering::Relaxed) as f64 / self.age().as_secs_f64().max(1e-3)
    }

    /// Whether room for a body goes with it.
    pub(crate) fn has_a_body(&self) -> bool {
        self.kibibytes > 0
    }

    /// Asks for the seat: what the request waits for, it does not get any more.
    pub(crate) fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Whether the seat was asked for.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurry.is_cancelled()
    }

    /// Tells when the seat is asked for.
    pub(crate) fn hurried(&self) -> CancellationToken {
        self.hurry.clone()
    }
}
