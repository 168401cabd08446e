//! Sessions for shapes that recur.
//!
//! Owns the model of one graph, and the names of the lengths that it leaves open. Must never know when such sessions are worth it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ort::value::{Outlet, ValueType};

use super::session::Shared;
use super::{Runtime, builder, gpu, lanes};
use crate::nn::Config;
use crate::nn::fixed::{Maker, Shapes};

/// What one graph's sessions are made from.
pub(super) struct Compiler {
    runtime: Runtime,
    config: Config,
    model: Vec<u8>,
    /// The name of each dimension of each input, none where its length is given.
    open: Vec<Vec<Option<String>>>,
}

impl Compiler {
    /// Nothing, where fixed shapes gain nothing or cannot be told. A first dimension alone, which is a number of rows, keeps its name
    /// from node to node, so that the library sees without its length which tensors are equally large.
    pub(super) fn of(runtime: &Runtime, config: &Config, model: &[u8], inputs: &[Outlet]) -> Option<Self> {
        let open: Vec<Vec<_>> = inputs.iter().map(names).collect::<Option<_>>()?;
        let gains = open.iter().any(|names| names.iter().skip(1).any(Option::is_some));
        gains.then(|| Self { runtime: runtime.clone(), config: config.clone(), model: model.to_vec(), open })
    }
}

/// The name of each dimension without a length; nothing if there is one without a name.
fn names(input: &Outlet) -> Option<Vec<Option<String>>> {
    let ValueType::Tensor { shape, dimension_symbols: symbols, .. } = input.dtype() else { return None };
    let name = |(length, symbol): (&i64, &String)| match (*length < 0, symbol.is_empty()) {
        (false, _) => Some(None),
        (true, false) => Some(Some(symbol.clone())),
        (true, true) => None,
    };
    shape.iter().zip(symbols.iter()).map(name).collect()
}

impl Maker for Compiler {
    type Made = Arc<Shared>;

    fn make(&self, shapes: &Shapes) -> Result<Vec<Arc<Shared>>, String> {
        let mut lengths = BTreeMap::new();
        for (name, length) in self.open.iter().flatten().zip(shapes.iter().flatten()) {
            let Some(name) = name else { continue };
            let known = lengths.entry(name).or_insert(*length);
            if known != length {
                return Err(format!("its dimension '{name}' has two lengths, {known} and {length}"));
            }
        }
        let mut builder = builder(&self.runtime, self.config.threads).map_err(|error| gpu::in_a_line(&error))?;
        for (name, length) in lengths {
            let told = builder.with_dimension_override(name, i64::from(length));
            builder = told.map_err(|error| error.to_string())?;
        }
        lanes(&self.runtime, &mut builder, &self.model, &self.config).map_err(|error| gpu::in_a_line(&error))
    }
}
