//! The analyzer's slot: one fresh instance for each photograph.
//!
//! Owns the call. Must never know what a face is; it passes records on. Inference blocks, so does `analyze`: call it on a
//! thread of its own.

use std::time::Instant;

use wasmtime_wasi_nn::wit::{WasiNnCtx, WasiNnView};

use super::artifact::Cache;
use super::bindings::analyze::{Failure, Settings};
use super::bindings::analyzer::AnalyzerPre;
use super::bindings::types::Analysis;
use super::guest::{self, Guest};
use super::limits::Cancel;
use super::slot::{self, Plugged, Spent};
use super::{CallError, Candidate, Clockwork, Generation, LoadError, Slot};
use crate::nn::Nn;
use crate::telemetry::TraceContext;

/// The component that analyses photographs, ready to be instantiated.
pub(crate) struct Analyzer(Plugged<AnalyzerPre<Guest<WasiNnCtx>>>);

impl Analyzer {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, candidate: Candidate) -> Result<Self, LoadError> {
        let link = |linker: &mut _| {
            guest::link_wasi_sync(linker)?;
            wasmtime_wasi_nn::wit::add_to_linker(linker, |guest: &mut Guest<WasiNnCtx>| {
                WasiNnView::new(&mut guest.table, &mut guest.extra)
            })
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
        self.0.call(nn.context(deadline, trace), deadline, cancel, |store| {
            let instance = self.0.pre.instantiate(&mut *store)?;
            instance.visavis_face_analyze().call_analyze(store, photograph, settings)
        })
    }

    /// Makes an instance and throws it away.
    #[cfg(test)]
    pub(super) fn instantiate(&self, nn: &Nn, deadline: Instant) -> Result<(), CallError> {
        let (made, _spent) =
            self.0.call(nn.context(deadline, &Default::default()), deadline, Cancel::default(), |store| {
                self.0.pre.instantiate(store).map(|_| ())
            });
        made
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }
}
