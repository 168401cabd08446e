//! The scorer's slot: one fresh instance for each decision.
//!
//! Owns the call. Must never know a threshold; it passes records on.

use super::artifact::Cache;
use super::bindings::score::{Policy, Rejection, Verdict};
use super::bindings::scorer::ScorerPre;
use super::bindings::types::{Analysis, Face};
use super::guest::{self, Guest};
use super::limits::Cancel;
use super::slot::{self, Plugged};
use super::{CallError, Candidate, Clockwork, Generation, LoadError, Slot};

/// The component that decides, ready to be instantiated.
pub(crate) struct Scorer(Plugged<ScorerPre<Guest<()>>>);

impl Scorer {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, candidate: Candidate) -> Result<Self, LoadError> {
        slot::plug(clockwork, cache, Slot::Scorer, candidate, guest::link_wasi_sync, ScorerPre::new).map(Self)
    }

    /// Decides whether two photographs show one person.
    pub(crate) fn score(
        &self,
        first: &Analysis,
        second: &Analysis,
        policy: Policy,
        cancel: Cancel,
    ) -> Result<Result<Verdict, Rejection>, CallError> {
        let (answer, _spent) = self.0.call((), self.0.deadline(), cancel, |store| {
            let instance = self.0.pre.instantiate(&mut *store)?;
            instance.visavis_face_score().call_score(store, first, second, policy)
        });
        answer
    }

    /// Whether each face looks into the camera.
    pub(crate) fn frontal(&self, faces: &[Face], cancel: Cancel) -> Result<Vec<bool>, CallError> {
        let (answer, _spent) = self.0.call((), self.0.deadline(), cancel, |store| {
            let instance = self.0.pre.instantiate(&mut *store)?;
            let score = instance.visavis_face_score();
            faces.iter().map(|face| score.call_frontal(&mut *store, face)).collect()
        });
        answer
    }

    /// Makes an instance and throws it away.
    #[cfg(test)]
    pub(super) fn instantiate(&self) -> Result<(), CallError> {
        let (made, _spent) =
            self.0.call((), self.0.deadline(), Cancel::default(), |store| self.0.pre.instantiate(store).map(|_| ()));
        made
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }
}
