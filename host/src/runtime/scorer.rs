//! The scorer's slot: one fresh instance for each decision.
//!
//! Owns the call. Must never know a threshold; it passes records on.

use wasmtime::Store;
use wasmtime::component::Linker;

use super::artifact::{self, Cache};
use super::bindings::score::{Policy, Rejection, Verdict};
use super::bindings::scorer::{Scorer as Instance, ScorerPre};
use super::bindings::types::{Analysis, Face};
use super::guest::{self, Guest};
use super::limits::{self, Cancel, Limits};
use super::{CallError, Clockwork, Generation, LoadError, Slot, SlotConfig};

/// The component that decides, ready to be instantiated.
pub(crate) struct Scorer {
    pre: ScorerPre<Guest<()>>,
    limits: Limits,
    generation: Generation,
}

impl Scorer {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, config: &SlotConfig) -> Result<Self, LoadError> {
        let engine = &clockwork.engine;
        let artifact = artifact::load(engine, cache, Slot::Scorer, config)?;
        let link = || {
            let mut linker = Linker::new(engine);
            guest::link_wasi_sync(&mut linker)?;
            ScorerPre::new(linker.instantiate_pre(&artifact.component)?)
        };
        let pre = link().map_err(|error| LoadError::not_of_its_world(Slot::Scorer, config, &error))?;
        Ok(Self { pre, limits: config.limits, generation: Generation::first(artifact.digest) })
    }

    /// Decides whether two photographs show one person.
    pub(crate) fn score(
        &self,
        first: &Analysis,
        second: &Analysis,
        policy: Policy,
        cancel: Cancel,
    ) -> Result<Result<Verdict, Rejection>, CallError> {
        self.call(cancel, |instance, store| instance.visavis_face_score().call_score(store, first, second, policy))
    }

    /// Whether each face looks into the camera.
    pub(crate) fn frontal(&self, faces: &[Face], cancel: Cancel) -> Result<Vec<bool>, CallError> {
        self.call(cancel, |instance, store| {
            let score = instance.visavis_face_score();
            faces.iter().map(|face| score.call_frontal(&mut *store, face)).collect()
        })
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    fn call<T>(
        &self,
        cancel: Cancel,
        work: impl FnOnce(&Instance, &mut Store<Guest<()>>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let mut store = guest::store(self.pre.engine(), self.limits, ());
        limits::stop_at(&mut store, std::time::Instant::now() + self.limits.deadline, cancel);
        let result = match self.pre.instantiate(&mut store) {
            Ok(instance) => work(&instance, &mut store),
            Err(error) => Err(error),
        };
        result.map_err(|error| guest::call_error(&store, Slot::Scorer, self.generation.generation, &error))
    }
}
