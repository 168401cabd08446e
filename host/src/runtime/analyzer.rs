//! The analyzer's slot: one fresh instance for each photograph.
//!
//! Owns the call. Must never know what a face is; it passes records on. Inference blocks, so does `analyze`: call it on a
//! thread of its own.

use std::time::Instant;

use wasmtime::component::Linker;
use wasmtime_wasi_nn::wit::{WasiNnCtx, WasiNnView};

use super::artifact::{self, Cache};
use super::bindings::analyze::{Failure, Settings};
use super::bindings::analyzer::AnalyzerPre;
use super::bindings::types::Analysis;
use super::guest::{self, Guest};
use super::limits::{self, Cancel, Limits};
use super::{CallError, Clockwork, Generation, LoadError, Slot, SlotConfig};
use crate::nn::Nn;

/// The component that analyses photographs, ready to be instantiated.
pub(crate) struct Analyzer {
    pre: AnalyzerPre<Guest<WasiNnCtx>>,
    limits: Limits,
    generation: Generation,
}

impl Analyzer {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, config: &SlotConfig) -> Result<Self, LoadError> {
        let engine = &clockwork.engine;
        let artifact = artifact::load(engine, cache, Slot::Analyzer, config)?;
        let link = || {
            let mut linker = Linker::new(engine);
            guest::link_wasi_sync(&mut linker)?;
            wasmtime_wasi_nn::wit::add_to_linker(&mut linker, |guest: &mut Guest<WasiNnCtx>| {
                WasiNnView::new(&mut guest.table, &mut guest.extra)
            })?;
            AnalyzerPre::new(linker.instantiate_pre(&artifact.component)?)
        };
        let pre = link().map_err(|error| LoadError::not_of_its_world(Slot::Analyzer, config, &error))?;
        Ok(Self { pre, limits: config.limits, generation: Generation::first(artifact.digest) })
    }

    /// Analyses one photograph. Blocks, also in inference.
    pub(crate) fn analyze(
        &self,
        nn: &Nn,
        photograph: &[u8],
        settings: &Settings,
        deadline: Instant,
        cancel: Cancel,
    ) -> Result<Result<Analysis, Failure>, CallError> {
        let deadline = deadline.min(Instant::now() + self.limits.deadline);
        let mut store = guest::store(self.pre.engine(), self.limits, nn.context(deadline));
        limits::stop_at(&mut store, deadline, cancel);
        let call = |store: &mut wasmtime::Store<_>| {
            let instance = self.pre.instantiate(&mut *store)?;
            instance.visavis_face_analyze().call_analyze(&mut *store, photograph, settings)
        };
        call(&mut store).map_err(|error| guest::call_error(&store, Slot::Analyzer, self.generation.generation, &error))
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }
}
