//! Models compiled for shapes that recur.
//!
//! Owns the model of one graph as it is reshaped and compiled once more. Must never know when that is worth it.

use std::sync::{Arc, Mutex, PoisonError};

use openvino::{InferRequest, InferenceError, Model, PartialShape};

use super::{Runtime, Target, compile, requests, told};
use crate::nn::Config;
use crate::nn::fixed::{Maker, Shapes};

/// What one graph is compiled from.
pub(super) struct Compiler {
    pub(super) runtime: Arc<Runtime>,
    pub(super) target: Target,
    pub(super) config: Config,
    /// The model that is reshaped before each compilation.
    pub(super) model: Mutex<Model>,
    /// The names of the model's inputs, in its order.
    pub(super) inputs: Vec<String>,
}

impl Maker for Compiler {
    type Made = InferRequest;

    fn make(&self, shapes: &Shapes) -> Result<Vec<InferRequest>, String> {
        self.compile(shapes).map_err(|error| told(&error))
    }
}

impl Compiler {
    fn compile(&self, shapes: &Shapes) -> Result<Vec<InferRequest>, InferenceError> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = shapes.iter().map(|lengths| {
            let lengths: Vec<_> = lengths.iter().map(|length| i64::from(*length)).collect();
            PartialShape::new_static(lengths.len() as i64, &lengths)
        });
        let partial = partial.collect::<Result<Vec<_>, _>>()?;
        let named: Vec<_> = self.inputs.iter().map(String::as_str).zip(&partial).collect();
        model.reshape(&named)?;
        let mut core = self.runtime.core.lock().unwrap_or_else(PoisonError::into_inner);
        requests(&mut compile(&mut core, &model, &self.config, &self.target)?, &self.config)
    }
}
