//! From a component's bytes to a part that can serve.
//!
//! Owns the order of engine, cache and limits, and what of a bundle a node of its role takes. Must never let anything serve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Rollout;
use super::bundle::{Bundle, EmbeddingSpace};
use super::order::{Refusal, What};
use super::parts::{Changes, Part, PolicyPart, Record};
use crate::runtime::analyzer::Analyzer;
use crate::runtime::gateway::Gateway;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Cache, Candidate, Clockwork, Limits, LoadError, Slot, Source};

/// What an order brings, ready to be tried.
pub(super) struct Loaded {
    pub(super) changes: Changes,
    /// SHA-256 and bytes of what the store is to keep; `None` for what is configured.
    pub(super) package: Option<(String, Arc<[u8]>)>,
    /// Embeddings from before and after cannot be compared.
    pub(super) space_changes: bool,
}

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

impl Rollout {
    /// Compiles and links what an order brings, on a thread of its own.
    pub(super) async fn load(
        self: &Arc<Self>,
        what: What,
        by: &str,
        signer: Option<String>,
    ) -> Result<Loaded, Refusal> {
        let (rollout, by) = (Arc::clone(self), by.to_owned());
        let loaded = tokio::task::spawn_blocking(move || match what {
            What::Component(slot, bytes) => {
                rollout.load_component(slot, Source::new(bytes, "the file"), true, by, signer)
            }
            What::Configured(slot) => {
                let (path, _) = rollout.config.slots.get(&slot).ok_or(Refusal::NotHere { slot })?;
                rollout.load_component(slot, Source::read(slot, path)?, false, path.display().to_string(), None)
            }
            What::Bundle(bytes) => rollout.load_bundle(bytes, &by, signer.as_ref()),
        });
        loaded.await.map_err(|error| Refusal::Broken(error.to_string()))?
    }

    fn load_component(
        &self,
        slot: Slot,
        source: Source,
        keep: bool,
        origin: String,
        signer: Option<String>,
    ) -> Result<Loaded, Refusal> {
        if !self.config.slots.contains_key(&slot) {
            return Err(Refusal::NotHere { slot });
        }
        let package = keep.then(|| (source.digest.clone(), Arc::clone(&source.bytes)));
        let (deployment, generation) = {
            let mut state = self.state();
            (state.next_deployment(), state.next_generation(slot))
        };
        let record = Record::new(&source, generation, deployment, origin);
        let record = Record { package: package.as_ref().map(|(digest, _)| digest.clone()), signer, ..record };
        // A policy that came in a bundle goes with what came with it.
        let bundled = self.state().parts.crew.as_ref().is_some_and(|crew| crew.policy.package.is_some());
        let policy = self.configured.clone().filter(|_| !keep && bundled && slot != Slot::Gateway);
        let mut changes = Changes { policy, ..Changes::default() };
        self.loader.change(&mut changes, slot, source, record)?;
        Ok(Loaded { changes, package, space_changes: false })
    }

    fn load_bundle(&self, bytes: Vec<u8>, by: &str, signer: Option<&String>) -> Result<Loaded, Refusal> {
        let Bundle { manifest, components, digest } = Bundle::read(&bytes)?;
        let name = format!("{} {}", manifest.name, manifest.version);
        let here: Vec<_> = components.into_iter().filter(|(slot, _)| self.config.slots.contains_key(slot)).collect();
        let current = self.state().parts.crew.as_ref().map(|crew| Arc::clone(&crew.policy.policy));
        let current = current.filter(|_| manifest.has_policy());
        if here.is_empty() && current.is_none() {
            return Err(Refusal::NothingHere);
        }
        let deployment = self.state().next_deployment();
        let mut changes = Changes::default();
        for (slot, component) in here {
            let source = Source::new(component, format!("the {slot} of the bundle {name}"));
            let generation = self.state().next_generation(slot);
            let record = Record::new(&source, generation, deployment, by.to_owned());
            let (bundle, package) = (Some(name.clone()), Some(digest.clone()));
            self.loader.change(
                &mut changes,
                slot,
                source,
                Record { bundle, package, signer: signer.cloned(), ..record },
            )?;
        }
        if let Some(current) = current {
            let policy =
                (self.config.revise)(&manifest, &current).map_err(|error| Refusal::Policy(format!("{error:#}")))?;
            changes.policy = Some(PolicyPart { policy: Arc::new(policy), deployment, package: Some(digest.clone()) });
        }
        let space_changes = manifest.embedding_space == EmbeddingSpace::Changes;
        Ok(Loaded { changes, package: Some((digest, bytes.into())), space_changes })
    }
}
