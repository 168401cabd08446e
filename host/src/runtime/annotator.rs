//! The annotator's slot: draws photographs with what was seen in them, for the command line.
//!
//! Owns the call. Must never know pixels; it passes bytes on.

use wasmtime::component::Linker;

use super::artifact::{self, Cache};
use super::bindings::annotate::{self, Photograph};
use super::bindings::annotator::AnnotatorPre;
use super::bindings::score::Verdict;
use super::guest::{self, Guest};
use super::limits::{self, Cancel, Limits};
use super::{CallError, Clockwork, Generation, LoadError, Slot, SlotConfig};

/// The component that draws, ready to be instantiated.
pub(crate) struct Annotator {
    pre: AnnotatorPre<Guest<()>>,
    limits: Limits,
    generation: Generation,
}

impl Annotator {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, config: &SlotConfig) -> Result<Self, LoadError> {
        let engine = &clockwork.engine;
        let artifact = artifact::load(engine, cache, Slot::Annotator, config)?;
        let link = || {
            let mut linker = Linker::new(engine);
            guest::link_wasi_sync(&mut linker)?;
            AnnotatorPre::new(linker.instantiate_pre(&artifact.component)?)
        };
        let pre = link().map_err(|error| LoadError::not_of_its_world(Slot::Annotator, config, &error))?;
        Ok(Self { pre, limits: config.limits, generation: Generation::first(artifact.digest) })
    }

    /// Draws; answers a PNG, or why a photograph could not be drawn.
    pub(crate) fn annotate(
        &self,
        photographs: &[Photograph],
        verdict: Option<Verdict>,
        threshold: f32,
    ) -> Result<Result<Vec<u8>, String>, CallError> {
        let mut store = guest::store(self.pre.engine(), self.limits, ());
        limits::stop_at(&mut store, std::time::Instant::now() + self.limits.deadline, Cancel::default());
        let verdict = verdict.map(drawable);
        let call = |store: &mut wasmtime::Store<_>| {
            let instance = self.pre.instantiate(&mut *store)?;
            instance.visavis_face_annotate().call_annotate(&mut *store, photographs, verdict, threshold)
        };
        call(&mut store).map_err(|error| guest::call_error(&store, Slot::Annotator, self.generation.generation, &error))
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }
}

/// The scorer's record, as the annotator imports it: the same words, another owner.
fn drawable(verdict: Verdict) -> annotate::Verdict {
    let Verdict { verified, score, euclidean_distance, cosine_similarity, faces, frontal } = verdict;
    annotate::Verdict { verified, score, euclidean_distance, cosine_similarity, faces, frontal }
}
