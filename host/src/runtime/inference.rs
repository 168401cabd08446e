//! `wasi:nn`, as an analyzer sees it.
//!
//! Owns what an analyzer may leave with the host between two calls: tensors up to as many bytes as its memory may have, and of
//! what it said wrongly no more than a line. Must never know how a graph is run.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi_nn::backend::{BackendError, NamedTensor};
use wasmtime_wasi_nn::wit::{Tensor, TensorType};
use wasmtime_wasi_nn::{ExecutionContext, Graph, GraphRegistry};

use super::Limits;
use super::bindings::nn::wasi::nn::{errors, graph, inference, tensor};
use super::guest::Guest;
use crate::nn::Graphs;

/// The most characters of a graph's name that are repeated to the guest.
const NAME: usize = 64;

/// What one guest has of inference beside its handles.
pub(crate) struct Inference {
    graphs: Graphs,
    /// Bytes that its tensors may still take.
    left: usize,
}

impl Inference {
    /// These graphs, and room for tensors.
    pub(super) fn new(graphs: Graphs, limits: Limits) -> Self {
        Self { graphs, left: limits.memory }
    }
}

/// An error of `wasi:nn`.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it in an interface that is public by its words")]
pub struct Error {
    code: errors::ErrorCode,
    text: String,
}

struct View<'a> {
    inference: &'a mut Inference,
    table: &'a mut ResourceTable,
}

fn view(guest: &mut Guest<Inference>) -> View<'_> {
    View { inference: &mut guest.extra, table: &mut guest.table }
}

struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

/// Links all of `wasi:nn`.
pub(super) fn link(linker: &mut Linker<Guest<Inference>>) -> wasmtime::Result<()> {
    tensor::add_to_linker::<_, HasView>(linker, view)?;
    graph::add_to_linker::<_, HasView>(linker, view)?;
    inference::add_to_linker::<_, HasView>(linker, view)?;
    errors::add_to_linker::<_, HasView>(linker, view)
}

impl View<'_> {
    /// Takes a tensor in, if there is room for it.
    fn keep(&mut self, tensor: Tensor) -> wasmtime::Result<Resource<Tensor>> {
        self.inference.left = self.inference.left.checked_sub(size(&tensor)).ok_or_else(|| {
            wasmtime::format_err!("its tensors took more memory in the host than components.analyzer.memory_limit")
        })?;
        Ok(self.table.push(tensor)?)
    }

    /// Hands a tensor out, and with it its room.
    fn release(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Tensor> {
        let tensor = self.table.delete(tensor)?;
        self.inference.left += size(&tensor);
        Ok(tensor)
    }

    fn refuse<T>(&mut self, code: errors::ErrorCode, text: String) -> wasmtime::Result<Result<T, Resource<Error>>> {
        Ok(Err(self.table.push(Error { code, text })?))
    }
}

/// What a tensor takes, bytes.
fn size(tensor: &Tensor) -> usize {
    size_of_val(tensor.data.as_slice()) + size_of_val(tensor.dimensions.as_slice())
}

impl tensor::HostTensor for View<'_> {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<Tensor>> {
        self.keep(Tensor::new(dimensions, native(ty), data))
    }

    fn dimensions(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.dimensions.clone())
    }

    fn ty(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(foreign(self.table.get(&tensor)?.ty))
    }

    fn data(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&tensor)?.data.clone())
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        self.release(tensor).map(|_| ())
    }
}

impl graph::Host for View<'_> {
    fn load(
        &mut self,
        _: Vec<Vec<u8>>,
        _: graph::GraphEncoding,
        _: graph::ExecutionTarget,
    ) -> wasmtime::Result<Result<Resource<Graph>, Resource<Error>>> {
        let text = "no graph can be brought along; load one of the host's by its name";
        self.refuse(errors::ErrorCode::UnsupportedOperation, text.to_owned())
    }

    fn load_by_name(&mut self, name: String) -> wasmtime::Result<Result<Resource<Graph>, Resource<Error>>> {
        match self.inference.graphs.get(&name) {
            Some(graph) => Ok(Ok(self.table.push(graph.clone())?)),
            None => {
                let name: String = name.chars().take(NAME).collect();
                self.refuse(errors::ErrorCode::NotFound, format!("there is no graph {name:?}"))
            }
        }
    }
}

impl graph::HostGraph for View<'_> {
    fn init_execution_context(
        &mut self,
        graph: Resource<Graph>,
    ) -> wasmtime::Result<Result<Resource<ExecutionContext>, Resource<Error>>> {
        match self.table.get(&graph)?.init_execution_context() {
            Ok(context) => Ok(Ok(self.table.push(context)?)),
            Err(error) => self.refuse(errors::ErrorCode::RuntimeError, error.to_string()),
        }
    }

    fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for View<'_> {}

impl inference::HostGraphExecutionContext for View<'_> {
    fn compute(
        &mut self,
        context: Resource<ExecutionContext>,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Resource<Tensor>)>, Resource<Error>>> {
        let inputs = inputs.into_iter().map(|(name, tensor)| Ok(NamedTensor { name, tensor: self.release(tensor)? }));
        let inputs = inputs.collect::<wasmtime::Result<Vec<_>>>()?;
        match self.table.get_mut(&context)?.compute_with_io(inputs) {
            Ok(outputs) => {
                let outputs = outputs.into_iter().map(|output| Ok((output.name, self.keep(output.tensor)?)));
                outputs.collect::<wasmtime::Result<Vec<_>>>().map(Ok)
            }
            Err(error @ BackendError::UnsupportedTensorType(_)) => {
                self.refuse(errors::ErrorCode::InvalidArgument, error.to_string())
            }
            Err(error) => self.refuse(errors::ErrorCode::RuntimeError, error.to_string()),
        }
    }

    fn drop(&mut self, context: Resource<ExecutionContext>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl errors::Host for View<'_> {}

impl errors::HostError for View<'_> {
    fn code(&mut self, error: Resource<Error>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&error)?.code)
    }

    fn data(&mut self, error: Resource<Error>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.text.clone())
    }

    fn drop(&mut self, error: Resource<Error>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl tensor::Host for View<'_> {}

/// A guest's word for a type, in the backends' words.
fn native(ty: tensor::TensorType) -> TensorType {
    match ty {
        tensor::TensorType::Fp16 => TensorType::Fp16,
        tensor::TensorType::Fp32 => TensorType::Fp32,
        tensor::TensorType::Fp64 => TensorType::Fp64,
        tensor::TensorType::Bf16 => TensorType::Bf16,
        tensor::TensorType::U8 => TensorType::U8,
        tensor::TensorType::I32 => TensorType::I32,
        tensor::TensorType::I64 => TensorType::I64,
    }
}

/// The other way round.
fn foreign(ty: TensorType) -> tensor::TensorType {
    match ty {
        TensorType::Fp16 => tensor::TensorType::Fp16,
        TensorType::Fp32 => tensor::TensorType::Fp32,
        TensorType::Fp64 => tensor::TensorType::Fp64,
        TensorType::Bf16 => tensor::TensorType::Bf16,
        TensorType::U8 => tensor::TensorType::U8,
        TensorType::I32 => tensor::TensorType::I32,
        TensorType::I64 => tensor::TensorType::I64,
    }
}
