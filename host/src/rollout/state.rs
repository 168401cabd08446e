//! The books of a node's generations.
//!
//! Owns what serves, what it replaced, what is tried, and the numbers that were given. Must never know how work is switched over.

use std::collections::{BTreeMap, BTreeSet};

use super::fleet::Told;
use super::history::History;
use super::parts::{Changes, Parts, Record};
use super::store::Active;
use crate::runtime::Slot;

/// What a node runs now, what it ran before, and what it tries.
pub(super) struct State {
    pub(super) parts: Parts,
    /// The newest generation of each slot, also of those that were refused.
    pub(super) generations: BTreeMap<Slot, u32>,
    pub(super) deployments: u64,
    /// What each deployment replaced, as long as something that it brought serves.
    pub(super) replaced: BTreeMap<u64, Changes>,
    pub(super) trial: Option<Trial>,
    /// What this node was told last as one of all.
    pub(super) told: BTreeMap<Slot, Told>,
    /// SHA-256 of what was taken last from each file of the watched folder, by its name.
    pub(super) taken: BTreeMap<String, String>,
    pub(super) history: History,
}

/// A deployment that gets a share of the work.
pub(super) struct Trial {
    pub(super) deployment: u64,
    pub(super) changes: Changes,
    pub(super) percent: u8,
    pub(super) by: String,
}

impl State {
    /// The number of a deployment that begins.
    pub(super) fn next_deployment(&mut self) -> u64 {
        self.deployments += 1;
        self.deployments
    }

    /// The number of a generation that comes to a slot.
    pub(super) fn next_generation(&mut self, slot: Slot) -> u32 {
        let generation = self.generations.entry(slot).or_default();
        *generation += 1;
        *generation
    }

    /// What the store is to hold while `parts` serve.
    pub(super) fn active(&self, parts: &Parts) -> Active {
        let records = parts.records().into_iter().filter(|(_, record)| record.package.is_some());
        let slots = records.map(|(slot, record)| (slot, Record::clone(&record))).collect();
        let policy = parts.crew.as_ref().and_then(|crew| Some((crew.policy.package.clone()?, crew.policy.deployment)));
        Active {
            told: self.told.clone(),
            taken: self.taken.clone(),
            generations: self.generations.clone(),
            deployments: self.deployments,
            slots,
            policy,
            ..Active::default()
        }
    }

    /// What can be rolled back to while `parts` serve, once a deployment has replaced something: of deployments of which
    /// nothing serves any more nothing can.
    pub(super) fn replaced_under(&self, parts: &Parts, more: Option<(u64, Changes)>) -> BTreeMap<u64, Changes> {
        let mut replaced = self.replaced.clone();
        replaced.extend(more);
        replaced.retain(|deployment, _| parts.has(*deployment));
        replaced
    }

    /// The packages that may be needed soon: what can be rolled back to, and what is tried.
    pub(super) fn soon(&self, replaced: &BTreeMap<u64, Changes>) -> BTreeSet<String> {
        let tried = self.trial.iter().map(|trial| &trial.changes);
        replaced.values().chain(tried).flat_map(Changes::packages).collect()
    }
}
