//! How a node stands: what serves, what is tried, what was changed.
//!
//! Owns what operators are told. Must never change anything.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Rollout;
use super::history::Entry;
use super::parts::{Changes, Record};
use crate::runtime::Slot;
use crate::runtime::switch::Progress;

/// How one slot stands.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    /// What serves.
    pub(crate) serving: Record,
    /// What is tried beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<Canary>,
    /// What `rollback` would return to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Record>,
}

/// What is tried, and how it does.
#[derive(Debug, Serialize)]
pub(crate) struct Canary {
    #[serde(flatten)]
    pub(crate) record: Record,
    /// Its share of the work.
    pub(crate) percent: u8,
    /// Work that it has done.
    pub(crate) done: u32,
    /// After so much it takes over.
    pub(crate) of: u32,
    /// Work that it failed and the generation that serves did not.
    pub(crate) failed: u32,
}

/// How a node stands: its slots, and what was changed.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    pub(crate) slots: BTreeMap<Slot, Standing>,
    /// The newest last.
    pub(crate) history: Vec<Entry>,
}

impl Rollout {
    /// What serves, in one line for the log: `scorer 3 1a2b…`.
    pub(crate) fn summary(&self) -> String {
        let serving = self.serving();
        let words = serving.iter().map(|(slot, Record { generation, .. })| {
            format!("{slot} {} {}", generation.generation, &generation.digest[..12])
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Slot, digest and number of each generation that serves.
    pub(crate) fn generations(&self) -> Vec<(String, String, u32)> {
        let serving = self.serving().into_iter();
        serving
            .map(|(slot, Record { generation, .. })| (slot.to_string(), generation.digest, generation.generation))
            .collect()
    }

    /// Name and digest of each model that serves.
    pub(crate) fn models(&self) -> Vec<(String, String)> {
        let Some(switch) = &self.pipeline else { return Vec::new() };
        switch.serving().policy.models.iter().map(|model| (model.name.clone(), model.digest.clone())).collect()
    }

    /// How the node stands.
    pub(crate) fn overview(&self) -> Overview {
        let state = self.state();
        let tried = state.trial.as_ref().map(|trial| (trial.changes.records(), trial.percent));
        let progress = self.pipeline.as_ref().and_then(|switch| switch.trial());
        let progress = progress.or_else(|| self.gateway.as_ref()?.trial());
        let slots = state.parts.records().into_iter().map(|(slot, record)| {
            let canary = tried.as_ref().and_then(|(records, percent)| {
                let Progress { done, of, failed } = progress?;
                let record = Record::clone(records.get(&slot)?);
                Some(Canary { record, percent: *percent, done, of, failed })
            });
            let replaced = state.replaced.get(&record.deployment).map(Changes::records).unwrap_or_default();
            let previous = replaced.get(&slot).map(|record| Record::clone(record));
            (slot, Standing { serving: Record::clone(&record), canary, previous })
        });
        let slots = slots.collect();
        Overview { slots, history: state.history.entries() }
    }
}
