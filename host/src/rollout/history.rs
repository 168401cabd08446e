//! What was changed, when and by whom: in the log, and for who asks.
//!
//! Owns the words for a change. Must never know how one is made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::parts::{Record, now};
use crate::runtime::{Generation, Slot};
use crate::telemetry::metrics;

/// So many changes are remembered; the log has them all.
const KEPT: usize = 100;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It serves.
    Deployed,
    /// It gets a share of the work.
    Tried,
    /// Its trial went well, and it serves.
    Promoted,
    /// Its trial went badly, and it gets no more work.
    TakenBack,
    /// It was passed over for what had served before.
    RolledBack,
    /// It was refused and got no work.
    Refused,
}

impl Event {
    /// Its name, as it is written.
    fn name(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Tried => "tried",
            Self::Promoted => "promoted",
            Self::TakenBack => "taken_back",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
        }
    }
}

/// One change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Seconds since the epoch.
    pub(crate) at: u64,
    /// What happened.
    pub(crate) event: Event,
    /// To what: the generations that came.
    pub(crate) generations: BTreeMap<Slot, Generation>,
    /// Who asked for it.
    pub(crate) by: String,
    /// Why, when there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// The last changes, the newest last.
#[derive(Default)]
pub(super) struct History(VecDeque<Entry>);

impl History {
    /// Notes a change, here and in the log.
    pub(super) fn note(&mut self, event: Event, records: &BTreeMap<Slot, Arc<Record>>, by: &str, why: Option<String>) {
        let generations: BTreeMap<_, _> =
            records.iter().map(|(slot, record)| (*slot, record.generation.clone())).collect();
        for (slot, Generation { digest, generation }) in &generations {
            let why = why.as_deref();
            tracing::info!(target: "visavis::audit", ?event, %slot, generation, digest, by, why, "component");
        }
        metrics().changes.of([event.name()]).inc();
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Entry { at: now(), event, generations, by: by.to_owned(), why });
    }

    /// The changes, the oldest first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.iter().cloned().collect()
    }
}
