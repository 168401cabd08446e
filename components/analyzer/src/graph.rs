//! One named graph of `wasi:nn`.
//!
//! Owns the exchange of tensors and the check of what comes back: names, types, shapes. Must never know what a graph
//! computes.

use crate::bindings::wasi::nn::errors::Error;
use crate::bindings::wasi::nn::graph::load_by_name;
use crate::bindings::wasi::nn::inference::GraphExecutionContext;
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};

/// A graph that the host has loaded, ready to compute.
pub(crate) struct Graph {
    name: String,
    context: GraphExecutionContext,
}

/// Why a graph did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("the graph '{graph}' cannot be used: {reason}")]
    Unavailable { graph: String, reason: String },
    #[error("the graph '{graph}' failed: {reason}")]
    Failed { graph: String, reason: String },
    #[error("the graph '{graph}' answered no tensor '{tensor}'")]
    Missing { graph: String, tensor: String },
    #[error("the graph '{graph}' answered '{tensor}' as {found}, not as f32 {expected}")]
    Shape { graph: String, tensor: String, found: String, expected: String },
}

/// One output tensor of f32.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) dimensions: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Graph {
    pub(crate) fn load(name: &str) -> Result<Self, GraphError> {
        let unavailable = |error: Error| GraphError::Unavailable { graph: name.into(), reason: error.data() };
        let context = load_by_name(name).and_then(|graph| graph.init_execution_context()).map_err(unavailable)?;
        Ok(Self { name: name.into(), context })
    }

    /// Computes one input, f32 of `dimensions`. For each output, by its name and its dimensions, where 0 stands for any,
    /// answers the tensor.
    pub(crate) fn compute<const N: usize>(
        &self,
        input: &str,
        dimensions: [usize; 4],
        values: &[f32],
        outputs: [(&str, &[usize]); N],
    ) -> Result<[Answer; N], GraphError> {
        let dimensions = dimensions.map(|side| side as u32);
        let tensor = Tensor::new(&dimensions, TensorType::Fp32, bytemuck::cast_slice(values));
        let failed = |error: Error| GraphError::Failed { graph: self.name.clone(), reason: error.data() };
        let answers = self.context.compute(vec![(input.into(), tensor)]).map_err(failed)?;
        let mut found = Vec::with_capacity(N);
        for (name, expected) in outputs {
            let (_, tensor) = answers
                .iter()
                .find(|(answered, _)| answered == name)
                .ok_or_else(|| GraphError::Missing { graph: self.name.clone(), tensor: name.into() })?;
            found.push(self.read(name, tensor, expected)?);
        }
        // As many were pushed as there are outputs, so nothing is ever left to be filled in.
        let mut found = found.into_iter();
        Ok(outputs.map(|_| found.next().unwrap_or_default()))
    }

    fn read(&self, name: &str, tensor: &Tensor, expected: &[usize]) -> Result<Answer, GraphError> {
        let (kind, dimensions) = (tensor.ty(), tensor.dimensions());
        let dimensions: Vec<usize> = dimensions.into_iter().map(|side| side as usize).collect();
        let fits = dimensions.len() == expected.len()
            && dimensions.iter().zip(expected).all(|(&found, &expected)| expected == 0 || found == expected);
        let wrong = |found: String| GraphError::Shape {
            graph: self.name.clone(),
            tensor: name.into(),
            found,
            expected: format!("{expected:?}"),
        };
        if kind != TensorType::Fp32 || !fits {
            return Err(wrong(format!("{kind:?} {dimensions:?}")));
        }
        let bytes = tensor.data();
        let count = dimensions.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        if count.and_then(|count| count.checked_mul(4)) != Some(bytes.len()) {
            return Err(wrong(format!("{} bytes", bytes.len())));
        }
        // WebAssembly is little-endian, as tensors are.
        Ok(Answer { dimensions, values: bytemuck::pod_collect_to_vec(&bytes) })
    }
}
