//! The annotator's slot: draws photographs with what was seen in them, for the command line.
//!
//! Owns the call. Must never know pixels; it passes bytes on.

use super::artifact::Cache;
use super::bindings::annotate::{self, Photograph};
use super::bindings::annotator::AnnotatorPre;
use super::bindings::score::Verdict;
use super::guest::{self, Guest};
use super::limits::Cancel;
use super::slot::{self, Plugged};
use super::{CallError, Candidate, Clockwork, Generation, LoadError, Slot};

/// The component that draws, ready to be instantiated.
pub(crate) struct Annotator(Plugged<AnnotatorPre<Guest<()>>>);

impl Annotator {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, candidate: Candidate) -> Result<Self, LoadError> {
        slot::plug(clockwork, cache, Slot::Annotator, candidate, guest::link_wasi_sync, AnnotatorPre::new).map(Self)
    }

    /// Draws; answers a PNG, or why a photograph could not be drawn.
    pub(crate) fn annotate(
        &self,
        photographs: &[Photograph],
        verdict: Option<Verdict>,
        threshold: f32,
    ) -> Result<Result<Vec<u8>, String>, CallError> {
        let verdict = verdict.map(drawable);
        let (answer, _spent) = self.0.call((), self.0.deadline(), Cancel::default(), |store| {
            let instance = self.0.pre.instantiate(&mut *store)?;
            instance.visavis_face_annotate().call_annotate(store, photographs, verdict, threshold)
        });
        answer
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }
}

/// The scorer's record, as the annotator imports it: the same words, another owner.
fn drawable(verdict: Verdict) -> annotate::Verdict {
    let Verdict { verified, score, euclidean_distance, cosine_similarity, faces, frontal } = verdict;
    annotate::Verdict { verified, score, euclidean_distance, cosine_similarity, faces, frontal }
}
