//! The analyzer's slot: one fresh instance for each photograph.
//!
//! Owns the call. Must never know what a face is; it passes records on. Inference blocks, so does `analyze`: call it on a
//! thread of its own.

use std::time::Instant;

use super::artifact::Cache;
use super::bindings::analyze::{Failure, Settings};
use super::bindings::analyzer::AnalyzerPre;
use super::bindings::types::Analysis;
use super::guest::{self, Guest};
use super::inference::{self, Inference};
use super::limits::Cancel;
use super::slot::{self, Plugged, Spent};
use super::{CallError, Candidate, Clockwork, Generation, LoadError, Slot};
use crate::nn::Nn;
use crate::telemetry::TraceContext;

/// The component that analyses photographs, ready to be instantiated.
pub(crate) struct Analyzer(Plugged<AnalyzerPre<Guest<Inference>>>);

impl Analyzer {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, candidate: Candidate) -> Result<Self, LoadError> {
        let link = |linker: &mut _| {
            guest::link_wasi_sync(linker)?;
            inference::link(linker)
        };
        slot::plug(clockwork, cache, Slot::Analyzer, candidate, link, AnalyzerPre::new).map(Self)
    }

    /// Analyses one photograph; its inferences are spans of `trace`. Blocks, also in inference. What is left of the instance comes
    /// along.
    pub(crate) fn analyze(
        &self,
        nn: &Nn,
        photograph: &[u8],
        settings: &Settings,
        deadline: Instant,
        cancel: Cancel,
        trace: &TraceContext,
    ) -> (Result<Result<Analysis, Failure>, CallError>, Spent) {
        let deadline = deadline.min(self.0.deadline());
        let inference = Inference::new(nn.graphs_until(deadline, trace), self.0.limits);
        self.0.call(inference, deadline, cancel, |store| {
            let instance = self.0.pre.instantiate(&mut *store)?;
            instance.visavis_face_analyze().call_analyze(store, photograph, settings)
        })
    }

    /// Makes an instance and throws it away.
    #[cfg(test)]
    pub(super) fn instantiate(&self, nn: &Nn, deadline: Instant) -> Result<(), CallError> {
        let inference = Inference::new(nn.graphs_until(deadline, &TraceContext::default()), self.0.limits);
        let (made, _spent) =
            self.0.call(inference, deadline, Cancel::default(), |store| self.0.pre.instantiate(store).map(|_| ()));
        made
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }
}
