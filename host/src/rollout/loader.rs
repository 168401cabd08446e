//! From a component's bytes to a part that can serve.
//!
//! Owns the order of engine, cache and limits. Must never know why something is loaded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::parts::{Changes, Part, Record};
use crate::runtime::analyzer::Analyzer;
use crate::runtime::gateway::Gateway;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Cache, Candidate, Clockwork, Limits, LoadError, Slot, Source};

/// Compiles components and links them to what their worlds grant.
pub(super) struct Loader {
    clockwork: Clockwork,
    cache: Cache,
    limits: BTreeMap<Slot, Limits>,
}

impl Loader {
    pub(super) fn new(clockwork: Clockwork, cache: Cache, slots: &BTreeMap<Slot, (PathBuf, Limits)>) -> Self {
        let limits = slots.iter().map(|(slot, (_, limits))| (*slot, *limits)).collect();
        Self { clockwork, cache, limits }
    }

    /// Loads the component for a slot and adds it to `changes`. Slots that no node serves from are left alone.
    pub(super) fn change(
        &self,
        changes: &mut Changes,
        slot: Slot,
        source: Source,
        record: Record,
    ) -> Result<(), LoadError> {
        match slot {
            Slot::Gateway => changes.gateway = Some(self.part(slot, source, record, Gateway::load)?),
            Slot::Analyzer => changes.analyzer = Some(self.part(slot, source, record, Analyzer::load)?),
            Slot::Scorer => changes.scorer = Some(self.part(slot, source, record, Scorer::load)?),
            Slot::Annotator => {}
        }
        Ok(())
    }

    fn part<T>(
        &self,
        slot: Slot,
        source: Source,
        record: Record,
        load: impl FnOnce(&Clockwork, &Cache, Candidate) -> Result<T, LoadError>,
    ) -> Result<Part<T>, LoadError> {
        let limits = self.limits[&slot];
        let work =
            load(&self.clockwork, &self.cache, Candidate { source, generation: record.generation.generation, limits })?;
        Ok(Part { work: Arc::new(work), record: Arc::new(record) })
    }
}
